"""The scheduler: which user code may run, in which order, and its end.

User code runs only inside ``Run.resume_code``, which takes from ``ready`` between two events (and in iterables that
groups pull, and while it is closed). So the order of events decides what the code sees, and nothing else does.

The scheduler knows code by two methods, ``step`` and ``close``. ``Fiber`` implements them for coroutines and
generators; other ways to run code can be added beside it. Tasks do not resume code: a fiber that is woken only puts
itself into the queue.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from durabletask.core.logs import get_logger

__all__ = ["Failing", "Runnable", "Scheduler"]

_logger = get_logger("durabletask.orchestration")


class Runnable(Protocol):
    """User code that can be resumed."""

    def step(self) -> None:
        """Run to the next wait or to the end."""

    def close(self) -> bool:
        """Abandon the code where it waits; ``False`` if it refuses to end."""

    def describe(self) -> str:
        """What it is, for messages."""


class Failing:
    """Code that raises an error in place of the code that has caught it."""

    __slots__ = ("_error",)

    def __init__(self, error: Exception) -> None:
        self._error = error

    def step(self) -> None:
        """See ``Runnable``."""
        raise self._error

    def close(self) -> bool:
        """See ``Runnable``."""
        return True

    def describe(self) -> str:
        """See ``Runnable``."""
        return "a mistake in the code"


class Scheduler:
    """See the module. ``ready`` holds what is resumed next, first come, first served."""

    __slots__ = ("_instance_id", "_unstoppable", "ready", "suspended")

    def __init__(self, instance_id: str) -> None:
        self._instance_id = instance_id
        self.ready: deque[Runnable] = deque()
        self.suspended: dict[object, Runnable] = {}  # by the body that it runs, in the order of their starts
        self._unstoppable: list[Runnable] = []  # kept, because collecting such code would let it run on

    def close(self) -> bool:
        """Abandon all code that has not ended, the innermost first; whether all of it has ended.

        New code that it starts meanwhile is dropped.
        """
        closing = list(self.suspended.values())
        self.suspended.clear()
        self.ready.clear()
        for code in reversed(closing):
            if code.close():
                continue
            self._unstoppable.append(code)
            _logger.warning(
                "Instance %r: %s catches every exception, even the GeneratorExit that ends it, and goes on. Write "
                "'except Exception' instead of a bare 'except' or 'except BaseException'.",
                self._instance_id,
                code.describe(),
            )
        self.suspended.clear()
        self.ready.clear()
        return not self._unstoppable
