"""A front end for Redis clients over any namespace of the store."""

from trio440.kv.resp.limits import Limits, Statistics
from trio440.kv.resp.server import RespServer, open_resp_server, serve_resp

__all__ = ["Limits", "RespServer", "Statistics", "open_resp_server", "serve_resp"]
