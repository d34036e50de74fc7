"""Actors under structured concurrency, on one node and across several."""
