"""Base classes of orchestrators and activities that are written as classes, and the context of activities.

A class needs no base class to be registered, only a ``run(context, input)`` method; the bases give
checkers the types and editors the signature. Which role a class plays is decided by where it is
registered, not by its base.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic

import msgspec
from typing_extensions import TypeVar

from .retry import attempt_of, first_task_id_of, user_tags

if TYPE_CHECKING:
    from .context import OrchestrationContext

__all__ = ["ActivityContext", "TaskActivity", "TaskOrchestrator"]

# Any, not object: a subclass without parameters may annotate its own `run` as it likes.
InputT = TypeVar("InputT", default=Any)
OutputT = TypeVar("OutputT", default=Any)

_CALLS: Final = uuid.UUID("8a0f4c1e-5d0b-5d0f-9f39-0c6b6c1b7b11")
"""Namespace of idempotency keys. Another one would change the keys of calls in flight."""

_OF_ORCHESTRATORS = frozenset(
    {
        "call_activity",
        "call_entity",
        "call_sub_orchestrator",
        "continue_as_new",
        "create_timer",
        "current_utc_datetime",
        "entity",
        "is_replaying",
        "lock_entities",
        "new_uuid",
        "send_event",
        "set_custom_status",
        "signal_entity",
        "task_all",
        "task_any",
        "wait_for_external_event",
    }
)


def missing_attribute(context: object, name: str, who: str) -> str:
    """The message for an attribute that a context does not have; ``who`` gets such contexts."""
    text = f"{type(context).__name__!r} object has no attribute {name!r}."
    if name not in _OF_ORCHESTRATORS:
        return text
    return (
        f"{text} Only orchestrators have it: {who} cannot orchestrate, it does its work itself and returns the result. "
        "Is an orchestrator registered as something else, or called with call_activity? Outside of orchestrators, a "
        "DurableTaskClient starts orchestrations and raises events."
    )


class ActivityContext:
    """What an activity knows about its call.

    Attributes:
        name: name under which the activity was called.
        orchestration_id: instance id of the orchestration that called it.
        task_id: id of the action that scheduled this attempt. Every retry has another, and after continue-as-new
            they begin anew: for idempotency there is ``idempotency_key``.
        execution_id: execution id of the orchestration, if the hub provides it.
        version: version that the call asked for, or the orchestration's.
        tags: tags of the call.
        attempt: which attempt of the call this is, by its retry policy; 1 for the first, also when it is delivered again.
    """

    __slots__ = (
        "_first_task_id",
        "attempt",
        "execution_id",
        "name",
        "orchestration_id",
        "tags",
        "task_id",
        "version",
    )

    def __init__(
        self,
        name: str,
        orchestration_id: str,
        task_id: int,
        *,
        execution_id: str | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.name: str = name
        self.orchestration_id: str = orchestration_id
        self.task_id: int = task_id
        self.execution_id: str | None = execution_id
        self.version: str | None = version
        self.tags: Mapping[str, str] = user_tags(tags)
        self.attempt: int = attempt_of(tags)
        self._first_task_id = first_task_id_of(tags, task_id)

    @property
    def idempotency_key(self) -> str:
        """A UUID for this call: the same at every delivery and every retry, another one for every other call.

        Pass it on to what the activity calls (a payment service, a database), so that work which is done twice has its
        effect once. It differs between calls, executions and instances. A hub that provides no ``execution_id`` leaves
        only instance and call, and these repeat after continue-as-new. On hubs that do not hand on tags, every retry has
        a key of its own.
        """
        parts = (self.orchestration_id, self.execution_id, self._first_task_id)
        return str(uuid.uuid5(_CALLS, msgspec.json.encode(parts).decode()))

    @property
    def instance_id(self) -> str:
        """The same as ``orchestration_id``."""
        return self.orchestration_id

    if not TYPE_CHECKING:  # a checker knows that there is no such attribute

        def __getattr__(self, name):
            """Raise for a method of another context, with the context that it belongs to."""
            raise AttributeError(missing_attribute(self, name, "an activity"), name=name, obj=self)

    def __repr__(self) -> str:
        return f"ActivityContext({self.name!r}, {self.orchestration_id!r}, {self.task_id})"


class TaskActivity(ABC, Generic[InputT, OutputT]):
    """An activity written as a class; registered as an instance or as the class.

    The name is the class attribute ``name`` if there is one, otherwise the class's own name.
    """

    @abstractmethod
    def run(self, context: Any, input: InputT, /) -> Awaitable[OutputT] | OutputT:  # noqa: A002
        """Do the work. ``async def`` runs on the event loop, a plain method in a thread.

        The context is an ``ActivityContext``, unless the class is registered as an orchestrator.
        """


class TaskOrchestrator(ABC, Generic[InputT, OutputT]):
    """An orchestrator written as a class; one object serves all instances, so it keeps no state.

    The name is the class attribute ``name`` if there is one, otherwise the class's own name.
    """

    @abstractmethod
    def run(
        self,
        context: OrchestrationContext,
        input: InputT,  # noqa: A002 - the protocol's word
        /,
    ) -> Awaitable[OutputT] | Generator[object, Any, OutputT] | OutputT:
        """Orchestrate: ``async def``, a generator that yields tasks, or a plain method."""
