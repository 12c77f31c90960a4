"""The former home of ``durabletask.testing.hub``. The names that programs import from here keep working."""

from __future__ import annotations

from durabletask.testing.hub import HubRegistry, InMemoryBackend, SqliteStore

__all__ = ["HubRegistry", "InMemoryBackend", "SqliteStore"]
