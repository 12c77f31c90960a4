"""Stand-ins for activities, by name, and the record of every call."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, TypeAlias, Union, cast

import msgspec
from durabletask.core.failures import FailureDetails
from durabletask.core.instances import decode_payload
from durabletask.core.serialization import DEFAULT_CONVERTER, DataConverter

__all__ = ["ActivityCall", "FakeActivity", "SideEffect"]

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
        input: the input as plain JSON values.
        attempt: 1 for the first call, 2 for its first retry, and so on.
        deliveries: how often the work item reached a worker; more than 1 after crashes and duplicates.
        started_at: virtual time of the first delivery.
        ended_at: virtual time of the answer; ``None`` while it runs.
        result: the result as plain JSON values.
        failure: why it failed.
        tags: tags of the call.
        version: version of the call.
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

    @property
    def succeeded(self) -> bool:
        """Whether it was answered, and not with a failure."""
        return self.ended_at is not None and self.failure is None

    def set_result(self, payload: str | None, failure: FailureDetails | None, at: datetime) -> None:
        """Note the answer."""
        self.result = decode_payload(payload)
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
            BaseException: whatever the side effect says.
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
        """The inputs, in the order of the calls, as plain JSON values."""
        return [call.input for call in self.calls]

    def assert_called(self) -> None:
        """Fail unless it was called."""
        self._check(bool(self.calls), "at least once")

    def assert_not_called(self) -> None:
        """Fail if it was called."""
        self._check(not self.calls, "never")

    def assert_called_once(self) -> None:
        """Fail unless it was called exactly once."""
        self._check(len(self.calls) == 1, "once")

    def assert_called_with(self, input: object = _MISSING) -> None:  # noqa: A002 - the protocol's word
        """Fail unless the last call had this input."""
        self._check(bool(self.calls) and self._same(self.calls[-1].input, input), f"last with {input!r}")

    def assert_called_once_with(self, input: object = _MISSING) -> None:  # noqa: A002
        """Fail unless it was called exactly once, with this input."""
        is_right = len(self.calls) == 1 and self._same(self.calls[0].input, input)
        self._check(is_right, f"once with {input!r}")

    def assert_any_call(self, input: object = _MISSING) -> None:  # noqa: A002
        """Fail unless one of the calls had this input."""
        self._check(any(self._same(call.input, input) for call in self.calls), f"with {input!r}")

    def _same(self, seen: object, expected: object) -> bool:
        """Inputs are seen as plain JSON values; what is expected may be anything that can be an input."""
        return seen == (None if expected is _MISSING else decode_payload(self._converter.serialize(expected)))

    def _check(self, is_right: bool, expected: str) -> None:
        if not is_right:
            shown = "".join(f"\n  {call.input!r} (attempt {call.attempt})" for call in self.calls)
            raise AssertionError(
                f"Activity {self.name!r} should have been called {expected}; "
                + (f"its calls were:{shown}" if shown else "it was never called.")
            )

    def __repr__(self) -> str:
        return f"<FakeActivity {self.name!r}, {len(self.calls)} calls>"


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
