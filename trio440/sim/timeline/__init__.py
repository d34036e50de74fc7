"""A history as one page: lanes, messages, faults and the failure, for any browser."""

from trio440.sim.timeline.page import render_page

__all__ = ["render_page"]
