"""Where the state of hubs is kept beyond the process: one SQLite file."""

from __future__ import annotations

__all__: list[str] = []
