"""The replay engine: from history events to actions, without sockets, clocks, threads or an event loop."""

from __future__ import annotations

from .options import ReplayObserver, ReplayOptions
from .session import OrchestrationSession

__all__ = ["OrchestrationSession", "ReplayObserver", "ReplayOptions"]
