"""Actors of other systems: links to them, and what is carried over these."""
