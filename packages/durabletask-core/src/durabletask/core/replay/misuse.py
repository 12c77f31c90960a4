"""Finds words for what an orchestrator's code did wrong: where, what was found, what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import TYPE_CHECKING, Protocol, cast

from durabletask.core.arguments import as_tags, as_text
from durabletask.core.errors import (
    ForeignAwaitableError,
    InvalidResultError,
    SerializationError,
    UnawaitedTaskError,
)
from durabletask.core.registry import name_of
from durabletask.core.retry import RetryPolicy

from .locations import frame_location, here, innermost_user_frame, traceback_location
from .tasks import EngineTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from durabletask.core.serialization import DataConverter

__all__ = [
    "callee_name",
    "check_options",
    "check_text",
    "encode",
    "foreign_awaitable",
    "foreign_member",
    "forgotten_await",
    "invalid_result",
    "missing_event_loop",
    "never_awaited",
    "place_of",
    "unserializable",
]

_REPLACEMENTS = {
    "sleep": "'await ctx.create_timer(delay)'",
    "wait_for": "'ctx.wait_for_external_event(name, timeout=...)', or 'ctx.task_any([task, ctx.create_timer(delay)])'",
    "timeout": "'ctx.task_any([task, ctx.create_timer(delay)])'",
    "gather": "'await ctx.task_all([...])'",
    "wait": "'ctx.task_all([...])', 'ctx.task_any([...])' or 'ctx.wait_for_external_event(name)'",
    "to_thread": "an activity, called with 'await ctx.call_activity(...)'",
    "run_in_executor": "an activity, called with 'await ctx.call_activity(...)'",
    "create_task": "'ctx.task_all([...])' or 'ctx.task_any([...])', which take coroutines",
    "TaskGroup": "'await ctx.task_all([...])', which takes tasks and coroutines",
    "acquire": "'ctx.lock_entities([...])'",
    "get": "'ctx.wait_for_external_event(name)' for a queue, an activity for input and output",
}
_OBJECTS = {"_GatheringFuture": "gather", "Task": "create_task"}
"""Classes of asyncio whose objects stand for a call."""

_ELSE = (
    "a durable task of the context (call_activity, create_timer, wait_for_external_event, task_all, ...); "
    "input and output, such as HTTP calls, belong in an activity"
)


def callee_name(target: object, method: str) -> str:
    """The name of what is to be called.

    Raises:
        TypeError: it is nothing that could have been registered, for instance a coroutine.
    """
    if isinstance(target, str):
        if target:
            return as_text(target, f"The name given to {method}")
        raise ValueError(f"{method} was given an empty name.")
    if callable(target) or hasattr(target, "run") or isinstance(getattr(target, "name", None), str):
        return name_of(target)
    found = _unawaited(target)
    hint = " Pass the function itself and its input apart: (function, input)." if found else ""
    raise TypeError(
        f"{method} takes a function, a class or object with 'run', or a registered name, "
        f"not {found or _name_type(target)}.{hint}"
    )


def check_text(value: object, what: str, *, may_be_empty: bool = False) -> None:
    """Refuse a name or id that is no text, empty, or nothing that a hub could store.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty, or not valid Unicode.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {_name_type(value)}.")
    if not value and not may_be_empty:
        raise ValueError(f"{what} must not be empty.")
    as_text(value, what)


def check_options(
    method: str, version: object = None, tags: object = None, retry_policy: object = None
) -> None:
    """Refuse options of a call that the hub could not take; told here, where the line is known.

    Raises:
        TypeError: one is of a wrong type.
    """
    if version is not None:
        check_text(version, f"The version given to {method}", may_be_empty=True)
    if retry_policy is not None and not isinstance(retry_policy, RetryPolicy):
        raise TypeError(
            f"The retry_policy of {method} must be a RetryPolicy, not {_name_type(retry_policy)}."
        )
    if tags is not None:
        if not isinstance(tags, Mapping):
            raise TypeError(f"The tags of {method} must map str to str; they are {_name_type(tags)}.")
        for name, value in tags.items():
            if not isinstance(name, str):
                raise TypeError(f"The tags of {method} must map str to str; one name is {_name_type(name)}.")
            if not isinstance(value, str):
                raise TypeError(f"The tags of {method} must map str to str; {name!r} is {_name_type(value)}.")
        as_tags(tags, f"the tags of {method}")


def place_of(body: object) -> str:
    """``file:line`` where a suspended coroutine or generator waits."""
    _, frames = _await_chain(body)
    return frame_location(innermost_user_frame(frames))


def foreign_awaitable(body: object, yielded: object) -> ForeignAwaitableError:
    """The error for awaiting or yielding something that is not a durable task."""
    names, _ = _await_chain(body)
    what, replacement = _what_was_awaited(names, yielded)
    if what == "asyncio.gather":
        _drop(cast("_Gathering", yielded))
    return ForeignAwaitableError(
        f"The orchestrator awaited {what} at {place_of(body)}. An orchestrator can only await durable tasks, because it is replayed from its history. Use instead: {replacement}."
    )


class _Gathering(Protocol):
    """What ``asyncio.gather`` returns; this package does not import asyncio."""

    def add_done_callback(self, callback: Callable[[_Gathering], object], /) -> object: ...
    def cancel(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def exception(self) -> BaseException | None: ...


def _drop(gathering: _Gathering) -> None:
    """Cancel what ``asyncio.gather`` made, and look at its outcome; otherwise asyncio logs it, trace and all."""
    gathering.add_done_callback(lambda done: done.cancelled() or done.exception())
    gathering.cancel()


def foreign_member(value: object, where: str) -> ForeignAwaitableError:
    """The error for a member of a group that is neither a task nor a coroutine."""
    return ForeignAwaitableError(
        f"A group at {where} contains {_name_type(value)}: its members must be durable tasks or coroutines. "
        f"Use instead: {_REPLACEMENTS.get(type(value).__name__, _ELSE)}."
    )


def missing_event_loop(error: BaseException) -> ForeignAwaitableError | None:
    """The error behind asyncio's complaint that no event loop runs, if ``error`` is that."""
    name, module, trace = "", "", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_name if trace.tb_frame.f_code.co_name in _REPLACEMENTS else name
        module = trace.tb_frame.f_globals.get("__name__", "")
        trace = trace.tb_next
    if type(error) is AttributeError:  # its locks and queues ask a loop that is None
        is_that = module.startswith("asyncio.") and "'NoneType' object has no attribute 'create_" in str(
            error
        )
    else:
        is_that = type(error) is RuntimeError and "no running event loop" in str(error)
    if not is_that:
        return None
    return ForeignAwaitableError(
        f"The orchestrator used asyncio{'.' + name if name else ''} at {traceback_location(error.__traceback__)}. "
        f"An orchestrator can only await durable tasks. Use instead: {_REPLACEMENTS.get(name, _ELSE)}."
    )


def invalid_result(result: object, definition_at: str) -> InvalidResultError | None:
    """The error for a result that was never awaited, or ``None`` for any other value."""
    found = _unawaited(result)
    if found is None:
        return None
    if isinstance(result, AsyncGeneratorType):
        hint = "It is an async generator: use 'await' instead of 'yield', or 'def' instead of 'async def'."
    else:
        hint = "Was an 'await' ('yield' or 'yield from', in a generator) forgotten? Return the awaited value."
    return InvalidResultError(
        f"The orchestrator at {definition_at} returned {found} instead of a value. {hint}"
    )


def unserializable(
    value: object, what: str, error: SerializationError
) -> SerializationError | UnawaitedTaskError:
    """Say what could not be serialized, and whether a forgotten ``await`` is the reason."""
    found = _unawaited_within(value)
    if found is not None:
        return UnawaitedTaskError(f"{what} contains {found}. Await it first and pass on its result.")
    return SerializationError(f"{what} cannot be serialized. {error}")


def encode(converter: DataConverter, value: object, what: str, where: str | None = None) -> str | None:
    """Serialize a value at once, so that later changes to it have no effect.

    Args:
        converter: turns values into payloads.
        value: what to serialize.
        what: its role, for messages.
        where: ``file:line`` of the code that gave it; by default the code that runs.
    """
    try:
        return converter.serialize(value)
    except SerializationError as error:
        raise unserializable(value, f"{what}, given at {where or here()},", error) from error


def forgotten_await(error: BaseException, tasks: Sequence[EngineTask[object]]) -> UnawaitedTaskError | None:
    """The error for code that used a task as if it were its result, or ``None`` if that cannot be the reason."""
    if not tasks or not isinstance(error, (TypeError, AttributeError)):
        return None
    if not any(name in str(error) for name in {type(task).__name__ for task in tasks}):
        return None  # it complains about something else
    made = UnawaitedTaskError(
        f"{error} ({traceback_location(error.__traceback__)}). Never awaited by then:\n{never_awaited(tasks)}\n"
        "Was an 'await' ('yield', in a generator) forgotten? Await the task and use its result."
    )
    made.__cause__ = error
    return made


def never_awaited(tasks: Iterable[EngineTask[object]]) -> str:
    """One line per task that was never awaited."""
    return "\n".join(f"  {task} made at {task.location}" for task in tasks)


def _unawaited_within(value: object) -> str | None:
    """What was never awaited in a value that cannot be serialized: the value, or something in its containers."""
    seen: set[int] = set()
    rest = [value]
    while rest:
        part = rest.pop()
        found = _unawaited(part)
        if found is not None:
            return found
        if id(part) not in seen and isinstance(part, (list, tuple, set, dict)):
            seen.add(id(part))
            rest.extend(part.values() if isinstance(part, dict) else part)
    return None


def _unawaited(value: object) -> str | None:
    if isinstance(value, EngineTask):
        return f"the task {value} made at {value.location}"
    if isinstance(value, CoroutineType):
        code = value.cr_code
        return f"the coroutine {value.__qualname__!r} (defined at {code.co_filename}:{code.co_firstlineno})"
    if isinstance(value, GeneratorType):
        code = value.gi_code
        return f"the generator {value.__qualname__!r} (defined at {code.co_filename}:{code.co_firstlineno})"
    if isinstance(value, AsyncGeneratorType):
        return f"the async generator {value.__qualname__!r}"
    return None


def _await_chain(body: object) -> tuple[list[str], list[FrameType]]:
    """Names and frames of the coroutines from the orchestrator down to what it is suspended on."""
    names: list[str] = []
    frames: list[FrameType] = []
    found = body
    while found is not None:
        frame = getattr(found, "cr_frame", None) or getattr(found, "gi_frame", None)
        if isinstance(frame, FrameType):
            frames.append(frame)
            module = frame.f_globals.get("__name__", "")
            names.append(f"{module}.{getattr(found, '__qualname__', '')}")
        found = getattr(found, "cr_await", None) or getattr(found, "gi_yieldfrom", None)
    return names, frames


def _what_was_awaited(names: list[str], yielded: object) -> tuple[str, str]:
    for name in names[1:]:
        package, *parts = name.split(".")
        for function in reversed(parts):
            replacement = _REPLACEMENTS.get(function)
            if replacement is not None and package in {"asyncio", "anyio", "trio"}:
                return f"{package}.{function}", replacement
    function = _OBJECTS.get(type(yielded).__name__, "")
    if function and type(yielded).__module__ in {"asyncio.tasks", "_asyncio"}:
        return f"asyncio.{function}", _REPLACEMENTS[function]
    if yielded is None:
        return "a bare 'yield' (as in asyncio.sleep(0))", _REPLACEMENTS["sleep"]
    return _name_type(yielded), _REPLACEMENTS.get(type(yielded).__name__, _ELSE)


def _name_type(value: object) -> str:
    kind = type(value)
    return f"{'an' if kind.__name__[:1] in 'AEIOaeio' else 'a'} {kind.__module__}.{kind.__qualname__}"
