"""Durable state: an append-only journal with group commit, over the disk port."""
