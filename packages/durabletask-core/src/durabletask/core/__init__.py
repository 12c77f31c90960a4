"""The core of the SDK: models, replay, client and worker, independent of any transport.

The names that programs use are in ``durabletask``; the models of histories, work items and transports are
in the modules of this package.
"""

from __future__ import annotations

__all__: list[str] = []
