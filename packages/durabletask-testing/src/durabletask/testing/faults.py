"""Chaos: the faults that a task hub and its workers may show at any time, drawn from a seed.

A correct orchestration has the same outcome with and without them. Whether a fault happens depends on the
seed and on what it happens to, never on the order of things, so that a seed can be run again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from durabletask.core.history import (
    EntityOperationCalled,
    EntityOperationSignaled,
    EventSent,
    HistoryEvent,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
    TimerCreated,
)
from durabletask.core.instances import OrchestrationState
from durabletask.core.transport import Transport
from durabletask.core.work_items import (
    ActivityResult,
    ActivityWorkItem,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkItem,
    WorkItemStreamOptions,
)

from .wrapping import WrappedTransport

__all__ = ["Chaos", "ChaosDivergenceError", "ChaosTransport", "compare_outcomes"]

_LONGEST_DELAY = 30  # turns of the event loop


@dataclass(frozen=True, kw_only=True)
class Chaos:
    """Which faults to inject. Probabilities lie between 0 and 1; the defaults are a good mixture.

    Attributes:
        seed: what all chance comes from.
        replay_every_turn: keep no orchestration in memory; every turn replays the whole history.
        duplicate_activities: how likely an activity is delivered (and runs) twice.
        worker_crashes: how likely a turn is lost after the code ran, so that it runs again.
        delayed_completions: how likely the answer of an activity is late.
        reorder: answers of activities that run at the same time arrive in any order.
    """

    seed: int = 0
    replay_every_turn: bool = True
    duplicate_activities: float = 0.1
    worker_crashes: float = 0.1
    delayed_completions: float = 0.2
    reorder: bool = True

    def __post_init__(self) -> None:
        for name in ("duplicate_activities", "worker_crashes", "delayed_completions"):
            value: float = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is a probability between 0 and 1, not {value}.")

    def chance(self, *what: object) -> random.Random:
        """The source of chance for one decision."""
        return random.Random(f"{self.seed}:{what!r}")  # noqa: S311 - chance, not secrecy

    def happens(self, probability: float, *what: object) -> bool:
        """Whether a fault happens here."""
        return self.chance(*what).random() < probability


class ChaosDivergenceError(AssertionError):
    """An orchestration ended differently under chaos; the message has the seed and the first difference."""


class ChaosTransport(WrappedTransport):
    """A transport that injects faults between a worker and its hub.

    Args:
        inner: the transport that does the work.
        chaos: which faults.
    """

    def __init__(self, inner: Transport, chaos: Chaos) -> None:
        super().__init__(inner)
        self.chaos: Chaos = chaos
        self._turns: dict[str, OrchestratorWorkItem] = {}
        self._lost: set[tuple[object, ...]] = set()
        self._again: asyncio.Queue[WorkItem | None] | None = None

    async def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        """The hub's items, some of them twice."""
        queue: asyncio.Queue[WorkItem | None] = asyncio.Queue()
        self._again = queue
        reader = asyncio.ensure_future(self._read(options, queue))
        try:
            while (item := await queue.get()) is not None:
                yield item
        finally:
            reader.cancel()
            await asyncio.wait([reader])
        if not reader.cancelled() and (error := reader.exception()) is not None:
            raise error

    async def _read(self, options: WorkItemStreamOptions, queue: asyncio.Queue[WorkItem | None]) -> None:
        stream = self.inner.work_items(options)
        try:
            async for item in stream:
                queue.put_nowait(item)
                if isinstance(item, OrchestratorWorkItem):
                    self._turns[item.completion_token] = item
                elif isinstance(item, ActivityWorkItem) and self.chaos.happens(
                    self.chaos.duplicate_activities, "duplicate", item.instance_id, item.task_id
                ):
                    queue.put_nowait(item)
        finally:
            queue.put_nowait(None)
            await stream.aclose()

    async def complete_orchestrator(self, result: OrchestratorResult) -> None:
        """Commit the turn, or lose it and let it run again, at most once."""
        item = self._turns.get(result.completion_token)
        if item is not None:
            turn = ("crash", item.instance_id, len(item.past_events), len(item.new_events))
            is_new = turn not in self._lost
            if is_new and self._again is not None and self.chaos.happens(self.chaos.worker_crashes, *turn):
                self._lost.add(turn)
                self._again.put_nowait(item)
                return
            del self._turns[result.completion_token]
        await self.inner.complete_orchestrator(result)

    async def complete_activity(self, result: ActivityResult) -> None:
        """Answer, perhaps after others that were asked later."""
        key = (result.instance_id, result.task_id)
        chance = self.chaos.chance("delay", *key)
        turns = chance.randrange(4) if self.chaos.reorder else 0
        if chance.random() < self.chaos.delayed_completions:
            turns += chance.randrange(_LONGEST_DELAY)
        for _ in range(turns):
            await asyncio.sleep(0)
        await self.inner.complete_activity(result)


# --- comparing ------------------------------------------------------------------------------------------------

_DECISIONS = (
    TaskScheduled,
    TimerCreated,
    SubOrchestrationInstanceCreated,
    EventSent,
    EntityOperationCalled,
    EntityOperationSignaled,
)


def compare_outcomes(
    chaos: Chaos,
    expected: tuple[OrchestrationState, Sequence[HistoryEvent]],
    found: tuple[OrchestrationState, Sequence[HistoryEvent]],
) -> None:
    """Compare a run under chaos with one without.

    Raises:
        ChaosDivergenceError: the outcomes differ.
    """
    differences = [
        f"  {name}: without chaos {before}, with chaos {after}"
        for name, before, after in zip(
            ("status", "output", "failure", "custom status"),
            _facts(expected[0]),
            _facts(found[0]),
            strict=True,
        )
        if before != after
    ]
    if differences:
        raise ChaosDivergenceError(
            f"Orchestration {expected[0].name!r} ends differently under chaos. Run it again with "
            f"Chaos(seed={chaos.seed}).\n"
            + "\n".join(differences)
            + "\n"
            + _first_difference(expected[1], found[1])
        )


def _facts(state: OrchestrationState) -> tuple[str, str, str, str]:
    failure = state.failure_details
    return (
        state.runtime_status.name,
        repr(state.serialized_output),
        "none" if failure is None else f"{failure.error_type}: {failure.message}",
        repr(state.serialized_custom_status),
    )


def _first_difference(expected: Sequence[HistoryEvent], found: Sequence[HistoryEvent]) -> str:
    """The first action at which two histories part; answers may come in any order."""
    left = [_decision(event) for event in expected if isinstance(event, _DECISIONS)]
    right = [_decision(event) for event in found if isinstance(event, _DECISIONS)]
    for number in range(max(len(left), len(right))):
        before = left[number] if number < len(left) else "nothing more"
        after = right[number] if number < len(right) else "nothing more"
        if before != after:
            return f"  First diverging event, action {number + 1}: without chaos {before}, with chaos {after}"
    return "  Both made the same actions; the difference is in what the code did with the answers."


def _decision(event: HistoryEvent) -> str:
    parts = [type(event).__name__, f"id {event.event_id}"]
    for field in ("name", "operation", "instance_id", "input"):
        value = getattr(event, field, None)
        if value is not None:
            parts.append(f"{field}={value!r}")
    if isinstance(event, TimerCreated):
        parts.append(f"fire_at={event.fire_at.isoformat()}")
    return " ".join(parts)
