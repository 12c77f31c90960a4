"""gRPC status codes and the errors of core: one table per direction (protocol section 4.1)."""

from __future__ import annotations

from typing import Final

from durabletask.core.errors import (
    InstanceAlreadyExistsError,
    InstanceNotFoundError,
    InvalidArgumentError,
    InvalidOperationError,
    InvalidRequestError,
    NotSupportedError,
    OwnershipError,
    PermissionDeniedError,
    RemoteError,
    ResourceExhaustedError,
    StorageError,
    TaskHubNotFoundError,
    TransportError,
    TransportTimeoutError,
    TransportUnavailableError,
    UnauthenticatedError,
)

import grpc

__all__ = ["ERROR_OF_STATUS", "STATUS_OF_ERROR", "error_of", "is_connection_failure", "status_of"]

ERROR_OF_STATUS: Final[dict[grpc.StatusCode, type[TransportError]]] = {
    grpc.StatusCode.CANCELLED: TransportUnavailableError,
    grpc.StatusCode.UNKNOWN: RemoteError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.DEADLINE_EXCEEDED: TransportTimeoutError,
    grpc.StatusCode.NOT_FOUND: InstanceNotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: InstanceAlreadyExistsError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidOperationError,
    grpc.StatusCode.ABORTED: RemoteError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.UNIMPLEMENTED: NotSupportedError,
    grpc.StatusCode.INTERNAL: RemoteError,
    grpc.StatusCode.UNAVAILABLE: TransportUnavailableError,
    grpc.StatusCode.DATA_LOSS: StorageError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
}
"""What a client raises for a status."""

STATUS_OF_ERROR: Final[dict[type[TransportError], grpc.StatusCode]] = {
    TransportUnavailableError: grpc.StatusCode.UNAVAILABLE,
    TransportTimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    TaskHubNotFoundError: grpc.StatusCode.NOT_FOUND,
    InstanceNotFoundError: grpc.StatusCode.NOT_FOUND,
    InstanceAlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidArgumentError: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidOperationError: grpc.StatusCode.FAILED_PRECONDITION,
    NotSupportedError: grpc.StatusCode.UNIMPLEMENTED,
    ResourceExhaustedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    # Nothing was acknowledged and trying again may help: workers of other SDKs retry on these two.
    OwnershipError: grpc.StatusCode.UNAVAILABLE,
    StorageError: grpc.StatusCode.INTERNAL,
    RemoteError: grpc.StatusCode.UNKNOWN,
    TransportError: grpc.StatusCode.UNKNOWN,
}
"""What a server answers for an error; a subclass counts as its nearest base in the table."""

_HUB_CALLS: Final = frozenset({"Hello", "GetWorkItems", "CreateTaskHub", "DeleteTaskHub"})
"""Calls that name no instance: NOT_FOUND then means the task hub."""

_CONNECTION_FAILURES: Final = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
)


def status_of(error: TransportError) -> grpc.StatusCode:
    """The status with which a server reports an error."""
    for base in type(error).__mro__:
        status = STATUS_OF_ERROR.get(base)
        if status is not None:
            return status
    return grpc.StatusCode.UNKNOWN


def is_connection_failure(status: grpc.StatusCode) -> bool:
    """Whether a status speaks against the connection rather than against the request."""
    return status in _CONNECTION_FAILURES


def error_of(
    status: grpc.StatusCode,
    details: str,
    *,
    rpc: str,
    endpoint: str,
    task_hub: str,
    advice: str = "Check the endpoint and that a hub is running there.",
) -> TransportError:
    """The error that a client raises for a status; its message is one line.

    Args:
        status: the status of the call.
        details: what came with it.
        rpc: name of the call.
        endpoint: where the hub is.
        task_hub: its name.
        advice: what to do when the hub is unavailable.
    """
    text = " ".join(details.split()).rstrip(".") or status.name
    if status is grpc.StatusCode.UNAVAILABLE:
        return TransportUnavailableError(
            f"The hub at {endpoint} (task hub {task_hub!r}) is unavailable: {text}. {advice}"
        )
    if status is grpc.StatusCode.NOT_FOUND and rpc in _HUB_CALLS:
        return TaskHubNotFoundError(f"{endpoint} has no task hub {task_hub!r}: {text}.")
    kind = ERROR_OF_STATUS.get(status, RemoteError)
    return kind(f"{text}. ({rpc} at {endpoint}, task hub {task_hub!r}: {status.name})")
