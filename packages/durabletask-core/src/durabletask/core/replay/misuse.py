"""Checks of what an orchestrator's code gives to the engine, and the errors for what it got wrong.

Every message names the place in user code, what was found there, and what to write instead. Functions that *return* an
error leave the raising to the caller: the same mistake is raised inside the code, or becomes the orchestration's failure.

A correct orchestration calls only ``callee_name``, ``encode`` and the checks; all else runs when something is wrong.
asyncio is recognised by the names of modules and functions: importing it would cost every program the import, and
would tie replay, which runs without an event loop, to one.
"""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType, TracebackType
from typing import TYPE_CHECKING, Final, Protocol, cast

from durabletask.core.arguments import as_tags, as_text
from durabletask.core.errors import (
    ForeignAwaitableError,
    InvalidResultError,
    SerializationError,
    UnawaitedTaskError,
)
from durabletask.core.registry import name_of
from durabletask.core.retry import RetryPolicy

from .locations import OWN_PACKAGE, frame_location, here, innermost_user_frame, traceback_location
from .tasks import EngineTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from durabletask.core.serialization import DataConverter

__all__ = [
    "HiddenLoopError",
    "callee_name",
    "check_options",
    "check_text",
    "encode",
    "foreign_awaitable",
    "foreign_call",
    "foreign_member",
    "forgotten_await",
    "invalid_result",
    "is_core",
    "library_of",
    "missing_event_loop",
    "never_awaited",
    "place_of",
    "replaceable",
    "unserializable",
]

_TIME_LIMIT = "'ctx.wait_for_external_event(name, timeout=...)', or 'ctx.task_any([task, ctx.create_timer(delay)])' for other tasks"
_LIBRARIES = frozenset({"asyncio", "anyio", "trio", "sniffio", "async_timeout"})
_REPLACEMENTS = {
    "sleep": "'await ctx.create_timer(delay)'",
    **dict.fromkeys(
        (
            "timeout",
            "Timeout",
            "timeout_at",
            "move_on_after",
            "fail_after",
            "move_on_at",
            "fail_at",
            "CancelScope",
        ),
        _TIME_LIMIT,
    ),
    "wait_for": _TIME_LIMIT,
    "gather": "'await ctx.task_all([...])'",
    "wait": "'ctx.task_all([...])', 'ctx.task_any([...])' or 'ctx.wait_for_external_event(name)'",
    "to_thread": "an activity, called with 'await ctx.call_activity(...)'",
    "run_in_executor": "an activity, called with 'await ctx.call_activity(...)'",
    "create_task": "'ctx.task_all([...])' or 'ctx.task_any([...])', which take coroutines",
    "ensure_future": "'ctx.task_all([...])' or 'ctx.task_any([...])', which take coroutines",
    "as_completed": "'await ctx.task_any([...])', again for the tasks that are left",
    "create_task_group": "'await ctx.task_all([...])', which takes tasks and coroutines",
    "open_nursery": "'await ctx.task_all([...])', which takes tasks and coroutines",
    "TaskGroup": "'await ctx.task_all([...])', which takes tasks and coroutines",
    "shield": "'await' of the task itself: no durable task is cancelled unless its 'cancel()' is called",
    "current_task": "'ctx.instance_id' to know what runs; nothing in an orchestrator is an asyncio task",
    "call_later": "'ctx.create_timer(delay)'",
    "call_at": "'ctx.create_timer(fire_at)'",
    "time": "'ctx.current_utc_datetime'",
    "run": "'await' of the coroutine itself",
    "acquire": "'ctx.lock_entities([...])'",
    "get": "'ctx.wait_for_external_event(name)' for a queue, an activity for input and output",
}
_AWAITABLE = frozenset(
    {
        "sleep",
        "wait_for",
        "gather",
        "wait",
        "to_thread",
        "run_in_executor",
        "create_task",
        "ensure_future",
        "shield",
    }
)
"""Calls whose result is to be awaited."""
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


def check_text(value: object, what: str, *, may_be_empty: bool = False) -> str:
    """A name or id as plain text; one that is no text, empty, or nothing that a hub could store is refused.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty, or not valid Unicode.
    """
    text = as_text(value, what)
    if not text and not may_be_empty:
        raise ValueError(f"{what} must not be empty.")
    return text


def check_options(
    method: str, version: object = None, tags: object = None, retry_policy: object = None
) -> tuple[str | None, dict[str, str] | None]:
    """Version and tags of a call as plain text; options that no hub could take are refused, with the line known.

    Raises:
        TypeError: one is of a wrong type.
    """
    if version is not None:
        version = check_text(version, f"The version given to {method}", may_be_empty=True)
    if retry_policy is not None and not isinstance(retry_policy, RetryPolicy):
        raise TypeError(
            f"The retry_policy of {method} must be a RetryPolicy, not {_name_type(retry_policy)}."
        )
    try:
        texts = as_tags(tags)
    except TypeError as error:
        raise TypeError(f"The tags of {method} must map str to str: {error}") from None
    return version, texts or None


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


class HiddenLoopError(ForeignAwaitableError, RuntimeError):
    """The orchestrator used the event loop. Libraries that can do without one expect a ``RuntimeError``."""


def library_of(frame: FrameType) -> str:
    """The asynchronous library whose code a frame runs; empty for other code."""
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package if package in _LIBRARIES else ""


def is_core(frame: FrameType) -> bool:
    """Whether a frame runs code of this package."""
    return str(frame.f_globals.get("__name__", "")).startswith(OWN_PACKAGE)


def replaceable(frame: FrameType) -> str:
    """What a frame of such a library runs, if there is a durable form: a function, or the class of a method."""
    owner = type(frame.f_locals.get("self")).__name__
    names = (frame.f_code.co_name, owner)
    return next((name for name in names if name in _REPLACEMENTS), "")


def foreign_call(library: str, function: str, where: str) -> str:
    """The message for a call that needs an event loop."""
    verb = "awaited" if function in _AWAITABLE else "used"
    return (
        f"The orchestrator {verb} {library}{'.' + function if function else ''} at {where}. An orchestrator can only await "
        f"durable tasks; it is replayed from its history, and no event loop runs. Use instead: "
        f"{_REPLACEMENTS.get(function, _ELSE)}."
    )


# What libraries raise where they find no event loop, or one that may not be used; by the name of the exception.
_COMPLAINTS: Final = {
    "RuntimeError": (
        "no running event loop",
        "cannot be called from a running event loop",
        "cannot be called from within a running loop",
        "must be called from async context",
    ),
    "AsyncLibraryNotFoundError": ("",),
    "NoEventLoopError": ("",),
}


def missing_event_loop(error: BaseException) -> ForeignAwaitableError | None:
    """The error behind a library's complaint that no event loop runs, if ``error`` is that."""
    if isinstance(error, HiddenLoopError):
        return ForeignAwaitableError(str(error)).with_traceback(error.__traceback__)
    complaints = _COMPLAINTS.get(type(error).__name__, ())
    if not any(words in str(error) for words in complaints):
        return None
    library, name, trace = "", "", error.__traceback__
    while trace is not None:
        library = library or library_of(trace.tb_frame)
        if library_of(trace.tb_frame):
            name = name or replaceable(trace.tb_frame)
        trace = trace.tb_next
    place = traceback_location(error.__traceback__, _LIBRARIES)
    return ForeignAwaitableError(foreign_call(library or "asyncio", name, place))


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
    """The error for a value that could not be serialized; a forgotten ``await`` gets its own message."""
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
        where: ``file:line`` of the code that passed it; by default the code that is running.
    """
    try:
        return converter.serialize(value)
    except SerializationError as error:
        raise unserializable(value, f"{what}, given at {where or here()},", error) from error


def forgotten_await(error: BaseException, unseen: Sequence[EngineTask[object]]) -> UnawaitedTaskError | None:
    """The error for code that used a task as if it were its result, or ``None`` if that cannot be the reason.

    Args:
        error: what the code raised.
        unseen: the tasks that were never awaited.
    """
    if not isinstance(error, (TypeError, AttributeError)):
        return None
    text = str(error)
    concerned = unseen
    if not _names_one_of(text, unseen):  # a task that was awaited may still be taken for its result
        concerned = [task for task in _tasks_at_hand(error.__traceback__) if _names_one_of(text, [task])]
    if not concerned:
        return None  # the error is about something else
    heading = "Never awaited by then" if concerned is unseen else "A task is not its result"
    made = UnawaitedTaskError(
        f"{error} ({traceback_location(error.__traceback__)}). {heading}:\n{never_awaited(concerned)}\n"
        "Was an 'await' ('yield', in a generator) forgotten? Await the task and use its result."
    )
    made.__cause__ = error
    return made


def _names_one_of(text: str, tasks: Iterable[EngineTask[object]]) -> bool:
    return any(name in text for name in {type(task).__name__ for task in tasks})


def _tasks_at_hand(trace: TracebackType | None) -> Iterator[EngineTask[object]]:
    """The tasks in variables of the code that raised an error."""
    while trace is not None:
        if not is_core(trace.tb_frame):
            yield from (value for value in trace.tb_frame.f_locals.values() if isinstance(value, EngineTask))
        trace = trace.tb_next


def never_awaited(tasks: Iterable[EngineTask[object]]) -> str:
    """One line per task that was never awaited."""
    return "\n".join(f"  {task!r} made at {task.location}" for task in tasks)


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
        return f"the task {value!r} made at {value.location}"
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
