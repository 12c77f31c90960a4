"""Every error this project raises, in one tree.

    DurableTaskError
    ├── ConfigurationError                 what was configured cannot work; also a ValueError
    │   ├── ConnectionStringError          the text of a connection string
    │   ├── MissingPackageError            a scheme or credential whose package is not installed
    │   └── RegistrationError              names and callables given to a worker
    ├── SerializationError                 a value or a payload that cannot be converted; also a TypeError
    ├── TaskError                          raised by ``await task`` in an orchestrator, and by results of handles
    │   ├── TaskFailedError                the task ended in a failure (alias TaskFailedException)
    │   │   └── TaskNotRegisteredError     it was never run: no worker has the name; a mistake, not an outcome
    │   ├── TaskCancelledError             the task was cancelled before it ended
    │   └── OrchestrationTerminatedError   the orchestration whose result was wanted was terminated
    ├── OrchestratorMisuseError            the orchestrator's code broke a rule of replay
    │   ├── ForeignAwaitableError          awaited something that is not a durable task
    │   ├── ForeignTaskError               awaited a task of another orchestration
    │   ├── UnawaitedTaskError             a task or coroutine was created and never awaited
    │   ├── SchedulingError                scheduled from another thread or after completion
    │   ├── InvalidResultError             returned a coroutine, generator or task
    │   └── EntityLockError                broke a rule of critical sections
    ├── ReplayError                        the history and the code do not fit
    │   ├── NonDeterminismError            the code took another path than its history
    │   └── OrchestrationStateError        the history itself cannot be replayed
    ├── NotRegisteredError                 work arrived for a name this worker does not have
    │   ├── OrchestratorNotRegisteredError
    │   ├── ActivityNotRegisteredError
    │   ├── EntityNotRegisteredError
    │   └── EntityOperationNotFoundError
    ├── VersionMismatchError               the instance's version is not one this worker accepts
    ├── NonRetryableError                  raised by an activity: no retry policy applies
    ├── RetryAfter                         raised by an activity: try again after a delay
    └── TransportError                     the hub, or the way to it
        ├── TransportUnavailableError      no server answers at the endpoint
        ├── TransportTimeoutError          no answer within the deadline; also a TimeoutError
        ├── UnauthenticatedError           the hub does not accept who we are
        ├── PermissionDeniedError          the hub knows us and refuses
        ├── TaskHubNotFoundError           the endpoint answers, the task hub does not exist
        ├── InstanceNotFoundError          no instance (or entity) of that id
        ├── InstanceAlreadyExistsError     the id is in use and may not be replaced
        ├── InvalidRequestError            the arguments are refused; also a ValueError
        │   └── InvalidArgumentError       an argument has the wrong type; also a TypeError
        ├── InvalidOperationError          not possible in the instance's present state
        ├── NotSupportedError              this hub does not implement the operation
        ├── ResourceExhaustedError         a limit of the hub or of the message size
        ├── OwnershipError                 a store is in use by another process
        ├── StorageError                   the store cannot be read or written; nothing was acknowledged
        └── RemoteError                    any other failure that the hub reports

A message says what happened, where, and what to do next. The first word of the tree names whose fault it
was: configuration and misuse are the program's, replay is a disagreement between program and history,
transport is the hub's or the network's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from difflib import get_close_matches
from typing import ClassVar

from .failures import RETRY_AFTER_PROPERTY, FailureDetails, cut

__all__ = [
    "ActivityNotRegisteredError",
    "ConfigurationError",
    "ConnectionStringError",
    "DurableTaskError",
    "EntityLockError",
    "EntityNotRegisteredError",
    "EntityOperationNotFoundError",
    "ForeignAwaitableError",
    "ForeignTaskError",
    "InstanceAlreadyExistsError",
    "InstanceNotFoundError",
    "InvalidArgumentError",
    "InvalidOperationError",
    "InvalidRequestError",
    "InvalidResultError",
    "MissingPackageError",
    "NonDeterminismError",
    "NonRetryableError",
    "NotRegisteredError",
    "NotSupportedError",
    "OrchestrationStateError",
    "OrchestrationTerminatedError",
    "OrchestratorMisuseError",
    "OrchestratorNotRegisteredError",
    "OwnershipError",
    "PermissionDeniedError",
    "RegistrationError",
    "RemoteError",
    "ReplayError",
    "ResourceExhaustedError",
    "RetryAfter",
    "SchedulingError",
    "SerializationError",
    "StorageError",
    "TaskCancelledError",
    "TaskError",
    "TaskFailedError",
    "TaskFailedException",
    "TaskHubNotFoundError",
    "TaskNotRegisteredError",
    "TransportError",
    "TransportTimeoutError",
    "TransportUnavailableError",
    "UnauthenticatedError",
    "UnawaitedTaskError",
    "VersionMismatchError",
    "nearest_names",
]


def nearest_names(name: str, known: Iterable[str], *, limit: int = 3) -> list[str]:
    """The names of ``known`` that look most like ``name``, best first, without regard to case.

    Used by every message about an unknown name.
    """
    by_folded: dict[str, str] = {}
    for candidate in known:
        by_folded.setdefault(candidate.casefold(), candidate)
    matches = get_close_matches(name.casefold(), list(by_folded), n=limit, cutoff=0.5)
    return [by_folded[match] for match in matches]


class DurableTaskError(Exception):
    """Root of every error that this project raises on purpose.

    Attributes:
        failure_is_final: whether a failure with this error is final, so that no retry policy applies.
    """

    failure_is_final: ClassVar[bool] = False


# --- what was configured -------------------------------------------------------------------------------


class ConfigurationError(DurableTaskError, ValueError):
    """Something that was configured cannot work; the message names the setting and the fix."""


class ConnectionStringError(ConfigurationError):
    """A connection string cannot be used. The message names the offending part, never a secret."""


class MissingPackageError(ConfigurationError):
    """A scheme or an Authentication value needs a package that is not installed."""


class RegistrationError(ConfigurationError):
    """A name or a callable cannot be registered with a worker."""


class SerializationError(DurableTaskError, TypeError):
    """A value cannot become a payload, or a payload cannot become the wanted type."""


# --- what `await task` raises ---------------------------------------------------------------------------


class TaskError(DurableTaskError):
    """Root of what awaiting a durable task, or the result of a handle, can raise."""


class TaskFailedError(TaskError):
    """A durable task ended in a failure.

    Attributes:
        details: what the hub recorded about the failure.
        task_name: name of the activity, sub-orchestration or entity operation, if there is one.
        task_id: id of the action that scheduled the task, if known.
        failures: every failure of a ``task_all(..., fail_fast=False)``, in member order.
    """

    def __init__(
        self,
        message: str,
        details: FailureDetails,
        *,
        task_name: str | None = None,
        task_id: int | None = None,
        failures: Sequence[TaskFailedError] = (),
    ) -> None:
        super().__init__(message)
        self.details = details
        self.task_name = task_name
        self.task_id = task_id
        self.failures: tuple[TaskFailedError, ...] = tuple(failures)

    @property
    def failure_details(self) -> FailureDetails:
        """The same as ``details``."""
        return self.details

    @staticmethod
    def of(details: FailureDetails, what: str, *, name: str, task_id: int | None = None) -> TaskFailedError:
        """The error for a failure that the history records.

        Args:
            details: the failure.
            what: the task that failed, for the message.
            name: its name.
            task_id: id of its action.
        """
        is_unknown = details.root_cause.matches(NotRegisteredError)
        kind = TaskNotRegisteredError if is_unknown else TaskFailedError
        return kind(_headline(details, what), details, task_name=name, task_id=task_id)


class TaskNotRegisteredError(TaskFailedError):
    """No worker has an activity, orchestrator or entity of the name that was called.

    This is a mistake in the program or its deployment, and nothing was run. Code that compensates for failed tasks
    should let it pass: ``except TaskNotRegisteredError: raise``, before ``except TaskFailedError``.
    """


_LONGEST_QUOTE = 400  # of a failure's message, in another error's message


def _headline(details: FailureDetails, what: str) -> str:
    """The deepest cause first, because it is what happened, and then what the task itself raised."""
    root = details.root_cause
    cause = cut(root.message, _LONGEST_QUOTE) or root.error_type
    if root is details:
        return f"{cause} ({root.error_type} in {what})"
    raised = cut(details.message, _LONGEST_QUOTE)
    if (
        raised.startswith(cause) and root.error_type in raised
    ):  # as the message of a sub-orchestration's TaskFailedError does
        return f"{raised} ({details.error_type} in {what})"
    return f"{cause} ({root.error_type}), the cause of {details.error_type} in {what}: {raised}"


TaskFailedException = TaskFailedError
"""Alias kept for people who know the error by this name."""


class TaskCancelledError(TaskError):
    """The awaited task was cancelled with ``Task.cancel()`` before it ended."""


class OrchestrationTerminatedError(TaskError):
    """The orchestration whose result was wanted was terminated.

    Attributes:
        instance_id: id of the instance.
        output: what was given to the call that terminated it, as plain JSON values.
    """

    def __init__(self, message: str, instance_id: str, output: object = None) -> None:
        super().__init__(message)
        self.instance_id = instance_id
        self.output = output


# --- rules of replay --------------------------------------------------------------------------------------


class OrchestratorMisuseError(DurableTaskError):
    """The code of an orchestrator broke a rule of replay; the message gives file:line and the fix."""


class ForeignAwaitableError(OrchestratorMisuseError):
    """An orchestrator awaited (or yielded) something that is not a durable task."""


class ForeignTaskError(OrchestratorMisuseError):
    """An orchestrator awaited a task that belongs to another orchestration."""


class UnawaitedTaskError(OrchestratorMisuseError):
    """A task or coroutine was created and never awaited."""


class SchedulingError(OrchestratorMisuseError):
    """Work was scheduled from another thread, from outside the orchestrator, or after completion."""


class InvalidResultError(OrchestratorMisuseError):
    """An orchestrator returned a coroutine, a generator or a task instead of a value."""


class EntityLockError(OrchestratorMisuseError):
    """A rule of critical sections was broken (nested lock, call of an entity that is not locked, ...)."""


class ReplayError(DurableTaskError):
    """The history and the code do not fit together."""


class NonDeterminismError(ReplayError):
    """The code took another path than the one its history records."""


class OrchestrationStateError(ReplayError):
    """The history itself cannot be replayed (unknown event kinds, missing start, empty episode, ...)."""


# --- registration at run time ------------------------------------------------------------------------------


class NotRegisteredError(DurableTaskError):
    """Work arrived for a name that is not registered with this worker."""

    kind = "function"
    failure_is_final = True

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        super().__init__(self._message(name, sorted(known)))
        self.name = name

    def _message(self, name: str, known: list[str]) -> str:
        near = nearest_names(name, known)
        if near:
            hint = "The nearest registered names are: " + ", ".join(repr(n) for n in near) + "."
        elif known:
            hint = "Registered are: " + ", ".join(repr(n) for n in known[:10]) + "."
        else:
            hint = f"No {self.kind} is registered with this worker at all."
        return f"No {self.kind} named {name!r} is registered with this worker. {hint}"


class OrchestratorNotRegisteredError(NotRegisteredError):
    """No orchestrator of that name is registered with this worker."""

    kind = "orchestrator"


class ActivityNotRegisteredError(NotRegisteredError):
    """No activity of that name is registered with this worker."""

    kind = "activity"


class EntityNotRegisteredError(NotRegisteredError):
    """No entity of that name is registered with this worker."""

    kind = "entity"


class EntityOperationNotFoundError(NotRegisteredError):
    """The entity has no operation of that name."""

    kind = "operation"

    def _message(self, name: str, known: list[str]) -> str:
        return f"The entity has no operation {name!r}. Its operations are: {', '.join(map(repr, known))}."


class VersionMismatchError(DurableTaskError):
    """The version of an instance is not one that this worker accepts."""

    failure_is_final = True


# --- raised by activities to steer retries -------------------------------------------------------------------


class NonRetryableError(DurableTaskError):
    """Raise this (or a subclass) in an activity: the failure is final, no retry policy applies."""

    failure_is_final = True


class RetryAfter(DurableTaskError):  # noqa: N818 - reads as an instruction: raise RetryAfter(delay)
    """Raise this in an activity: a retry policy waits ``delay`` instead of its own back-off.

    The attempt still counts against ``max_number_of_attempts``. Without a retry policy, or with a delay beyond
    all dates, it is an ordinary failure.
    """

    def __init__(self, delay: timedelta | float, message: str = "") -> None:
        try:
            self.delay: timedelta = delay if isinstance(delay, timedelta) else timedelta(seconds=delay)
        except TypeError:
            found = type(delay).__name__  # the value may be data of the user
            raise TypeError(f"delay must be a timedelta or a number of seconds, not {found}.") from None
        except (ValueError, OverflowError):
            raise ValueError(f"delay must be finite and not beyond a timedelta, not {delay}.") from None
        super().__init__(message or f"asked to be retried after {self.delay}")

    @property
    def failure_properties(self) -> dict[str, object]:
        """How the delay travels."""
        return {RETRY_AFTER_PROPERTY: self.delay.total_seconds()}


# --- the hub and the way to it --------------------------------------------------------------------------------


class TransportError(DurableTaskError):
    """The hub, or the way to it, did not do what was asked."""


class TransportUnavailableError(TransportError):
    """No server answers at the endpoint, or the connection was lost. Trying again may help."""


class TransportTimeoutError(TransportError, TimeoutError):
    """The hub gave no answer within the deadline of the call."""


class UnauthenticatedError(TransportError):
    """The hub does not accept the credential (missing, expired, wrong tenant, ...)."""


class PermissionDeniedError(TransportError):
    """The hub knows the caller and refuses the operation."""


class TaskHubNotFoundError(TransportError):
    """The endpoint answers, but it has no task hub of that name."""


class InstanceNotFoundError(TransportError):
    """There is no orchestration instance or entity of that id."""


class InstanceAlreadyExistsError(TransportError):
    """The instance id is in use and the reuse policy does not list the status of its owner."""


class InvalidRequestError(TransportError, ValueError):
    """The arguments of a call are refused, by the client or by the hub; nothing was done."""


class InvalidArgumentError(InvalidRequestError, TypeError):
    """An argument has the wrong type; the message names it. Raised by the client, before anything is sent."""


class InvalidOperationError(TransportError):
    """The instance is in a state that does not allow the operation."""


class NotSupportedError(TransportError):
    """This hub does not implement the operation."""


class ResourceExhaustedError(TransportError):
    """A limit of the hub or of the message size was hit."""


class OwnershipError(TransportError):
    """A store is in use by another process."""


class StorageError(TransportError):
    """The store could not be read or written. What was asked for is not acknowledged and not done."""


class RemoteError(TransportError):
    """Any other failure that the hub reports."""
