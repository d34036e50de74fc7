"""The squarer: how to test concurrency with virtual time.

``squarer.py`` has the interface and one that keeps it, ``bad.py`` eleven that do not, and
``suite.py`` the one suite that tells them apart. ``python -m examples.squarer`` runs it on all.
"""
