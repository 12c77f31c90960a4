"""What a server keeps of each task hub that it serves, and the words in which it refuses."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias, Union

from durabletask.core.actions import CompleteOrchestration
from durabletask.core.errors import InvalidRequestError, TransportError
from durabletask.core.logs import get_logger
from durabletask.core.transport import Transport
from durabletask.core.work_items import OrchestratorResult
from google.protobuf.message import DecodeError

import grpc

from .codec.past import EncodedPasts
from .incoming_call import Context, fitting_details
from .partial_results import PartialResults
from .status import status_of

__all__ = ["HubSource", "Hubs", "ServedHub", "check_text", "refuse"]

_LOGGER: Final = get_logger("durabletask.grpc.server")

_HUB_HEADER: Final = "taskhub"
_DEFAULT_HUB: Final = "default"


class ServedHub:
    """A hub, the bytes of the pasts that were sent to its workers, and the answers that arrive in parts."""

    __slots__ = ("partials", "pasts", "transport")

    def __init__(self, transport: Transport) -> None:
        self.transport: Transport = transport
        self.pasts: EncodedPasts = EncodedPasts()
        self.partials: PartialResults = PartialResults()

    def completed(self, result: OrchestratorResult) -> None:
        """An episode was committed: its parts, and the past of an execution that is over, are no longer needed."""
        self.partials.committed(result.completion_token)
        for action in result.actions:
            if type(action) is CompleteOrchestration:
                self.pasts.forget(result.instance_id)


HubSource: TypeAlias = Union[Transport, Callable[[str], Transport]]
"""One hub for everybody, or a function from the name of a task hub to the hub."""


class Hubs:
    """Finds the hub of a call by its ``taskhub`` header; without one it is ``default``."""

    def __init__(self, source: HubSource) -> None:
        self._source = source
        self._served: dict[str, ServedHub] = {}
        self._only = ServedHub(source) if isinstance(source, Transport) else None

    def of(self, context: Context) -> ServedHub:
        """The hub that a call is for.

        Raises:
            TransportError: there is no such hub.
        """
        if self._only is not None:
            return self._only
        name = _DEFAULT_HUB
        for key, value in context.invocation_metadata() or ():
            if key == _HUB_HEADER:
                name = str(value) or _DEFAULT_HUB
                break
        served = self._served.get(name)
        if served is None:
            source = self._source
            assert not isinstance(source, Transport)  # noqa: S101 - then there is only one
            served = self._served[name] = ServedHub(source(name))
        return served


async def refuse(context: Context, rpc: str, error: Exception) -> NoReturn:
    """End a call with the status of an error. An unforeseen error is logged, and sent without details."""
    if isinstance(error, TransportError):
        code, details = status_of(error), str(error)
    elif isinstance(error, DecodeError):
        code, details = grpc.StatusCode.INVALID_ARGUMENT, f"The request of {rpc} cannot be parsed."
    else:
        number = uuid.uuid4().hex[:8]
        _LOGGER.error("%s failed unexpectedly (error %s)", rpc, number, exc_info=error)
        code = grpc.StatusCode.INTERNAL
        details = f"The hub failed unexpectedly; its log has the details under error {number}."
    await context.abort(code, fitting_details(details))


def check_text(value: str, field: str) -> str:
    """A field that must not be empty.

    Raises:
        InvalidRequestError: it is.
    """
    if not value:
        raise InvalidRequestError(f"{field} must not be empty.")
    return value
