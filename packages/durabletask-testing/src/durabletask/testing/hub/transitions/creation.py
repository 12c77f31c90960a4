"""Instances come into being: client creates, children, restarts (protocol sections 7.4, 12.1, 12.7)."""

from __future__ import annotations

from durabletask.core.actions import CreateSubOrchestration
from durabletask.core.errors import (
    InstanceAlreadyExistsError,
    InstanceNotFoundError,
    InvalidOperationError,
    InvalidRequestError,
)
from durabletask.core.failures import FailureDetails, qualified_name
from durabletask.core.history import ParentInstance, SubOrchestrationInstanceFailed
from durabletask.core.instances import CreateInstanceRequest, OrchestrationStatus, ReusePolicy
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.events import EventLog
from durabletask.testing.hub.state import ExecutionStart, Instance
from durabletask.testing.hub.tasks import Child

from .ending import FIRE_AND_FORGET, finish, remove
from .executions import started_event

__all__ = ["child_id_of", "create_child", "create_instance", "restart_instance", "start_scheduled"]

_RUNNING_STATUSES = frozenset(
    {OrchestrationStatus.PENDING, OrchestrationStatus.RUNNING, OrchestrationStatus.SUSPENDED}
)


def create_instance(tx: Transition, request: CreateInstanceRequest) -> str:
    """Create an instance for a client and return its id.

    Raises:
        InstanceAlreadyExistsError: the id is in use and the reuse policy does not allow to replace it.
        InvalidRequestError: empty name, an id that belongs to entities, or an impossible reuse policy.
    """
    instance_id = request.instance_id or tx.state.new_id()
    check_new(request.name, instance_id)
    check_policy(request.reuse_policy)
    old = tx.read(instance_id)
    if old is not None:
        if request.reuse_policy is None or old.status not in request.reuse_policy.replaceable:
            raise InstanceAlreadyExistsError(
                f"Orchestration instance {instance_id!r} already exists with status {old.status}; choose another "
                f"id, purge it, or give a reuse policy that lists {old.status}."
            )
        if not old.is_terminal:
            old = tx.edit(old)
            finish(tx, old, OrchestrationStatus.TERMINATED)
        remove(tx, old, tell_waiting=False)
    execution = ExecutionStart(
        instance_id=instance_id,
        execution_id=request.execution_id or tx.state.new_id(),
        name=request.name,
        version=request.version,
        input=request.input,
        tags=request.tags,
        trace_context=request.trace_context,
        scheduled_start_at=request.scheduled_start_at,
    )
    start(tx, execution)
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


def check_policy(policy: ReusePolicy | None) -> None:
    """Refuse a policy that replaces running instances but not the terminated ones that they become.

    Raises:
        InvalidRequestError: the policy does.
    """
    if policy is None or OrchestrationStatus.TERMINATED in policy.replaceable:
        return
    if _RUNNING_STATUSES & policy.replaceable:
        raise InvalidRequestError(
            "Invalid reusable statuses: cannot exclude 'Terminated' while also allowing reuse of running instances"
        )


def start(tx: Transition, execution: ExecutionStart) -> Instance:
    """Make a PENDING instance of a free id."""
    start_at = execution.scheduled_start_at
    instance = Instance(
        key=tx.state.take_key(),
        created_at=tx.now,
        updated_at=tx.now,
        execution=execution,
        inbox=EventLog([started_event(tx, execution)]),
        is_held=start_at is not None and start_at > tx.now,
    )
    tx.add(instance)
    return instance


def start_scheduled(tx: Transition, instance_id: str, key: int) -> None:
    """The time of a scheduled start has come; the instance may have been replaced meanwhile."""
    instance = tx.read(instance_id)
    if instance is not None and instance.key == key and instance.is_held:
        tx.edit(instance).is_held = False


def child_id_of(parent_id: str, action: CreateSubOrchestration) -> str:
    """The id of a child: the orchestrator's choice, else made of the parent's id and the action's."""
    return action.instance_id or f"{parent_id}:{action.id:04x}"


def create_child(tx: Transition, parent: Instance, action: CreateSubOrchestration) -> None:
    """Create a child, or fail the parent's task.

    A finished child that the same parent has started before is replaced: a loop may use one id again and again. Any
    other instance of that id is not the parent's to remove.
    """
    child_id = child_id_of(parent.instance_id, action)
    old = tx.read(child_id)
    try:
        check_new(action.name, child_id)
        if old is not None and not (old.is_terminal and old.parent_id == parent.instance_id):
            raise InstanceAlreadyExistsError(
                f"Sub-orchestration {action.name!r} could not start: instance {child_id!r} already exists with "
                f"status {old.status}. Give the child another instance id, or purge that instance first."
            )
    except (InvalidRequestError, InstanceAlreadyExistsError) as error:
        failure = FailureDetails(qualified_name(type(error)), str(error), is_non_retriable=True)
        parent.inbox.append(SubOrchestrationInstanceFailed(-1, tx.now, action.id, failure))
        return
    if old is not None:
        remove(tx, old, tell_waiting=False)
    parent.open.add(action.id, Child(child_id))
    execution, tags = parent.execution, parent.execution.tags
    inherited = {key: value for key, value in tags.items() if key != FIRE_AND_FORGET}
    link = ParentInstance(
        action.id, execution.instance_id, execution.execution_id, execution.name, execution.version
    )
    start(
        tx,
        ExecutionStart(
            instance_id=child_id,
            execution_id=tx.state.new_id(),
            name=action.name,
            version=action.version,
            input=action.input,
            parent=link,
            tags={**inherited, **(action.tags or {})},
            trace_context=action.trace_context,
        ),
    )


def restart_instance(tx: Transition, instance_id: str, *, with_new_instance_id: bool) -> str:
    """Run an instance again from its original input; version and tags are kept.

    Raises:
        InstanceNotFoundError: there is no such instance.
        InvalidOperationError: the instance has not ended, and its id is to be used again.
    """
    old = tx.read(instance_id)
    if old is None:
        raise InstanceNotFoundError(
            f"Cannot restart {instance_id!r}: there is no such orchestration instance."
        )
    if not old.is_terminal and not with_new_instance_id:
        raise InvalidOperationError(
            f"Cannot restart {instance_id!r}: its status is {old.status}; only instances that have ended can be. "
            "Restart it with a new instance id, or terminate it first."
        )
    new_id = tx.state.new_id() if with_new_instance_id else instance_id
    if not with_new_instance_id:
        remove(tx, old, tell_waiting=False)
    execution = old.execution
    start(
        tx,
        ExecutionStart(
            instance_id=new_id,
            execution_id=tx.state.new_id(),
            name=execution.name,
            version=execution.version,
            input=execution.input,
            tags=execution.tags,
            trace_context=execution.trace_context,
        ),
    )
    return new_id
