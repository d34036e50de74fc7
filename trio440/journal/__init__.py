"""Durable state: an append-only journal with group commit, over the disk port."""

from trio440.journal.journal import Journal, Recovered
from trio440.journal.limits import JournalLimits, JournalStatistics
from trio440.journal.opening import open_journal

__all__ = ["Journal", "JournalLimits", "JournalStatistics", "Recovered", "open_journal"]
