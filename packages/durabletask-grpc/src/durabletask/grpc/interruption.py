"""Distinguish a call that was ended from this side from a caller that is being cancelled.

gRPC raises ``CancelledError`` in both cases: when the task that awaits the call is cancelled, and when other code
ends the call with ``call.cancel()`` (``close`` does, and so does a stream that has been silent for too long). The
first must always be passed on, the second becomes an error of this project. A flag set by the code that ends the
call cannot decide: both may happen at once, and a cancellation that is swallowed leaves a task running for ever.

Since Python 3.11 the task itself knows. Before that, the call is awaited in a task of its own: then only a real
cancellation reaches the code that waits for it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

import grpc.aio

__all__ = ["CallEndedError", "unless_ended", "unless_ended_in_a_task"]

_T = TypeVar("_T")


class CallEndedError(Exception):
    """The call was ended by ``call.cancel()`` from this side."""


async def unless_ended_in_a_task(call: grpc.aio.Call, answer: Awaitable[_T]) -> _T:
    """``unless_ended`` for every version of Python, at the price of a task."""

    async def receive() -> _T:
        return await answer

    receiving = asyncio.ensure_future(receive())
    try:
        await asyncio.wait([receiving])
    except asyncio.CancelledError:
        call.cancel()
        receiving.cancel()
        raise
    if receiving.cancelled():
        raise CallEndedError
    return receiving.result()


if sys.version_info >= (3, 11):

    async def unless_ended(call: grpc.aio.Call, answer: Awaitable[_T]) -> _T:
        """What is awaited of a call.

        Args:
            call: the call.
            answer: the call itself, or a read from it.

        Raises:
            CallEndedError: the call was ended from this side.
            CancelledError: the current task is being cancelled.
        """
        del call
        try:
            return await answer
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise CallEndedError from None

else:
    unless_ended = unless_ended_in_a_task
