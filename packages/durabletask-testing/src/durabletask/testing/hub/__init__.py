"""The local task hub: pure transitions, a store behind them, and a ``Transport`` in front."""

from __future__ import annotations

from .facade import InMemoryBackend
from .registry import HubRegistry
from .store import SqliteStore

__all__ = ["HubRegistry", "InMemoryBackend", "SqliteStore"]
