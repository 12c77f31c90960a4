"""Sends results to the hub until it has them (decisions, row 25).

An attempt ends in one of four ways:

* The hub accepts the result. It also accepts, and ignores, the result of a delivery that it has meanwhile made again
  elsewhere, so repeating an attempt is always safe.
* The instance is gone: the result is dropped.
* The hub refuses the result for good (``_REFUSALS``): a failure is sent instead, once. If that is refused too, the
  error is raised and the item is abandoned.
* The hub cannot be reached: the attempt is repeated after a back-off, without limit. Cancelling the call, as a
  stopping worker does, ends it.

A result must never be dropped silently while its instance exists: an orchestration would wait for it forever.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from durabletask.core.errors import (
    InstanceAlreadyExistsError,
    InstanceNotFoundError,
    InvalidOperationError,
    InvalidRequestError,
    NotSupportedError,
    ResourceExhaustedError,
    SerializationError,
    TransportError,
)

from .backoff import Backoff

__all__ = ["ResultSender"]

_ResultT = TypeVar("_ResultT")

_REFUSALS = (
    InvalidRequestError,
    ResourceExhaustedError,
    NotSupportedError,
    InvalidOperationError,
    InstanceAlreadyExistsError,
    SerializationError,
)
"""Errors that another attempt with the same result would meet again."""


class ResultSender:
    """Sends results, with retries. See the module.

    Attributes:
        retries: how many attempts were repeated.
    """

    def __init__(self, backoff: Backoff, logger: logging.Logger) -> None:
        self._backoff = backoff
        self._logger = logger
        self.retries: int = 0

    async def send(
        self,
        send: Callable[[_ResultT], Awaitable[None]],
        result: _ResultT,
        *,
        subject: str,
        instead: Callable[[Exception], _ResultT] | None = None,
    ) -> bool:
        """Send a result until the hub has it.

        Args:
            send: the method of the transport.
            result: the result.
            subject: names the work item in the log.
            instead: makes the result to send when the hub refuses this one for good (too large, ...).

        Returns:
            Whether the hub accepted a result; ``False`` when the instance is gone.

        Raises:
            DurableTaskError: the hub refused every result; abandon the item.
        """
        failures = 0
        while True:
            try:
                await send(result)
            except InstanceNotFoundError:
                self._logger.info("The instance of %s is gone; the result is dropped.", subject)
                return False
            except _REFUSALS as error:
                self._logger.error("The hub refused the result of %s: %s", subject, error)
                if instead is None:
                    raise
                result, instead = instead(error), None
                continue
            except TransportError as error:
                delay = self._backoff.delay(failures)
                failures += 1
                self.retries += 1
                self._logger.warning(
                    "The result of %s could not be sent: %s Trying again in %.1f s (attempt %d).",
                    subject,
                    error,
                    delay,
                    failures + 1,
                )
            else:
                return True
            await self._backoff.wait(delay)
