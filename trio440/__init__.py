"""Distributed systems under structured concurrency, on Trio."""
