"""Stand-ins for activities, by name, and the record of every call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from difflib import SequenceMatcher
from typing import Final, TypeAlias, Union, cast

import msgspec
from durabletask.core.errors import ActivityNotRegisteredError, RegistrationError, nearest_names
from durabletask.core.failures import FailureDetails
from durabletask.core.registry import ActivityDefinition, Registry, name_of
from durabletask.core.serialization import DEFAULT_CONVERTER, DataConverter

__all__ = ["ActivityCall", "FakeActivity", "SideEffect", "check_fake", "definition_of", "not_registered"]

__tracebackhide__ = True  # pytest shows the line of the test instead

SideEffect: TypeAlias = Union[
    Callable[..., object], BaseException, type[BaseException], Iterable[object], None
]
"""A function of the input, an exception to raise, or one outcome per call (exceptions are raised)."""

_MISSING: Final = object()


class ActivityCall(msgspec.Struct, kw_only=True):
    """One call of an activity as the task hub saw it; a retry is a call of its own.

    Attributes:
        name: name of the activity.
        instance_id: the orchestration that called.
        task_id: id of the action that scheduled it.
        input: the input as the activity gets it: converted to its annotation, or plain JSON values without one.
        attempt: 1 for the first call, 2 for its first retry, and so on.
        deliveries: how often the work item reached a worker; more than 1 after crashes and duplicates.
        started_at: virtual time of the first delivery.
        ended_at: virtual time of the answer; ``None`` while it runs.
        result: the result, converted to the return annotation of the activity if there is one.
        failure: why it failed.
        tags: tags of the call.
        version: version of the call.
        serialized_input: the input as the task hub has it.
    """

    name: str
    instance_id: str
    task_id: int
    started_at: datetime
    input: object = None
    attempt: int = 1
    deliveries: int = 1
    ended_at: datetime | None = None
    result: object = None
    failure: FailureDetails | None = None
    tags: Mapping[str, str] = {}
    version: str | None = None
    serialized_input: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it was answered, and not with a failure."""
        return self.ended_at is not None and self.failure is None

    def set_result(self, result: object, failure: FailureDetails | None, at: datetime) -> None:
        """Note the answer."""
        self.result = result
        self.failure = failure
        self.ended_at = at


class FakeActivity:
    """Answers the calls of one activity in place of the real one, and remembers them.

    Attributes:
        name: name of the activity.
        calls: every call, in order, over all instances.
    """

    def __init__(
        self,
        name: str,
        *,
        returns: object = None,
        side_effect: SideEffect = None,
        data_converter: DataConverter = DEFAULT_CONVERTER,
    ) -> None:
        self.name: str = name
        self.calls: list[ActivityCall] = []
        self._converter = data_converter
        self._returns = returns
        self._effect = side_effect
        self._outcomes = None if _is_single(side_effect) else list(cast("Iterable[object]", side_effect))
        self._used = 0

    def twin(self) -> FakeActivity:
        """The same fake with its outcomes unused."""
        effect = self._effect if self._outcomes is None else self._outcomes
        return FakeActivity(
            self.name, returns=self._returns, side_effect=effect, data_converter=self._converter
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
                    f"The fake of activity {self.name!r} has {len(self._outcomes)} outcomes and was called "
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

    # --- assertions -----------------------------------------------------------------------------------------

    @property
    def call_count(self) -> int:
        """How often it was called."""
        return len(self.calls)

    @property
    def inputs(self) -> list[object]:
        """The inputs, in the order of the calls, as the activity gets them."""
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

    def _same(self, call: ActivityCall, expected: object) -> bool:
        """Inputs are compared as plain JSON values: a model equals the dictionary that it is written as."""
        payload = None if expected is _MISSING else self._converter.serialize(expected)
        read = self._converter.deserialize
        return call.serialized_input == payload or read(call.serialized_input) == read(payload)

    def _check(self, is_right: bool, expected: str) -> None:
        if not is_right:
            shown = "".join(f"\n  {call.input!r} (attempt {call.attempt})" for call in self.calls)
            raise AssertionError(
                f"Activity {self.name!r} should have been called {expected}; "
                + (f"its calls were:{shown}" if shown else "it was never called.")
            )

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
    if name in registry.orchestrator_names:
        raise _refused(
            name,
            f"{name!r} is an orchestrator: fakes answer for activities only. Fake the activities that it calls, or "
            "register another function under its name.",
        )
    near = nearest_names(name, known)
    if isinstance(activity, str) and near and _is_typo(name, near[0]):
        raise _refused(
            name,
            f"No activity named {name!r} is registered, but {near[0]!r} is: the fake would never be called. Correct the "
            "name, or pass the function if both exist.",
        )


def _is_typo(name: str, other: str) -> bool:
    one, two = name.casefold(), other.casefold()
    if re.sub(r"\d+", "0", one) == re.sub(r"\d+", "0", two) and one != two:
        return False  # step1 and step2 are two activities
    return SequenceMatcher(None, one, two).ratio() >= _TYPO


def _refused(name: str, message: str) -> ActivityNotRegisteredError:
    error = ActivityNotRegisteredError(name)
    error.args = (message,)
    return error


def not_registered(name: str, registry: Registry) -> ActivityNotRegisteredError:
    """The failure of an activity that is neither registered nor faked, with the line to write."""
    error = ActivityNotRegisteredError(name, registry.activity_names)
    return _refused(
        name,
        f"{error} In a test, give the environment the activity, or a stand-in: env.fake({name!r}, returns=...).",
    )
