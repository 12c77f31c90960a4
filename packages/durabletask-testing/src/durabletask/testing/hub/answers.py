"""Answers of workers: each is checked against its lease and becomes one command of the engine.

A token that is not in flight changes nothing: the item was delivered again, or what it belongs to is over.
"""

from __future__ import annotations

from durabletask.core.work_items import ActivityResult, EntityBatchResult, OrchestratorResult

from .engine import Engine
from .transitions.ending import fail
from .transitions.entity_batches import complete_batch
from .transitions.episodes import complete_episode
from .transitions.messages import answer_activity

__all__ = ["complete_activity", "complete_entity", "complete_orchestrator", "fail_instance"]


def complete_orchestrator(engine: Engine, result: OrchestratorResult) -> None:
    """Commit an episode."""
    lease = engine.workers.find(result.completion_token, result.instance_id, None)
    if lease is None:
        return
    if result.requires_history:  # it gets the whole history every time; try again a little later
        engine.abandon(lease.token)
        return
    tx, job = engine.begin(), lease.job
    instance = tx.read(job.instance_id)
    if instance is not None and job.episode is not None:
        complete_episode(tx, instance, job.episode, result)
    engine.apply(tx, answered=lease)


def complete_activity(engine: Engine, result: ActivityResult) -> None:
    """Answer an activity."""
    lease = engine.workers.find(result.completion_token, result.instance_id, result.task_id)
    if lease is None or lease.job.activity is None:
        return
    tx = engine.begin()
    answer_activity(tx, lease.job.activity, result)
    engine.apply(tx, answered=lease)


def complete_entity(engine: Engine, result: EntityBatchResult) -> None:
    """Commit a batch. A result that says that nothing was run has it delivered again a little later."""
    lease = engine.workers.find_batch(result.completion_token, result.instance_id)
    if lease is None:
        return
    if result.requires_state or (result.failure is None and not result.results):
        engine.abandon(lease.token)
        return
    tx, job = engine.begin(), lease.job
    entity = tx.read_entity(job.instance_id)
    if entity is not None and job.batch is not None:
        complete_batch(tx, entity, job.batch, result)
    engine.apply(tx, answered=lease)


def fail_instance(engine: Engine, instance_id: str, error: Exception) -> None:
    """End a live instance as FAILED, because of an episode that the hub cannot store."""
    tx = engine.begin()
    instance = tx.read(instance_id)
    if instance is not None and not instance.is_terminal:
        fail(tx, instance, error)
        engine.apply(tx)
