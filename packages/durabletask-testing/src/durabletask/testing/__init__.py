"""Test orchestrations without a server: a local task hub, virtual time, and what is built on them."""

from __future__ import annotations

from .backend import HubRegistry, InMemoryBackend, SqliteStore
from .clock import Clock, SystemClock, VirtualClock

__all__ = ["Clock", "HubRegistry", "InMemoryBackend", "SqliteStore", "SystemClock", "VirtualClock"]
