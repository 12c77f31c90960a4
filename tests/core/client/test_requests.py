"""What a client asks of its transport."""

# ruff: noqa: A002 - "input" is the word of the protocol

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from durabletask.core.client import DurableTaskClient
from durabletask.core.entities import EntityId
from durabletask.core.errors import ConfigurationError, InvalidRequestError, SerializationError
from durabletask.core.history import ExecutionStarted, OrchestratorStarted, decode_history
from durabletask.core.instances import (
    InstanceIdPage,
    InstancePage,
    PurgeBatch,
    PurgeFilter,
    PurgeInstance,
    PurgeResult,
    ReusePolicy,
)
from durabletask.core.serialization import DataConverter
from fake_transport import NOON, FakeTransport, a_state


@pytest.fixture
async def hub() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
async def client(hub: FakeTransport) -> DurableTaskClient:
    return DurableTaskClient(hub)


async def order(context: object, input: object) -> None:
    """An orchestrator that is only named."""


class Refund:
    def run(self, context: object, input: object) -> None: ...


def last_request(hub: FakeTransport) -> object:
    return hub.calls[-1][1]


async def test_an_instance_gets_32_hex_digits_as_its_id(
    client: DurableTaskClient, hub: FakeTransport
) -> None:
    """Without an id of their own, instances get random ones in the protocol's form."""
    instance_id = await client.schedule_new_orchestration("order")

    assert len(instance_id) == 32
    assert int(instance_id, 16) >= 0


@pytest.mark.parametrize(
    ("orchestrator", "name"), [("order", "order"), (order, "order"), (Refund, "Refund"), (Refund(), "Refund")]
)
async def test_an_orchestrator_is_named_by_whatever_stands_for_it(
    client: DurableTaskClient, hub: FakeTransport, orchestrator: object, name: str
) -> None:
    """Name, function, class and object all give the registered name."""
    await client.schedule_new_orchestration(orchestrator, 1)  # type: ignore[call-overload]

    assert last_request(hub).name == name


async def test_a_creation_carries_everything_that_was_asked_for(
    client: DurableTaskClient, hub: FakeTransport
) -> None:
    """Input, id, time, version, tags and policy reach the hub; naive times are UTC."""
    await client.schedule_new_orchestration(
        order,
        {"n": 1},
        instance_id="o-1",
        start_at=datetime(2031, 1, 1),  # noqa: DTZ001 - a naive time is the point
        version="1.2",
        tags={"team": "a"},
        reuse_policy=ReusePolicy.replace_terminal(),
    )

    request = last_request(hub)
    assert (request.instance_id, request.input, request.version) == ("o-1", '{"n":1}', "1.2")
    assert request.scheduled_start_at == datetime(2031, 1, 1, tzinfo=timezone.utc)
    assert request.tags == {"team": "a"}
    assert request.reuse_policy == ReusePolicy.replace_terminal()


async def test_a_start_delay_counts_from_now(client: DurableTaskClient, hub: FakeTransport) -> None:
    """A timedelta is relative to the time of the request."""
    await client.schedule_new_orchestration("order", start_at=timedelta(hours=1))

    request = last_request(hub)
    assert request.scheduled_start_at - request.request_time == timedelta(hours=1)


@pytest.mark.parametrize("bad_id", ["", "@counter@1"])
async def test_ids_that_cannot_be_instances_are_refused(
    client: DurableTaskClient, hub: FakeTransport, bad_id: str
) -> None:
    """Empty ids and ids of entities never reach the hub."""
    with pytest.raises(InvalidRequestError):
        await client.schedule_new_orchestration("order", instance_id=bad_id)

    assert hub.calls == []


async def test_an_id_longer_than_the_hub_takes_is_refused(
    client: DurableTaskClient, hub: FakeTransport
) -> None:
    """The message tells length and limit."""
    hub.id_limit = 100

    with pytest.raises(InvalidRequestError, match="101 characters; the hub takes at most 100"):
        await client.schedule_new_orchestration("order", instance_id="x" * 101)


async def test_an_input_without_json_form_is_an_error_that_names_the_part(client: DurableTaskClient) -> None:
    """Subject and path are in the message."""
    with pytest.raises(SerializationError, match=r"Input of orchestration 'order': .*items\[1\]"):
        await client.schedule_new_orchestration("order", {"items": [1, object()]})


async def test_a_wait_hands_its_timeout_to_the_hub(client: DurableTaskClient, hub: FakeTransport) -> None:
    """Time-outs are measured by the hub; its ``None`` is the answer at the time-out."""
    assert await client.wait_for_orchestration_completion("i1", timeout_in_seconds=1.5) is None
    assert last_request(hub) == ("i1", True, timedelta(seconds=1.5))

    assert await client.wait_for_orchestration_start("i1", timeout_in_seconds=None) is None
    assert last_request(hub) == ("i1", True, None)


async def test_payloads_of_a_state_are_read_by_the_clients_converter(hub: FakeTransport) -> None:
    """A custom converter decodes output and custom status, and encodes what is sent."""

    class Reversed(DataConverter):
        def serialize(self, value: object) -> str | None:
            return None if value is None else str(value)[::-1]

        def deserialize(self, payload: str | None, target: object = None) -> object:
            return None if not payload else payload[::-1]

    client = DurableTaskClient(hub, data_converter=Reversed())
    hub.answers["get_instance"] = [a_state(serialized_output="cba")]

    state = await client.get_orchestration_state("i1")
    await client.raise_orchestration_event("i1", "go", "xyz")

    assert state is not None
    assert state.output == "abc"
    assert last_request(hub) == ("i1", "go", "zyx")


async def test_an_output_can_be_read_as_a_type(client: DurableTaskClient, hub: FakeTransport) -> None:
    """``output_as`` converts by the same rules as inputs."""
    hub.answers["get_instance"] = [a_state(serialized_output='["2030-01-01T12:00:00Z"]')]

    state = await client.get_orchestration_state("i1")

    assert state is not None
    assert state.output_as(list[datetime]) == [NOON]


async def test_an_output_that_is_no_json_is_given_as_text(
    client: DurableTaskClient, hub: FakeTransport
) -> None:
    """The output of a terminated instance may be any text."""
    hub.answers["get_instance"] = [a_state(serialized_output="because I said so")]

    state = await client.get_orchestration_state("i1")

    assert state is not None
    assert state.output == "because I said so"


async def test_a_query_goes_over_all_pages(client: DurableTaskClient, hub: FakeTransport) -> None:
    """Items of all pages come in order; each page is asked for with the token of the one before."""
    hub.answers["query_instances"] = [
        InstancePage([a_state("a"), a_state("b")], "t1"),
        InstancePage([], "t2"),
        InstancePage([a_state("c")]),
    ]

    ids = [state.instance_id async for state in client.query_orchestrations(instance_id_prefix="x")]

    assert ids == ["a", "b", "c"]
    assert [call[1].continuation_token for call in hub.calls] == [None, "t1", "t2"]


async def test_listings_leave_helper_orchestrations_out(
    client: DurableTaskClient, hub: FakeTransport
) -> None:
    """Unless the prefix of a query asks for them."""
    both = InstancePage([a_state("a"), a_state("durabletask~b")])
    hub.answers["query_instances"] = [both, both, both]
    hub.answers["list_instance_ids"] = [InstanceIdPage(["durabletask~b", "a"])]

    listings = [
        client.query_orchestrations(instance_id_prefix=prefix) for prefix in (None, "a", "durabletask~b")
    ]
    found = [[state.instance_id for state in await listing.to_list()] for listing in listings]

    assert found == [["a"], ["a"], ["a", "durabletask~b"]]
    assert await client.list_instance_ids().to_list() == ["a"]


async def test_a_hub_that_repeats_its_token_ends_the_listing(
    client: DurableTaskClient, hub: FakeTransport
) -> None:
    """No endless loop over the same page."""
    hub.answers["list_instance_ids"] = [InstanceIdPage(["a"], "t"), InstanceIdPage(["b"], "t")]

    assert await client.list_instance_ids().to_list() == ["a", "b"]


async def test_a_purge_by_filter_goes_on_until_it_is_complete(
    client: DurableTaskClient, hub: FakeTransport
) -> None:
    """Steps are added up."""
    hub.answers["purge_instances"] = [PurgeResult(500, False), PurgeResult(20, True)]

    result = await client.purge_orchestrations(created_from=NOON)

    assert result == PurgeResult(520, True)
    assert [type(call[1]) for call in hub.calls] == [PurgeFilter, PurgeFilter]


async def test_a_purge_without_progress_stops(client: DurableTaskClient, hub: FakeTransport) -> None:
    """A hub that never completes does not hold the caller for ever."""
    hub.answers["purge_instances"] = [PurgeResult(3, False), PurgeResult(0, False)]

    assert await client.purge_orchestrations(everything=True) == PurgeResult(3, False)


async def test_many_ids_are_purged_in_batches_of_500(client: DurableTaskClient, hub: FakeTransport) -> None:
    """The protocol's limit per call is kept."""
    await client.purge_orchestrations([f"i{n}" for n in range(1001)])

    requests = [call[1] for call in hub.calls]
    assert all(isinstance(request, PurgeBatch) for request in requests)
    assert [len(request.instance_ids) for request in requests] == [500, 500, 1]


async def test_terminate_is_recursive_and_purge_is_not_by_default(
    client: DurableTaskClient, hub: FakeTransport
) -> None:
    """The defaults of our decisions, row 24."""
    await client.terminate_orchestration("i1", {"why": 1})
    assert last_request(hub) == ("i1", '{"why":1}', True)

    await client.purge_orchestration("i1")
    assert last_request(hub) == PurgeInstance(instance_id="i1", recursive=False)


async def test_a_downloaded_history_is_stable_and_can_be_read_again(
    client: DurableTaskClient, hub: FakeTransport, tmp_path: Path
) -> None:
    """One event per line; the same history gives the same bytes."""
    events = [OrchestratorStarted(-1, NOON), ExecutionStarted(-1, NOON, "order", "i1", input='"x"')]
    hub.answers["stream_history"] = [[events[:1], events[1:]], [events]]

    count = await client.download_history("i1", tmp_path / "one.json")
    await client.download_history("i1", tmp_path / "two.json")

    text = (tmp_path / "one.json").read_bytes()
    assert count == 2
    assert decode_history(text) == events
    assert len(json.loads(text)) == len(text.splitlines()) - 2
    assert (tmp_path / "two.json").read_bytes() == text


async def test_a_client_closes_only_the_transport_it_made(hub: FakeTransport) -> None:
    """Who brings a transport keeps it."""
    async with DurableTaskClient(hub):
        pass

    assert not hub.is_closed


async def test_a_task_hub_other_than_the_transports_is_an_error(hub: FakeTransport) -> None:
    """Two names for one hub are a mistake of the program."""
    with pytest.raises(ConfigurationError, match=r"'test'.*'other'"):
        DurableTaskClient(hub, "other")


async def test_an_entity_is_addressed_by_id_or_text(client: DurableTaskClient, hub: FakeTransport) -> None:
    """Both forms name the same entity; its name is lower case."""
    seen: list[str] = []

    async def signal(instance_id: str, operation: str, **_: object) -> None:
        seen.append(f"{instance_id} {operation}")

    hub.signal_entity = signal  # type: ignore[method-assign, assignment]
    await client.signal_entity(EntityId("Counter", "K"), "add", 1)
    await client.signal_entity("@counter@K", "add", 1)

    assert seen == ["@counter@K add"] * 2
