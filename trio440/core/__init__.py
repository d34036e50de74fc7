"""Channels with select, epoch timers and the ports: the layer that everything stands on."""

from trio440.core.channels import (
    Case,
    Chan,
    ChanStatistics,
    Ended,
    ReceiveCase,
    Received,
    SendCase,
    Sent,
)
from trio440.core.epochs import EpochTimer, Tick
from trio440.core.host import Host
from trio440.core.real import REAL_HOST
from trio440.core.selecting import select, select_nowait

__all__ = [
    "REAL_HOST",
    "Case",
    "Chan",
    "ChanStatistics",
    "Ended",
    "EpochTimer",
    "Host",
    "ReceiveCase",
    "Received",
    "SendCase",
    "Sent",
    "Tick",
    "select",
    "select_nowait",
]
