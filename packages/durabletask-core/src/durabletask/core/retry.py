"""Retry policies for activities and sub-orchestrations (protocol section 8.8, decisions row 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from .failures import RETRY_AFTER_PROPERTY, FailureDetails

__all__ = ["RetryPolicy"]

_ONE_HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When and how often a failed activity or sub-orchestration is tried again.

    Attributes:
        first_retry_interval: delay before the second attempt; more than zero.
        max_number_of_attempts: total attempts, the first one included; at least 1.
        backoff_coefficient: factor from one delay to the next; at least 1.
        max_retry_interval: upper bound of one delay; ``None`` means one hour.
        retry_timeout: no further attempt once this long has passed on the orchestration clock.
        non_retryable: exception types or names (bare or qualified) that end the retries at once.
        should_retry: deterministic predicate over the failure; ``False`` ends the retries.

    Raises:
        ValueError: a value is outside its range; the message names it.
    """

    first_retry_interval: timedelta
    max_number_of_attempts: int
    backoff_coefficient: float = 1.0
    max_retry_interval: timedelta | None = None
    retry_timeout: timedelta | None = None
    non_retryable: tuple[type[BaseException] | str, ...] = ()
    should_retry: Callable[[FailureDetails], bool] | None = None

    def __post_init__(self) -> None:
        zero = timedelta(0)
        if self.first_retry_interval <= zero:
            raise ValueError(f"first_retry_interval must be more than zero, not {self.first_retry_interval}.")
        if self.max_number_of_attempts < 1:
            raise ValueError(f"max_number_of_attempts must be at least 1, not {self.max_number_of_attempts}.")
        if not self.backoff_coefficient >= 1:
            raise ValueError(f"backoff_coefficient must be at least 1, not {self.backoff_coefficient}.")
        if self.max_retry_interval is not None and self.max_retry_interval <= zero:
            raise ValueError(f"max_retry_interval must be more than zero, not {self.max_retry_interval}.")
        if self.retry_timeout is not None and self.retry_timeout <= zero:
            raise ValueError(f"retry_timeout must be more than zero, not {self.retry_timeout}.")
        object.__setattr__(self, "non_retryable", tuple(self.non_retryable))

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
        if failure.is_non_retriable or any(failure.matches(error) for error in self.non_retryable):
            return False
        return self.should_retry is None or bool(self.should_retry(failure))
