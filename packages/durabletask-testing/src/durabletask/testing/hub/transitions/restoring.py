"""What an execution still waits for, read from its history (protocol section 7.1)."""

from __future__ import annotations

from durabletask.core.history import (
    ExecutionTerminated,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
    TimerCreated,
)
from durabletask.core.open_tasks import open_tasks
from durabletask.testing.hub.effects import Transition
from durabletask.testing.hub.events import OpenTask, OpenTasks
from durabletask.testing.hub.sections import granted_in
from durabletask.testing.hub.state import Instance, restore_flags
from durabletask.testing.hub.tasks import Activity, Child, DurableTimer

__all__ = ["restore_execution", "restore_open_tasks"]


def restore_execution(tx: Transition, instance: Instance) -> None:
    """Derive what a storage does not hold by itself. The entities must be there."""
    restore_flags(instance, tx.now)
    restore_open_tasks(tx, instance)
    _restore_regains(tx, instance)


def restore_open_tasks(tx: Transition, instance: Instance) -> None:
    """Schedule again, from history and inbox, everything that an execution still waits for."""
    tasks: dict[int, OpenTask] = {}
    for event in open_tasks([*instance.history, *instance.inbox]):
        if isinstance(event, TaskScheduled):
            tasks[event.event_id] = activity = Activity(
                instance_id=instance.instance_id,
                execution_id=instance.execution_id,
                task_id=event.event_id,
                name=event.name,
                version=event.version,
                input=event.input,
                tags=event.tags,
                trace_context=event.trace_context,
                parent_version=instance.execution.version,
            )
            tx.activities.append(activity)
        elif isinstance(event, TimerCreated):
            timer = DurableTimer(instance.instance_id, event.event_id, event.fire_at)
            tasks[event.event_id] = timer
            tx.timers.append(timer)
        elif isinstance(event, SubOrchestrationInstanceCreated):
            tasks[event.event_id] = Child(event.instance_id)
    instance.open = OpenTasks(tasks)


def _restore_regains(tx: Transition, instance: Instance) -> None:
    """Find, once the entities are there, which sections of a rewound history are still to be locked again."""
    if any(isinstance(event, ExecutionTerminated) for event in instance.inbox):
        return
    entities = tx.state.entities
    for section_id in granted_in(instance.history) & instance.sections.keys():
        locks = [entity.lock for target in instance.sections[section_id] if (entity := entities.get(target))]
        held = sum(lock is not None and lock.section_id == section_id for lock in locks)
        if held < len(instance.sections[section_id]):
            instance.regains |= {section_id}
