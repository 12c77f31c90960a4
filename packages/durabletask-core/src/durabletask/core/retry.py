"""Retry policies for activities and sub-orchestrations (protocol section 8.8, decisions row 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias, Union

from .arguments import as_count, as_duration, as_number
from .failures import RETRY_AFTER_PROPERTY, FailureDetails

__all__ = [
    "ATTEMPT_TAG",
    "FIRST_TASK_ID_TAG",
    "RetryPolicy",
    "attempt_of",
    "first_task_id_of",
    "tags_of_retry",
    "user_tags",
]

NonRetryable: TypeAlias = Union[type[BaseException], str]
"""An exception type, or its name, bare or qualified."""

ATTEMPT_TAG: Final = "durabletask.attempt"
FIRST_TASK_ID_TAG: Final = "durabletask.first_task_id"
"""Tags of a retry of an activity: which attempt it is, and the id of the action of the first attempt.

The protocol has no fields for them, and each attempt is an action with an id of its own. Tags travel from the action to
the activity's work item on every hub that has tags, and other SDKs pass them over. A first attempt has none, so calls
without failures cost nothing more.
"""

_ONE_HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When and how often a failed activity or sub-orchestration is tried again.

    Durations are ``timedelta`` or numbers of seconds; the attributes are ``timedelta``.

    Attributes:
        first_retry_interval: delay before the second attempt; more than zero.
        max_number_of_attempts: total attempts, the first one included; at least 1.
        backoff_coefficient: factor from one delay to the next; at least 1.
        max_retry_interval: upper bound of one delay; ``None`` means one hour.
        retry_timeout: no further attempt once this long has passed on the orchestration clock.
        non_retryable: exception types or names (bare or qualified) that end the retries at once; one or several. The
            causes of a failure count, too: what a sub-orchestration's activity raised, and the members of a group.
        should_retry: deterministic predicate over the failure; ``False`` ends the retries.

    Raises:
        ValueError: a value is outside its range; the message names it.
        TypeError: a value has the wrong type; the message names it.
    """

    first_retry_interval: timedelta
    max_number_of_attempts: int
    backoff_coefficient: float = 1.0
    max_retry_interval: timedelta | None = None
    retry_timeout: timedelta | None = None
    non_retryable: tuple[type[BaseException] | str, ...] = ()
    should_retry: Callable[[FailureDetails], bool] | None = None

    if TYPE_CHECKING:  # what the constructor takes is wider than what the attributes are

        def __init__(
            self,
            *,
            first_retry_interval: timedelta | float,
            max_number_of_attempts: int,
            backoff_coefficient: float = 1.0,
            max_retry_interval: timedelta | float | None = None,
            retry_timeout: timedelta | float | None = None,
            non_retryable: NonRetryable | Iterable[NonRetryable] = (),
            should_retry: Callable[[FailureDetails], bool] | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        for name in ("first_retry_interval", "max_retry_interval", "retry_timeout"):
            given = getattr(self, name)
            if given is None and name != "first_retry_interval":
                continue
            duration = as_duration(given, name)
            if duration <= timedelta(0):
                raise ValueError(f"{name} must be more than zero, not {duration}.")
            object.__setattr__(self, name, duration)
        as_count(self.max_number_of_attempts, "max_number_of_attempts", least=1)
        coefficient = as_number(self.backoff_coefficient, "backoff_coefficient")
        if coefficient < 1:
            raise ValueError(f"backoff_coefficient must be at least 1, not {coefficient}.")
        object.__setattr__(self, "non_retryable", _names_or_types(self.non_retryable))
        if self.should_retry is not None and not callable(self.should_retry):
            raise TypeError(f"should_retry must be a function, not {type(self.should_retry).__name__}.")

    def delay_after(self, attempts: int) -> timedelta:
        """The back-off after ``attempts`` failed attempts: min(first x coefficient^(n-1), max)."""
        longest = self.max_retry_interval or _ONE_HOUR
        try:
            delay = self.first_retry_interval * self.backoff_coefficient ** (attempts - 1)
        except OverflowError:
            return longest
        return min(delay, longest)

    def next_attempt(
        self, failure: FailureDetails, *, attempts: int, started_at: datetime, now: datetime
    ) -> datetime | None:
        """The time of the next attempt, or ``None`` if there is none.

        ``attempts`` counts the failed attempts so far; all times are on the orchestration clock.
        """
        if attempts >= self.max_number_of_attempts or not self._is_retryable(failure):
            return None
        asked = failure.properties.get(RETRY_AFTER_PROPERTY) if failure.properties else None
        try:
            if isinstance(asked, (int, float)) and asked >= 0:
                due = now + timedelta(seconds=asked)
            else:
                due = now + self.delay_after(attempts)
        except OverflowError:  # later than any date
            return None
        if self.retry_timeout is not None and due - started_at > self.retry_timeout:
            return None
        return due

    def _is_retryable(self, failure: FailureDetails) -> bool:
        if failure.is_final or any(failure.is_caused_by(error) for error in self.non_retryable):
            return False
        return self.should_retry is None or bool(self.should_retry(failure))


def _names_or_types(given: object) -> tuple[NonRetryable, ...]:
    """One or several exception types or names; a ``str`` alone is one name, and not its letters."""
    if isinstance(given, (str, type)):
        given = (given,)
    if not isinstance(given, Iterable):
        raise TypeError(f"non_retryable must hold exception types or names, not {type(given).__name__}.")
    found = tuple(given)
    for each in found:
        if not (each and isinstance(each, str)) and not (
            isinstance(each, type) and issubclass(each, BaseException)
        ):
            raise TypeError(f"non_retryable must hold exception types or names, not {each!r}.")
    return found


def tags_of_retry(tags: Mapping[str, str] | None, *, attempt: int, first_task_id: int) -> dict[str, str]:
    """The tags of a later attempt of a call that was made with ``tags``."""
    return {**(tags or {}), ATTEMPT_TAG: str(attempt), FIRST_TASK_ID_TAG: str(first_task_id)}


def attempt_of(tags: Mapping[str, str] | None) -> int:
    """Which attempt an activity with these tags is, from 1."""
    return _number(tags, ATTEMPT_TAG) or 1


def first_task_id_of(tags: Mapping[str, str] | None, task_id: int) -> int:
    """The id of the first attempt of the call to which the activity ``task_id`` belongs."""
    found = _number(tags, FIRST_TASK_ID_TAG)
    return task_id if found is None else found


def user_tags(tags: Mapping[str, str] | None) -> Mapping[str, str]:
    """The tags without those of retries."""
    if not tags or ATTEMPT_TAG not in tags:
        return tags or {}
    return {name: value for name, value in tags.items() if name not in {ATTEMPT_TAG, FIRST_TASK_ID_TAG}}


def _number(tags: Mapping[str, str] | None, name: str) -> int | None:
    text = tags.get(name, "") if tags else ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None
