"""Chaos: the faults that a task hub and its workers may show at any time, drawn from a seed.

A correct orchestration has the same outcome with and without them. Whether a fault happens is a function of the
seed and of what it happens to (instance, episode, task), never of the order in which things happen, so a seed
reproduces its faults. Ids that the hub draws at random are replaced by numbers in order of first appearance.

``ChaosTransport`` stands between the worker and the hub. Every item that it withholds comes back by itself: it is
abandoned, its lock expires, or it is delivered again; otherwise virtual time would stand still. No fault strikes
the same item twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import InitVar, asdict, dataclass, fields

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

__all__ = ["Chaos", "ChaosDivergenceError", "ChaosTransport", "FaultCounts", "compare_outcomes"]

_NEW_LINE = "\n"
_LONGEST_DELAY = 30  # rounds of the event loop


_PROBABILITIES = (
    "duplicate_activities",
    "worker_crashes",
    "delayed_completions",
    "abandoned_items",
    "expired_locks",
)


@dataclass(kw_only=True)
class FaultCounts:
    """How many faults really happened.

    Attributes:
        replayed_episodes: episodes that had to replay a past because nothing was kept in memory.
        duplicated_activities: activities that were delivered twice.
        lost_episodes: episodes that ran and whose answer was lost.
        delayed_answers: answers of activities that were held back.
        reordered_answers: answers that came after one to a later call of the same instance.
        abandoned_items: episodes and activities that were abandoned.
        expired_locks: episodes and activities that were not answered in time.
    """

    replayed_episodes: int = 0
    duplicated_activities: int = 0
    lost_episodes: int = 0
    delayed_answers: int = 0
    reordered_answers: int = 0
    abandoned_items: int = 0
    expired_locks: int = 0

    def add(self, other: FaultCounts) -> None:
        """Add the counts of another environment."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)

    def __str__(self) -> str:
        """For people: the faults that happened."""
        found = [f"{value} {name.replace('_', ' ')}" for name, value in asdict(self).items() if value]
        return ", ".join(found) or "none"


@dataclass(frozen=True, kw_only=True, repr=False)
class Chaos:
    """Which faults to inject. Probabilities lie between 0 and 1; the defaults are a good mixture.

    Attributes:
        seed: what all chance comes from.
        replay_every_episode: keep no orchestration in memory; every episode replays the whole history.
            ``replay_every_turn`` is the older spelling of this argument.
        duplicate_activities: how likely an activity is delivered (and runs) twice.
        worker_crashes: how likely an episode is lost after the code ran, so that it runs again.
        delayed_completions: how likely the answer of an activity is late.
        reorder: answers of activities that run at the same time arrive in any order.
        abandoned_items: how likely an episode or an activity is abandoned, once, and delivered again under
            another token. The hub pauses before it does, so this one and the next cost virtual time.
        expired_locks: how likely an episode or activity is not answered in time, so that the hub delivers it again;
            the answer to the first delivery of the episode arrives too late.
    """

    seed: int = 0
    replay_every_episode: bool = True
    duplicate_activities: float = 0.1
    worker_crashes: float = 0.1
    delayed_completions: float = 0.2
    reorder: bool = True
    abandoned_items: float = 0.0
    expired_locks: float = 0.0
    replay_every_turn: InitVar[bool | None] = None

    def __post_init__(self, replay_every_turn: bool | None) -> None:
        if replay_every_turn is not None:
            object.__setattr__(self, "replay_every_episode", replay_every_turn)
        for name in _PROBABILITIES:
            value: float = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is a probability between 0 and 1, not {value}.")

    def __repr__(self) -> str:
        """The seed, and what is not as usual."""
        given = [f"seed={self.seed}"]
        for field in fields(self)[1:]:
            value: object = getattr(self, field.name)
            if value != field.default:
                given.append(f"{field.name}={value!r}")
        return f"Chaos({', '.join(given)})"

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
        on_lost: called with the token of a delivery that will not be answered.

    Attributes:
        chaos: which faults.
        counts: what happened so far.
    """

    def __init__(
        self, inner: Transport, chaos: Chaos, *, on_lost: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(inner)
        self.chaos: Chaos = chaos
        self.counts: FaultCounts = FaultCounts()
        self._on_lost = on_lost
        self._episodes: dict[str, OrchestratorWorkItem] = {}
        self._hit: set[tuple[object, ...]] = set()
        self._late: dict[tuple[object, ...], OrchestratorResult] = {}
        self._last_answered: dict[int, int] = {}
        self._instances: dict[str, int] = {}
        self._again: asyncio.Queue[WorkItem | None] | None = None

    async def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        """The hub's items, some of them twice, some of them later."""
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
                if isinstance(item, OrchestratorWorkItem):
                    self._number(item.instance_id)
                    self._episodes[item.completion_token] = item
                    self.counts.replayed_episodes += (
                        self.chaos.replay_every_episode and len(item.past_events) > 0
                    )
                elif isinstance(item, ActivityWorkItem) and await self._spoil(item, queue):
                    continue
                queue.put_nowait(item)
        finally:
            queue.put_nowait(None)
            await stream.aclose()

    async def _spoil(self, item: ActivityWorkItem, queue: asyncio.Queue[WorkItem | None]) -> bool:
        """Whether an activity is withheld from the worker; a duplicate is queued here as well."""
        key = (item.instance_id, item.execution_id, item.task_id)
        if self._strikes(self.chaos.abandoned_items, "abandon", *key):
            self.counts.abandoned_items += 1
            await self.inner.abandon_activity(item)
            return True
        if self._strikes(self.chaos.expired_locks, "expire", *key):
            self._let_expire(item.completion_token)
            return True
        if self._strikes(self.chaos.duplicate_activities, "duplicate", *key):
            self.counts.duplicated_activities += 1
            queue.put_nowait(item)
        return False

    def _number(self, instance_id: str) -> int:
        """The number of an instance, in order of first episodes: ids differ from run to run, and faults must not."""
        return self._instances.setdefault(instance_id, len(self._instances) + 1)

    def _strikes(self, probability: float, kind: str, *what: object) -> bool:
        """Whether a fault happens to an item; never twice to the same."""
        key = (kind, *what)
        instance_id, _, *rest = what  # the second is the execution id, which the hub draws
        if key in self._hit or not self.chaos.happens(
            probability, kind, self._number(str(instance_id)), *rest
        ):
            return False
        self._hit.add(key)
        return True

    def _let_expire(self, token: str) -> None:
        self.counts.expired_locks += 1
        if self._on_lost is not None:
            self._on_lost(token)

    async def complete_orchestrator(self, result: OrchestratorResult) -> None:
        """Commit the episode, or lose it in one of several ways and let it run again."""
        item = self._episodes.get(result.completion_token)
        if item is not None and await self._lose(item, result):
            return
        self._episodes.pop(result.completion_token, None)
        await self.inner.complete_orchestrator(result)

    async def _lose(self, item: OrchestratorWorkItem, result: OrchestratorResult) -> bool:
        episode = (item.instance_id, item.execution_id, len(item.past_events), len(item.new_events))
        late = self._late.pop(episode, None)
        if late is not None:
            await self.inner.complete_orchestrator(late)  # its token is stale: this changes nothing
        if self._again is not None and self._strikes(self.chaos.worker_crashes, "crash", *episode):
            self.counts.lost_episodes += 1
            self._again.put_nowait(item)
            return True
        if self._strikes(self.chaos.abandoned_items, "abandon", *episode):
            self.counts.abandoned_items += 1
            await self.inner.abandon_orchestrator(item)
            return True
        if self._strikes(self.chaos.expired_locks, "expire", *episode):
            self._late[episode] = result
            self._let_expire(item.completion_token)
            return True
        return False

    async def complete_activity(self, result: ActivityResult) -> None:
        """Answer, perhaps after others that were asked later."""
        number = self._number(result.instance_id)
        chance = self.chaos.chance("delay", number, result.task_id)
        rounds = chance.randrange(4) if self.chaos.reorder else 0
        if chance.random() < self.chaos.delayed_completions:
            self.counts.delayed_answers += 1
            rounds += chance.randrange(_LONGEST_DELAY)
        for _ in range(rounds):
            await asyncio.sleep(0)
        last = self._last_answered.get(number, 0)
        self.counts.reordered_answers += result.task_id < last
        self._last_answered[number] = max(last, result.task_id)
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
    counts: FaultCounts,
) -> None:
    """Compare a run under chaos with one without.

    Args:
        chaos: the faults.
        expected: state and history without them.
        found: state and history with them.
        counts: how many there were.

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
            f"Orchestration {expected[0].name!r} ends differently under chaos. Run it again with {chaos!r}.\n"
            f"Faults that happened: {counts}.\n"
            + "\n".join(differences)
            + "\n"
            + (_left_its_history(found[0]) or _first_difference(expected[1], found[1]))
        )


def _left_its_history(state: OrchestrationState) -> str:
    """The engine's message for code that left its history; it names the event."""
    failure = state.failure_details
    if failure is None or not failure.error_type.endswith(".NonDeterminismError"):
        return ""
    lines = failure.message.splitlines()
    return "\n".join(
        ["First diverging event: an episode ran again, and not as before.", *(f"  {line}" for line in lines)]
    )


def _facts(state: OrchestrationState) -> tuple[str, str, str, str]:
    failure = state.failure_details
    return (
        state.runtime_status.name,
        repr(state.serialized_output),
        "none" if failure is None else f"{failure.error_type}: {failure.message.partition(_NEW_LINE)[0]}",
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
            return f"First diverging event, action {number + 1}: without chaos {before}, with chaos {after}"
    return "First diverging event: none. Both made the same actions; the difference is in what the code did with the answers."


def _decision(event: HistoryEvent) -> str:
    parts = [type(event).__name__, f"id {event.event_id}"]
    for field in ("name", "operation", "instance_id", "input"):
        value = getattr(event, field, None)
        if value is not None:
            parts.append(f"{field}={value!r}")
    if isinstance(event, TimerCreated):
        parts.append(f"fire_at={event.fire_at.isoformat()}")
    return " ".join(parts)
