"""Values of policies and limits: numbers are seconds, and a wrong value is an error by name."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from durabletask.core.hosting.limits import ConcurrencyOptions
from durabletask.core.retry import RetryPolicy


def test_numbers_are_seconds_in_a_retry_policy() -> None:
    """Whole and broken ones, for each of the three durations."""
    policy = RetryPolicy(
        first_retry_interval=5, max_number_of_attempts=3, max_retry_interval=0.5, retry_timeout=60
    )

    assert policy == RetryPolicy(
        first_retry_interval=timedelta(seconds=5),
        max_number_of_attempts=3,
        max_retry_interval=timedelta(seconds=0.5),
        retry_timeout=timedelta(minutes=1),
    )


@pytest.mark.parametrize("given", ["ValueError", ValueError, ["ValueError"], {ValueError}])
def test_one_final_error_needs_no_tuple(given: object) -> None:
    """``non_retryable="ValueError"`` used to mean ten letters."""
    policy = RetryPolicy(first_retry_interval=1, max_number_of_attempts=2, non_retryable=given)  # type: ignore[arg-type]

    assert len(policy.non_retryable) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"first_retry_interval": "5 s"},
            TypeError,
            "first_retry_interval must be a timedelta or a number of seconds",
        ),
        ({"first_retry_interval": None}, TypeError, "first_retry_interval must be"),
        ({"first_retry_interval": 0}, ValueError, "first_retry_interval must be more than zero"),
        ({"first_retry_interval": math.inf}, ValueError, "first_retry_interval must be finite"),
        ({"retry_timeout": 1e300}, ValueError, "retry_timeout is longer than a timedelta can be"),
        ({"max_retry_interval": True}, TypeError, "max_retry_interval must be"),
        ({"max_number_of_attempts": math.nan}, TypeError, "max_number_of_attempts must be an int, not nan"),
        ({"max_number_of_attempts": "3"}, TypeError, "max_number_of_attempts must be an int, not str"),
        ({"max_number_of_attempts": 0}, ValueError, "max_number_of_attempts must be at least 1"),
        ({"backoff_coefficient": "2"}, TypeError, "backoff_coefficient must be a number, not str"),
        ({"backoff_coefficient": math.nan}, ValueError, "backoff_coefficient must be finite, not nan"),
        ({"backoff_coefficient": 0.5}, ValueError, "backoff_coefficient must be at least 1"),
        ({"non_retryable": 5}, TypeError, "non_retryable must hold exception types or names, not int"),
        (
            {"non_retryable": [int]},
            TypeError,
            "non_retryable must hold exception types or names, not <class 'int'>",
        ),
        ({"should_retry": True}, TypeError, "should_retry must be a function"),
    ],
)
def test_a_wrong_value_of_a_retry_policy_is_an_error_by_name(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Not a comparison that fails inside of the SDK, and no endless retries."""
    with pytest.raises(error, match=message):
        RetryPolicy(**{"first_retry_interval": 1, "max_number_of_attempts": 3, **arguments})


@pytest.mark.parametrize("name", ["max_orchestrations", "max_activities", "max_entities", "max_threads"])
def test_a_limit_that_is_no_whole_number_is_an_error_by_name(name: str) -> None:
    """Texts from the environment are the usual case."""
    with pytest.raises(TypeError, match=f"{name} must be an int, not str"):
        ConcurrencyOptions(**{name: "5"})
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        ConcurrencyOptions(**{name: -1})
