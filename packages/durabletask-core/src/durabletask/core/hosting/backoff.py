"""How long to wait before trying again (protocol section 4.2)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

__all__ = ["Backoff"]

_LARGEST_EXPONENT = 30


class Backoff:
    """Full jitter: after n failures in a row, a uniform delay in [0, min(longest, first x 2^n)].

    Args:
        first: upper bound of the first delay, in seconds.
        longest: upper bound of any delay, in seconds.
        rng: source of numbers in [0, 1).
        sleep: how to wait, given seconds; a test or a virtual clock brings its own.
        now: the present in seconds, from any beginning.
    """

    def __init__(
        self,
        first: float = 1.0,
        longest: float = 30.0,
        *,
        rng: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.first: float = first
        self.longest: float = longest
        self.now: Callable[[], float] = now
        self._rng = rng
        self._sleep = sleep

    def delay(self, failures: int) -> float:
        """Seconds to wait after ``failures`` earlier failures in a row (0 before the first retry)."""
        bound: float = min(self.longest, self.first * 2 ** min(failures, _LARGEST_EXPONENT))
        return bound * self._rng()

    async def wait(self, seconds: float) -> None:
        """Wait."""
        await self._sleep(seconds)
