"""Finds, while an episode runs, activities that the orchestrator calls as plain functions.

``await greet(ctx, name)`` instead of ``await ctx.call_activity(greet, name)`` works and is wrong: the activity runs again
at every replay, and the history does not know of it. Python has no cheap hook for the call of certain functions in all
supported versions, so a profile function looks at every call. That makes orchestrator code several times slower, which
is why workers use it in development only, together with the linter.
"""

from __future__ import annotations

import functools
import sys
from types import CodeType, FrameType, TracebackType
from typing import TYPE_CHECKING

from durabletask.core.context import OrchestrationContext
from durabletask.core.errors import OrchestratorMisuseError

if TYPE_CHECKING:
    from durabletask.core.registry import Registry

__all__ = ["CallGuard"]


class CallGuard:
    """A context manager around the code of an orchestrator. It watches the thread that enters it.

    A call counts if the activity gets the context of the orchestration: a helper that is also registered as an
    activity may be called without one.

    Args:
        registry: where the activities are; those that are added later are found, too.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._names: dict[CodeType, str] = {}
        self._known = 0
        self._before = sys.getprofile()

    def __enter__(self) -> None:
        """Watch."""
        names = self._registry.activity_names
        if len(names) != self._known:
            self._known = len(names)
            self._names = {
                code: name for name in names if (code := _code_of(self._registry.activity(name).function))
            }
        self._before = sys.getprofile()
        if self._names:
            sys.setprofile(self._watch)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the profile function that was there."""
        if self._names:
            sys.setprofile(self._before)

    def _watch(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or code not in self._names:
            return
        given = [frame.f_locals.get(name) for name in code.co_varnames[: min(code.co_argcount, 2)]]
        if not any(isinstance(each, OrchestrationContext) for each in given):
            return
        name, caller = self._names[code], frame.f_back
        if caller is None or caller.f_globals.get("__name__", "").startswith("durabletask.core."):
            where = f"and its coroutine given to a group (it is defined at {code.co_filename}:{code.co_firstlineno})"
        else:
            where = f"at {caller.f_code.co_filename}:{caller.f_lineno}"
        raise OrchestratorMisuseError(
            f"The activity {name!r} was called as a function {where}. That runs it inside of the orchestrator, again "
            f"at every replay, and records nothing. Call it through the context: await ctx.call_activity({code.co_name}, "
            "input)."
        )


def _code_of(function: object) -> CodeType | None:
    while isinstance(function, functools.partial):
        function = function.func
    found = getattr(getattr(function, "__func__", function), "__code__", None)
    return found if isinstance(found, CodeType) else None
