"""Where a hub keeps its state beyond the life of the process."""

from __future__ import annotations

from .base import Changes, HubStore, Loaded, Store
from .sqlite import SqliteStore

__all__ = ["Changes", "HubStore", "Loaded", "SqliteStore", "Store"]
