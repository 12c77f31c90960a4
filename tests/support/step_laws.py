"""How many examples a law gets: a few in the normal suite, 2,000 in the extended one.

The extended run is ``pytest tests/core/laws --hypothesis-profile=extended`` (``hatch run laws``), or any run
with ``DURABLETASK_LAWS=extended`` in the environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

__all__ = ["law", "register_profile"]

_T = TypeVar("_T", bound=Callable[..., Any])
_EXTENDED = 2_000


def register_profile() -> None:
    """Make the profile known; for a conftest, which is read before the command line's profile is loaded."""
    settings.register_profile("extended", settings.get_profile("suite"), max_examples=_EXTENDED)


def _is_extended() -> bool:
    by_variable = os.environ.get("DURABLETASK_LAWS") == "extended"
    return by_variable or settings().max_examples == _EXTENDED


def law(*, examples: int) -> Callable[[_T], _T]:
    """Mark a property test as a law; both profiles are deterministic."""
    is_extended = _is_extended()
    profile = settings(
        max_examples=_EXTENDED if is_extended else examples,
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )

    def decorate(test: _T) -> _T:
        if is_extended:
            test = pytest.mark.extended(pytest.mark.timeout(1_800)(test))
        return profile(test)

    return decorate
