"""Instances come into being: client creates, children, restarts (protocol sections 7.4, 12.1, 12.7)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from durabletask.core.actions import CreateSubOrchestration
from durabletask.core.errors import (
    InstanceAlreadyExistsError,
    InstanceNotFoundError,
    InvalidOperationError,
    InvalidRequestError,
)
from durabletask.core.failures import FailureDetails, qualified_name
from durabletask.core.history import (
    ParentInstance,
    SubOrchestrationInstanceFailed,
    TraceContext,
)
from durabletask.core.instances import CreateInstanceRequest, OrchestrationStatus
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.state import Instance

from .ending import FIRE_AND_FORGET, finish, remove
from .executions import started_event

__all__ = ["child_id_of", "create_child", "create_instance", "restart_instance", "start_scheduled"]


def create_instance(tx: Transition, request: CreateInstanceRequest) -> str:
    """Create an instance for a client and return its id.

    Raises:
        InstanceAlreadyExistsError: the id is in use and the reuse policy does not allow to replace it.
        InvalidRequestError: empty name, or an id that belongs to entities.
    """
    instance_id = request.instance_id or tx.state.new_id()
    check_new(request.name, instance_id)
    old = tx.state.instances.get(instance_id)
    if old is not None:
        if request.reuse_policy is None or old.status not in request.reuse_policy.replaceable:
            raise InstanceAlreadyExistsError(
                f"Orchestration instance {instance_id!r} already exists with status {old.status}; choose another "
                f"id, purge it, or give a reuse policy that lists {old.status}."
            )
        if not old.is_terminal:
            finish(tx, old, OrchestrationStatus.TERMINATED)
        remove(tx, old, tell_waiting=False)
    start(
        tx,
        instance_id,
        name=request.name,
        execution_id=request.execution_id,
        version=request.version,
        payload=request.input,
        tags=request.tags,
        trace_context=request.trace_context,
        scheduled_start_at=request.scheduled_start_at,
    )
    return instance_id


def check_new(name: str, instance_id: str) -> None:
    """Refuse what cannot be an orchestration instance.

    Raises:
        InvalidRequestError: empty name, or an id that belongs to entities.
    """
    if not name:
        raise InvalidRequestError("An orchestration needs a name; give the name it is registered under.")
    if instance_id.startswith("@"):
        raise InvalidRequestError(
            f"{instance_id!r} cannot be the id of an orchestration: ids that begin with '@' belong to entities."
        )


def start(
    tx: Transition,
    instance_id: str,
    *,
    name: str,
    execution_id: str | None = None,
    version: str | None = None,
    payload: str | None = None,
    tags: Mapping[str, str] | None = None,
    trace_context: TraceContext | None = None,
    scheduled_start_at: datetime | None = None,
    parent: ParentInstance | None = None,
) -> Instance:
    """Make a PENDING instance of a free id."""
    state, now = tx.state, tx.now
    instance = Instance(
        key=state.take_key(),
        instance_id=instance_id,
        execution_id=execution_id or state.new_id(),
        name=name,
        version=version,
        created_at=now,
        updated_at=now,
        scheduled_start_at=scheduled_start_at,
        input=payload,
        parent=parent,
        tags=tags or {},
        trace_context=trace_context,
    )
    state.instances[instance_id] = instance
    tx.created.append(instance)
    if scheduled_start_at is not None and scheduled_start_at > now:
        instance.is_held = True
        tx.held.append(instance)
    tx.deliver(instance, started_event(tx, instance))
    return instance


def start_scheduled(tx: Transition, instance: Instance) -> None:
    """The time of a scheduled start has come."""
    if instance.is_held and tx.state.instances.get(instance.instance_id) is instance:
        instance.is_held = False
        tx.make_runnable(instance)


def child_id_of(parent_id: str, action: CreateSubOrchestration) -> str:
    """The id of a child: the orchestrator's choice, else made of the parent's id and the action's."""
    return action.instance_id or f"{parent_id}:{action.id:04x}"


def create_child(tx: Transition, parent: Instance, action: CreateSubOrchestration) -> None:
    """Create a child; a finished instance of its id is replaced, a live one fails the parent's task."""
    child_id = child_id_of(parent.instance_id, action)
    parent.children[action.id] = child_id
    old = tx.state.instances.get(child_id)
    try:
        check_new(action.name, child_id)
        if old is not None and not old.is_terminal:
            raise InstanceAlreadyExistsError(
                f"Sub-orchestration {action.name!r} could not start: instance {child_id!r} already exists with "
                f"status {old.status}. Give the child another instance id."
            )
    except (InvalidRequestError, InstanceAlreadyExistsError) as error:
        failure = FailureDetails(qualified_name(type(error)), str(error), is_non_retriable=True)
        del parent.children[action.id]
        tx.deliver(parent, SubOrchestrationInstanceFailed(-1, tx.now, action.id, failure))
        return
    if old is not None:
        remove(tx, old, tell_waiting=False)
    parent.child_ids.append(child_id)
    tags = {key: value for key, value in parent.tags.items() if key != FIRE_AND_FORGET}
    start(
        tx,
        child_id,
        name=action.name,
        version=action.version,
        payload=action.input,
        tags={**tags, **(action.tags or {})},
        trace_context=action.trace_context,
        parent=ParentInstance(
            action.id, parent.instance_id, parent.execution_id, parent.name, parent.version
        ),
    )


def restart_instance(tx: Transition, instance_id: str, *, with_new_instance_id: bool) -> str:
    """Run a finished instance again from its original input; version and tags are kept.

    Raises:
        InstanceNotFoundError: there is no such instance.
        InvalidOperationError: the instance has not ended.
    """
    old = tx.state.instances.get(instance_id)
    if old is None:
        raise InstanceNotFoundError(
            f"Cannot restart {instance_id!r}: there is no such orchestration instance."
        )
    if not old.is_terminal:
        raise InvalidOperationError(
            f"Cannot restart {instance_id!r}: its status is {old.status}; only instances that have ended can be."
        )
    new_id = tx.state.new_id() if with_new_instance_id else instance_id
    if not with_new_instance_id:
        remove(tx, old, tell_waiting=False)
    start(
        tx,
        new_id,
        name=old.name,
        version=old.version,
        payload=old.input,
        tags=old.tags,
        trace_context=old.trace_context,
    )
    return new_id
