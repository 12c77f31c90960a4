"""Loggers whose records are safe to show: text from outside cannot forge lines or steer a terminal.

Ids, names and error messages come from any caller of the hub. A line break in one of them would begin a log line of
the caller's own making, and an escape sequence would be carried out by the terminal that shows the log. So every logger
of the project is made here, and escapes such characters in the arguments of its records, in one place.
"""

from __future__ import annotations

import logging
import re

__all__ = ["get_logger", "guarded", "printable"]

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, marks that change the direction of writing, and halves of characters."""


def printable(text: str) -> str:
    """The text, with escapes instead of characters that do more than appear."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def get_logger(name: str) -> logging.Logger:
    """The guarded form of the logger of that name."""
    return guarded(logging.getLogger(name))


def guarded(logger: logging.Logger) -> logging.Logger:
    """A logger that hands its records on to another one, with printable arguments."""
    return logger if isinstance(logger, _GuardedLogger) else _GuardedLogger(logger)


class _GuardedLogger(logging.Logger):
    """Has no level, handlers and filters of its own: those of the logger behind it count."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger.name)
        self.parent = logger
        self._logger = logger

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name in `logging`
        """As of the logger behind it."""
        return self._logger.isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        """Make the record printable and hand it on."""
        if isinstance(record.args, tuple):
            record.args = tuple([_printable_argument(argument) for argument in record.args])
        self._logger.handle(record)


def _printable_argument(argument: object) -> object:
    if argument is None or isinstance(argument, (int, float)):
        return argument
    text = str(argument)
    clean = printable(text)
    return argument if clean == text else clean
