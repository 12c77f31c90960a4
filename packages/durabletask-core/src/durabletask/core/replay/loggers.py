"""Loggers that are silent during replay: code that runs again would otherwise log the same records again."""

from __future__ import annotations

import logging
from copy import copy
from typing import TYPE_CHECKING, cast

from typing_extensions import Self

if TYPE_CHECKING:
    from .execution import Execution

__all__ = ["ReplayFilter", "ReplaySafeLogger", "replay_safe"]


class ReplayFilter(logging.Filter):
    """Drops records during replay, and those that the target's own filters drop."""

    def __init__(self, execution: Execution, target: logging.Logger) -> None:
        super().__init__()
        self._execution = execution
        self._target = target

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the target would log the record, and no replay is going on."""
        if self._execution.is_replaying or self._target.disabled:
            return False
        return bool(self._target.filter(record))


class ReplaySafeLogger(logging.Logger):
    """Passes records to a target unless the orchestration is replaying, and so do its children."""

    def __init__(self, execution: Execution, target: logging.Logger) -> None:
        super().__init__(target.name)
        self.parent: logging.Logger | None = target
        self.addFilter(ReplayFilter(execution, target))
        self._execution = execution
        self._target = target

    def getChild(self, suffix: str) -> Self:  # noqa: N802 - logging's name
        """A child of the target, silent during replay like this logger."""
        return type(self)(self._execution, self._target.getChild(suffix))


def replay_safe(
    execution: Execution, logger: object
) -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    """A logger, or an adapter of one, that is silent during replay.

    Raises:
        TypeError: ``logger`` is neither.
    """
    if isinstance(logger, logging.LoggerAdapter):
        adapter = copy(logger)  # keeps the class of the adapter and what it adds to records
        adapter.logger = cast("logging.Logger", replay_safe(execution, logger.logger))
        return adapter
    if isinstance(logger, logging.Logger):
        return ReplaySafeLogger(execution, logger)
    raise TypeError(
        f"create_replay_safe_logger takes a logging.Logger or logging.LoggerAdapter, not {type(logger).__qualname__}."
    )
