"""Sending answers to the hub until they have arrived (decisions, row 25)."""

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

__all__ = ["Delivery"]

_ResultT = TypeVar("_ResultT")

_REFUSALS = (
    InvalidRequestError,
    ResourceExhaustedError,
    NotSupportedError,
    InvalidOperationError,
    InstanceAlreadyExistsError,
    SerializationError,
)
"""Errors that another attempt with the same answer cannot cure."""


class Delivery:
    """Sends answers, with retries.

    A hub accepts the answer to a delivery that it has meanwhile given to somebody else and ignores it, so
    trying again is always safe, and ends at the latest when the hub is back.

    Attributes:
        retries: how many sends were repeated.
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
        """Send an answer until the hub has it.

        Args:
            send: the call of the transport.
            result: the answer.
            subject: what the answer is about, for the log.
            instead: makes the answer to send when the hub refuses this one for good (too large, ...).

        Returns:
            Whether the hub took an answer; ``False`` when the instance is gone.

        Raises:
            TransportError: the hub refused every answer; give the item back.
        """
        failures = 0
        while True:
            try:
                await send(result)
            except InstanceNotFoundError:
                self._logger.info("The instance of %s is gone; its answer is dropped.", subject)
                return False
            except _REFUSALS as error:
                self._logger.error("The hub refuses the answer to %s: %s", subject, error)
                if instead is None:
                    raise
                result, instead = instead(error), None
                continue
            except TransportError as error:
                delay = self._backoff.delay(failures)
                failures += 1
                self.retries += 1
                self._logger.warning(
                    "The answer to %s could not be sent: %s Trying again in %.1f s (attempt %d).",
                    subject,
                    error,
                    delay,
                    failures + 1,
                )
            else:
                return True
            await self._backoff.wait(delay)
