"""``Transition``: one command on its way through the hub, and everything that it causes, as data.

The functions of ``transitions`` take a ``Transition`` and change nothing but the drafts in it. Until the engine
applies it, the hub is as it was; a command that raises leaves nothing behind. What has to happen outside is written
down in the lists:

* at once: episodes and batches may be handed to workers (they have no effect before their result is committed), timers
  are set;
* after the commit: activities are handed to workers, waiting clients are answered.

Which instances became runnable, ended, or satisfy a waiting client follows from their drafts; the engine compares
them with what they replace.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec
from durabletask.core.history import EventRaised

from .entity_state import Entity
from .request_ids import RequestId
from .state import HubState, Instance
from .tasks import Activity
from .timers import Timer

__all__ = ["Transition"]


class Transition(msgspec.Struct, eq=False):
    """State, the time, and the effects of one command.

    Attributes:
        state: the hub's state before the command; not to be changed.
        now: the time of the command.
        drafts: what takes the place of instances, by id; ``None``: the instance is gone.
        activities: activities to hand to workers, after the commit.
        timers: timers to set.
        removed: instances that are gone (purged or replaced), with whether waiting clients must be answered.
        detached: activities whose execution ended before they answered, with their numbers.
        attended: detached activities that have answered.
        clears_hub: everything in the hub goes, also what is not in memory.
        entities: what takes the place of entities, by id; ``None``: the entity is gone.
        request_ids: signals of clients to remember.
        forgets: signals with a lower number may be forgotten.
    """

    state: HubState
    now: datetime
    drafts: dict[str, Instance | None] = {}
    activities: list[Activity] = []
    timers: list[Timer] = []
    removed: list[tuple[Instance, bool]] = []
    detached: dict[Activity, int] = {}
    attended: list[Activity] = []
    clears_hub: bool = False
    entities: dict[str, Entity | None] = {}
    request_ids: list[RequestId] = []
    forgets: int | None = None

    def read(self, instance_id: str) -> Instance | None:
        """An instance as the command sees it by now, not to be changed."""
        if instance_id in self.drafts:
            return self.drafts[instance_id]
        return self.state.instances.get(instance_id)

    def edit(self, instance: Instance) -> Instance:
        """The draft of an instance that ``read`` has returned."""
        instance_id = instance.execution.instance_id
        draft = self.drafts.get(instance_id)
        if draft is None:
            draft = self.drafts[instance_id] = instance.draft()
        return draft

    def add(self, instance: Instance) -> None:
        """Have a new instance."""
        self.drafts[instance.instance_id] = instance

    def remove(self, instance: Instance, *, tell_waiting: bool) -> None:
        """Take an instance out of the hub."""
        self.drafts[instance.instance_id] = None
        self.removed.append((instance, tell_waiting))

    def children_of(self, instance_id: str) -> Iterator[Instance]:
        """The children of an instance, of all of its executions, that the hub has in memory."""
        ids = dict.fromkeys(self.state.children_of(instance_id))
        for draft_id, draft in self.drafts.items():
            if draft is not None and draft.parent_id == instance_id:
                ids[draft_id] = None
        for child_id in ids:
            child = self.read(child_id)
            if child is not None and child.parent_id == instance_id:
                yield child

    def read_entity(self, entity_id: str) -> Entity | None:
        """An entity as the command sees it by now, not to be changed."""
        if entity_id in self.entities:
            return self.entities[entity_id]
        return self.state.entities.get(entity_id)

    def edit_entity(self, entity: Entity) -> Entity:
        """The draft of an entity that ``read_entity`` has returned."""
        draft = self.entities.get(entity.entity_id)
        if draft is None:
            draft = self.entities[entity.entity_id] = entity.draft()
        return draft

    def open_entity(self, entity_id: str) -> Entity:
        """The draft of an entity; the first message makes it."""
        entity = self.read_entity(entity_id)
        if entity is not None:
            return self.edit_entity(entity)
        return self.add_entity(Entity(key=self.state.take_key(), entity_id=entity_id, modified_at=self.now))

    def add_entity(self, entity: Entity) -> Entity:
        """Have a new entity, or one in the place of another."""
        self.entities[entity.entity_id] = entity
        return entity

    def drop_void_entities(self) -> None:
        """Let the entities go of which there is nothing to remember; the last step of a command."""
        for entity_id, draft in self.entities.items():
            if draft is not None and draft.is_void:
                self.entities[entity_id] = None

    def raise_event(
        self, instance_id: str, name: str, data: str | None, execution_id: str | None = None
    ) -> None:
        """Deliver an external event; a missing or terminal target, or one of another execution, drops it."""
        target = self.read(instance_id)
        if target is None or target.is_terminal:
            return
        if not execution_id or execution_id == target.execution_id:
            self.edit(target).inbox.append(EventRaised(-1, self.now, name, data))
