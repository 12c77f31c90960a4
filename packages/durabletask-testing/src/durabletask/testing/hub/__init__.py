"""The local task hub: pure transitions, an engine that carries them out, a storage, and a ``Transport`` in front."""

from __future__ import annotations

from .local import InMemoryBackend, LocalTaskHub
from .registry import HubRegistry
from .residency import InMemory, Storage
from .storage.sqlite import Sqlite

__all__ = ["HubRegistry", "InMemory", "InMemoryBackend", "LocalTaskHub", "Sqlite", "SqliteStore", "Storage"]

SqliteStore = Sqlite
"""The former name of ``Sqlite``."""
