"""Stand-ins for activities, by name, and the record of every call; ``entity_fakes`` has those for entities."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from difflib import SequenceMatcher
from typing import Final, Generic, TypeAlias, TypeVar, Union, cast

import msgspec
from durabletask.core.errors import (
    ActivityNotRegisteredError,
    NotRegisteredError,
    RegistrationError,
    nearest_names,
)
from durabletask.core.failures import FailureDetails
from durabletask.core.registry import ActivityDefinition, Registry, name_of
from durabletask.core.serialization import DEFAULT_CONVERTER, DataConverter

__all__ = [
    "ActivityCall",
    "FakeActivity",
    "RecordedCall",
    "RecordedCalls",
    "Script",
    "SideEffect",
    "check_fake",
    "definition_of",
    "is_typo",
    "not_registered",
    "refused",
]

__tracebackhide__ = True  # pytest shows the line of the test instead

SideEffect: TypeAlias = Union[
    Callable[..., object], BaseException, type[BaseException], Iterable[object], None
]
"""A function of the input, an exception to raise, or one outcome per call (exceptions are raised)."""

_MISSING: Final = object()


class RecordedCall(msgspec.Struct, kw_only=True):
    """What is recorded of a call of an activity or an entity.

    Attributes:
        started_at: virtual time of the first delivery.
        input: the input as the code gets it: converted to its annotation, or plain JSON values without one.
        deliveries: how often the work item reached a worker; more than 1 after crashes and duplicates.
        ended_at: virtual time of the answer; ``None`` while it runs.
        result: the result, converted to the return annotation if there is one.
        failure: why it failed.
        serialized_input: the input as the task hub has it.
    """

    started_at: datetime
    input: object = None
    deliveries: int = 1
    ended_at: datetime | None = None
    result: object = None
    failure: FailureDetails | None = None
    serialized_input: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it was answered, and not with a failure."""
        return self.ended_at is not None and self.failure is None

    @property
    def origin(self) -> str:
        """What distinguishes this call from others with the same input, as readable text."""
        return ""

    def set_result(self, result: object, failure: FailureDetails | None, at: datetime) -> None:
        """Note the answer."""
        self.result = result
        self.failure = failure
        self.ended_at = at


class ActivityCall(RecordedCall, kw_only=True):
    """One call of an activity as the task hub saw it; a retry is a call of its own.

    Attributes:
        name: name of the activity.
        instance_id: the orchestration that called.
        task_id: id of the action that scheduled it.
        attempt: 1 for the first call, 2 for its first retry, and so on.
        tags: tags of the call.
        version: version of the call.
    """

    name: str
    instance_id: str
    task_id: int
    attempt: int = 1
    tags: Mapping[str, str] = {}
    version: str | None = None

    @property
    def origin(self) -> str:
        """The attempt, for people."""
        return f"attempt {self.attempt}"


ErrorT = TypeVar("ErrorT", bound=NotRegisteredError)
CallT = TypeVar("CallT", bound=RecordedCall)


class RecordedCalls(Generic[CallT]):
    """Calls of one function, in order, and assertions about them.

    Attributes:
        calls: every call, in order, over all instances.
    """

    def __init__(self, subject: str, verb: str, data_converter: DataConverter) -> None:
        self.calls: list[CallT] = []
        self._subject = subject
        self._verb = verb
        self._converter = data_converter

    @property
    def call_count(self) -> int:
        """How often it was called."""
        return len(self.calls)

    @property
    def inputs(self) -> list[object]:
        """The inputs, in the order of the calls, as the code gets them."""
        return [call.input for call in self.calls]

    def assert_called(self) -> None:
        """Fail unless it was called at least once."""
        self._check(bool(self.calls), "at least once")

    def assert_not_called(self) -> None:
        """Fail if it was called."""
        self._check(not self.calls, "never")

    def assert_called_once(self) -> None:
        """Fail unless it was called exactly once."""
        self._check(len(self.calls) == 1, "once")

    def assert_called_with(self, input: object = _MISSING) -> None:  # noqa: A002 - the protocol's word
        """Fail unless the last call had this input."""
        self._check(bool(self.calls) and self._same(self.calls[-1], input), f"last with {input!r}")

    def assert_called_once_with(self, input: object = _MISSING) -> None:  # noqa: A002
        """Fail unless it was called exactly once, with this input."""
        is_right = len(self.calls) == 1 and self._same(self.calls[0], input)
        self._check(is_right, f"once with {input!r}")

    def assert_any_call(self, input: object = _MISSING) -> None:  # noqa: A002
        """Fail unless one of the calls had this input."""
        self._check(any(self._same(call, input) for call in self.calls), f"with {input!r}")

    def _same(self, call: CallT, expected: object) -> bool:
        """Inputs are compared as plain JSON values: a model equals the dictionary that it is written as."""
        payload = None if expected is _MISSING else self._converter.serialize(expected)
        read = self._converter.deserialize
        return call.serialized_input == payload or read(call.serialized_input) == read(payload)

    def _check(self, is_right: bool, expected: str) -> None:
        if not is_right:
            shown = "".join(f"\n  {call.input!r} ({call.origin})" for call in self.calls)
            calls = "calls" if self._verb == "called" else "signals"
            raise AssertionError(
                f"{self._subject} should have been {self._verb} {expected}; "
                + (f"its {calls} were:{shown}" if shown else f"it was never {self._verb}.")
            )


class Script:
    """What a fake answers.

    Args:
        subject: what the fake stands for, in messages.
        returns: the result of every call.
        side_effect: see ``SideEffect``.
    """

    def __init__(self, subject: str, returns: object, side_effect: SideEffect) -> None:
        self._subject = subject
        self._returns = returns
        self._effect = side_effect
        self._outcomes = None if _is_single(side_effect) else list(cast("Iterable[object]", side_effect))
        self._used = 0

    def twin(self) -> Script:
        """The same script with its outcomes unused."""
        return Script(
            self._subject, self._returns, self._effect if self._outcomes is None else self._outcomes
        )

    async def answer(self, value: object) -> object:
        """The outcome of one call.

        Raises:
            BaseException: what the side effect raises.
            AssertionError: there are more calls than outcomes.
        """
        if self._outcomes is not None:
            self._used += 1
            if self._used > len(self._outcomes):
                raise AssertionError(
                    f"The fake of {self._subject} has {len(self._outcomes)} outcomes and was called "
                    f"{self._used} times; the last input was {value!r}. Give its 'side_effect' more outcomes."
                )
            return _outcome(self._outcomes[self._used - 1])
        effect = self._effect
        if effect is None:
            return self._returns
        if isinstance(effect, BaseException) or _is_exception_type(effect):
            return _outcome(effect)
        function = cast("Callable[..., object]", effect)
        answer = function(value) if _takes_input(function) else function()
        return await cast("Awaitable[object]", answer) if inspect.isawaitable(answer) else answer


class FakeActivity(RecordedCalls[ActivityCall]):
    """Answers the calls of one activity in place of the real one, and remembers them.

    Attributes:
        name: name of the activity.
    """

    def __init__(
        self,
        name: str,
        *,
        returns: object = None,
        side_effect: SideEffect = None,
        data_converter: DataConverter = DEFAULT_CONVERTER,
    ) -> None:
        super().__init__(f"Activity {name!r}", "called", data_converter)
        self.name: str = name
        self._script = Script(f"activity {name!r}", returns, side_effect)

    def twin(self) -> FakeActivity:
        """The same fake with its outcomes unused."""
        twin = FakeActivity(self.name, data_converter=self._converter)
        twin._script = self._script.twin()
        return twin

    async def answer(self, value: object) -> object:
        """The outcome of one call.

        Raises:
            BaseException: what the side effect raises.
            AssertionError: there are more calls than outcomes.
        """
        return await self._script.answer(value)

    def __repr__(self) -> str:
        return f"<FakeActivity {self.name!r}, calls: {len(self.calls)}>"


def _is_exception_type(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _is_single(effect: SideEffect) -> bool:
    return effect is None or isinstance(effect, BaseException) or callable(effect)


def _outcome(value: object) -> object:
    if isinstance(value, BaseException):
        raise value
    if isinstance(value, type) and issubclass(value, BaseException):
        raise value()
    return value


def _takes_input(function: Callable[..., object]) -> bool:
    try:
        return bool(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # some functions of C have no signature
        return True


# --- which activities can be faked ----------------------------------------------------------------------------

_TYPO = 0.8  # how alike two names are of which one is probably meant for the other


def definition_of(activity: object, registry: Registry) -> ActivityDefinition | None:
    """What is known of an activity: from the function that was given, else from the registered one."""
    with suppress(RegistrationError, ActivityNotRegisteredError):
        if isinstance(activity, str):
            return registry.activity(activity)
        return ActivityDefinition(name_of(activity), activity)
    return None


def check_fake(activity: object, registry: Registry) -> None:
    """Refuse a fake that would never be called.

    A name that is not registered is fine: the code may call it, and the fake is then the only answer. A name that is
    almost that of a registered activity is a mistake: the real activity would run.

    Raises:
        ActivityNotRegisteredError: the name is misspelt, or is that of an orchestrator.
    """
    name = name_of(activity)
    known = registry.activity_names
    if name in known:
        return
    if isinstance(activity, type) and hasattr(activity, "initial_state"):
        raise refused(
            ActivityNotRegisteredError,
            name,
            f"{name!r} is an entity: env.fake_entity({name}) makes a fake of it.",
        )
    if name in registry.orchestrator_names:
        raise refused(
            ActivityNotRegisteredError,
            name,
            f"{name!r} is an orchestrator: fakes answer for activities only. Fake the activities that it calls, or "
            "register another function under its name.",
        )
    near = nearest_names(name, known)
    if isinstance(activity, str) and near and is_typo(name, near[0]):
        raise refused(
            ActivityNotRegisteredError,
            name,
            f"No activity named {name!r} is registered, but {near[0]!r} is: the fake would never be called. Correct the "
            "name, or pass the function if both exist.",
        )


def is_typo(name: str, other: str) -> bool:
    """Whether a name is probably meant for another one."""
    one, two = name.casefold(), other.casefold()
    if re.sub(r"\d+", "0", one) == re.sub(r"\d+", "0", two) and one != two:
        return False  # step1 and step2 are two activities
    return SequenceMatcher(None, one, two).ratio() >= _TYPO


def refused(kind: type[ErrorT], name: str, message: str) -> ErrorT:
    """The error for a name, with a message for tests."""
    error = kind(name)
    error.args = (message,)
    return error


def not_registered(name: str, registry: Registry) -> ActivityNotRegisteredError:
    """The failure of an activity that is neither registered nor faked, with the line to write."""
    error = ActivityNotRegisteredError(name, registry.activity_names)
    return refused(
        ActivityNotRegisteredError,
        name,
        f"{error} In a test, give the environment the activity, or a stand-in: env.fake({name!r}, returns=...).",
    )
