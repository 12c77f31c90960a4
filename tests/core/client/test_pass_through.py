"""Operations that a client hands to its transport as they are."""

from __future__ import annotations

from typing import Any

import pytest
from durabletask.core.client import DurableTaskClient
from durabletask.core.entities import (
    CleanEntityStorageResult,
    EntityId,
    EntityMetadata,
    EntityPage,
    EntityQuery,
)
from durabletask.core.errors import InvalidRequestError, NotSupportedError
from fake_transport import NOON, FakeTransport


class EntityHub(FakeTransport):
    """A fake hub with the operations that not every hub has."""

    async def get_entity(self, instance_id: str, *, include_state: bool = True) -> EntityMetadata | None:
        return self._answer("get_entity", (instance_id, include_state))  # type: ignore[return-value]

    async def query_entities(self, query: EntityQuery) -> EntityPage:
        return self._answer("query_entities", query, EntityPage(()))  # type: ignore[return-value]

    async def clean_entity_storage(self, **options: object) -> CleanEntityStorageResult:
        return self._answer("clean_entity_storage", options)  # type: ignore[return-value]

    async def force_terminate_instances(self, instance_ids: Any, *, reason: str | None = None) -> list[str]:
        return self._answer("force_terminate_instances", (list(instance_ids), reason), [])  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("method", "arguments", "call", "request_"),
    [
        ("suspend_orchestration", {"reason": "r"}, "suspend_instance", ("i1", "r")),
        ("resume_orchestration", {"reason": "r"}, "resume_instance", ("i1", "r")),
        ("rewind_orchestration", {"reason": "r"}, "rewind_instance", ("i1", "r")),
        ("restart_orchestration", {"with_new_instance_id": True}, "restart_instance", ("i1", True)),
        ("get_orchestration_state", {"fetch_payloads": False}, "get_instance", ("i1", False)),
    ],
)
async def test_arguments_reach_the_transport(
    method: str, arguments: dict[str, object], call: str, request_: object
) -> None:
    """Nothing is added and nothing is lost."""
    hub = EntityHub()
    await getattr(DurableTaskClient(hub), method)("i1", **arguments)

    assert hub.calls == [(call, request_)]


async def test_what_a_hub_cannot_do_is_an_error_of_its_own() -> None:
    """Not an attribute error, not silence."""
    client = DurableTaskClient(FakeTransport())
    for attempt in (
        client.create_task_hub,
        client.delete_task_hub,
        client.clean_entity_storage,
        lambda: client.get_entity("@counter@1"),
        lambda: client.force_terminate_orchestrations(["i1"]),
    ):
        with pytest.raises(NotSupportedError, match="FakeTransport"):
            await attempt()  # type: ignore[operator]


async def test_an_event_needs_a_name() -> None:
    """The hub would never match it."""
    with pytest.raises(InvalidRequestError, match="must not be empty"):
        await DurableTaskClient(FakeTransport()).raise_orchestration_event("i1", "")


async def test_cleaning_goes_on_until_the_token_is_empty() -> None:
    """Steps are added up."""
    hub = EntityHub()
    hub.answers["clean_entity_storage"] = [
        CleanEntityStorageResult(2, 1, "t"),
        CleanEntityStorageResult(3, 0, None),
    ]

    assert await DurableTaskClient(hub).clean_entity_storage() == CleanEntityStorageResult(5, 1)


async def test_entities_are_found_over_all_pages() -> None:
    """As orchestrations are."""
    found = EntityMetadata(instance_id="@counter@1", last_modified_at=NOON, serialized_state="3")
    hub = EntityHub()
    hub.answers["query_entities"] = [EntityPage([found], "t"), EntityPage([found])]
    hub.answers["get_entity"] = [found]
    client = DurableTaskClient(hub)

    assert await client.query_entities().to_list() == [found, found]
    entity = await client.get_entity(EntityId("counter", "1"))
    assert entity is not None
    assert entity.state == 3


async def test_forced_terminations_come_in_batches_and_tell_what_is_left() -> None:
    """At most 500 ids per call."""
    hub = EntityHub()
    hub.answers["force_terminate_instances"] = [["i7"], ["i600"]]

    left = await DurableTaskClient(hub).force_terminate_orchestrations([f"i{n}" for n in range(700)])

    assert left == ["i7", "i600"]
    assert [len(call[1][0]) for call in hub.calls] == [500, 200]  # type: ignore[index]
