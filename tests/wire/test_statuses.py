"""Statuses and errors are mapped both ways, all of them."""

from __future__ import annotations

import grpc
import pytest
from durabletask.core import errors
from durabletask.grpc.status import ERROR_OF_STATUS, STATUS_OF_ERROR, error_of, status_of


def _kinds() -> set[type[errors.TransportError]]:
    found = {errors.TransportError}
    while True:
        more = {
            each for kind in found for each in kind.__subclasses__() if each.__module__ == errors.__name__
        }
        if more <= found:
            return found
        found |= more


def test_every_status_has_an_error() -> None:
    """A status that gRPC knows never reaches a user as a gRPC error."""
    assert set(ERROR_OF_STATUS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


def test_every_error_has_a_status() -> None:
    """An error that core grows must be given a status here."""
    assert set(STATUS_OF_ERROR) == _kinds()


@pytest.mark.parametrize("kind", sorted(_kinds(), key=lambda kind: kind.__name__))
def test_errors_come_back_as_what_they_were(kind: type[errors.TransportError]) -> None:
    """A client raises what the server's hub raised, or the nearest thing that has a status of its own."""
    nearest = {
        errors.OwnershipError: errors.TransportUnavailableError,
        errors.StorageError: errors.RemoteError,
        errors.InvalidArgumentError: errors.InvalidRequestError,
        errors.TransportError: errors.RemoteError,
        errors.TaskHubNotFoundError: errors.InstanceNotFoundError,
    }
    status = status_of(kind("text"))
    found = error_of(status, "text", rpc="GetInstance", endpoint="http://h", task_hub="t")
    assert type(found) is nearest.get(kind, kind)


def test_a_missing_hub_is_told_from_a_missing_instance() -> None:
    """NOT_FOUND of a call that names no instance speaks of the task hub."""
    for rpc in ("Hello", "GetWorkItems"):
        found = error_of(grpc.StatusCode.NOT_FOUND, "no", rpc=rpc, endpoint="http://h", task_hub="t")
        assert isinstance(found, errors.TaskHubNotFoundError)
        assert "http://h" in str(found)


def test_messages_are_one_line_and_name_the_endpoint() -> None:
    """Whatever a server says is told in one line, with where it was said."""
    for status in ERROR_OF_STATUS:
        found = error_of(status, "a\nb\r\n  c", rpc="GetInstance", endpoint="http://h:1", task_hub="t")
        assert "\n" not in str(found)
        assert "a b c" in str(found)
        assert "http://h:1" in str(found)


def test_subclasses_have_the_status_of_their_base() -> None:
    """An error of a third party's transport is reported as the kind it is."""

    class QuotaError(errors.ResourceExhaustedError):
        pass

    assert status_of(QuotaError("x")) is grpc.StatusCode.RESOURCE_EXHAUSTED
