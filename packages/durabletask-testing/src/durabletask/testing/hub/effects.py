"""``Transition``: one command on its way through the hub, and everything that it causes, as data.

The functions of ``transitions`` take a ``Transition`` (state, now) and change nothing but the state in it;
what has to happen outside is written down in its lists, and the façade carries it out:

* at once: episodes may be handed to workers (an episode is pure; if the process dies it never happened),
  timers are set;
* after the commit: activities are handed to workers, waiting clients are answered.
"""

from __future__ import annotations

from datetime import datetime

from durabletask.core.history import EventRaised, HistoryEvent

from .state import Activity, DurableTimer, HubState, Instance

__all__ = ["Transition"]


class Transition:
    """State, the time, and the effects of one command.

    Attributes:
        state: the hub's state.
        now: the time of the command.
        runnable: instances that have an episode to run.
        activities: activities to hand to workers, after the commit.
        timers: timers to set.
        held: instances whose start is scheduled, to be released at that time.
        created: instances that are new.
        reached: instances that left PENDING or ended: clients may wait for that.
        removed: instances that are gone (purged or replaced), with whether waiting clients must be told.
        revoked: tokens of deliveries that no longer count.
        changed: instances to be written to the store.
        detached: activities whose execution ended before they answered.
        attended: detached activities that have answered.
        clears_hub: everything that is stored for the hub goes, also what is not in memory.
    """

    __slots__ = (
        "activities",
        "attended",
        "changed",
        "clears_hub",
        "created",
        "detached",
        "held",
        "now",
        "reached",
        "removed",
        "revoked",
        "runnable",
        "state",
        "timers",
    )

    def __init__(self, state: HubState, now: datetime) -> None:
        self.state: HubState = state
        self.now: datetime = now
        self.runnable: list[Instance] = []
        self.activities: list[Activity] = []
        self.timers: list[DurableTimer] = []
        self.held: list[Instance] = []
        self.created: list[Instance] = []
        self.reached: list[Instance] = []
        self.removed: list[tuple[Instance, bool]] = []
        self.revoked: list[str] = []
        self.changed: dict[Instance, None] = {}
        self.detached: list[Activity] = []
        self.attended: list[Activity] = []
        self.clears_hub: bool = False

    def deliver(self, instance: Instance, event: HistoryEvent) -> None:
        """Put an event into the inbox of a live instance and make the instance runnable."""
        instance.inbox.append(event)
        self.changed[instance] = None
        self.make_runnable(instance)

    def make_runnable(self, instance: Instance) -> None:
        """Queue an instance unless it is queued, in flight or held already."""
        if not instance.is_queued and instance.is_runnable:
            instance.is_queued = True
            self.runnable.append(instance)

    def raise_event(
        self, instance_id: str, name: str, data: str | None, execution_id: str | None = None
    ) -> None:
        """Deliver an external event; a missing or terminal target, or one of another execution, drops it."""
        target = self.state.instances.get(instance_id)
        if target is None or target.is_terminal:
            return
        if not execution_id or execution_id == target.execution_id:
            self.deliver(target, EventRaised(-1, self.now, name, data))
