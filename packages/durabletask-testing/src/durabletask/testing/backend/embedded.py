"""The former home of the factory that entry points of an earlier installation name."""

from __future__ import annotations

from durabletask.testing.hub.embedded import EmbeddedTransport, from_connection_string

__all__ = ["EmbeddedTransport", "from_connection_string"]
