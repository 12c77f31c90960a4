"""How many examples a law gets: a few in the normal suite, 2,000 with ``DURABLETASK_LAWS=extended``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

__all__ = ["law"]

_T = TypeVar("_T", bound=Callable[..., Any])
_IS_EXTENDED = os.environ.get("DURABLETASK_LAWS") == "extended"


def law(*, examples: int) -> Callable[[_T], _T]:
    """Mark a property test as a law; both profiles are deterministic."""
    profile = settings(
        max_examples=2_000 if _IS_EXTENDED else examples,
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )

    def decorate(test: _T) -> _T:
        if _IS_EXTENDED:
            test = pytest.mark.extended(pytest.mark.timeout(1_800)(test))
        return profile(test)

    return decorate
