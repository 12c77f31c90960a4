"""How a worker waits between attempts."""

from __future__ import annotations

import pytest
from durabletask.core.hosting.backoff import Backoff


def test_the_bound_doubles_up_to_the_longest() -> None:
    """min(30 s, 1 s x 2^n), as the protocol's other workers do."""
    backoff = Backoff(1.0, 30.0, rng=lambda: 1.0)

    assert [backoff.delay(n) for n in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert backoff.delay(10_000) == 30


@pytest.mark.parametrize("number", [0.0, 0.25])
def test_the_jitter_is_full(number: float) -> None:
    """A delay lies anywhere between nothing and the bound."""
    assert Backoff(1.0, 30.0, rng=lambda: number).delay(3) == 8 * number
