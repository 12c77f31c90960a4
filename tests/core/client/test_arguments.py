"""The client checks or converts every argument, and names the one that is wrong; nothing is sent then."""

from __future__ import annotations

import enum
import inspect
import math
import os
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from durabletask.core.client import DurableTaskClient
from durabletask.core.errors import InvalidArgumentError, InvalidRequestError, RegistrationError
from durabletask.core.instances import OrchestrationStatus, PurgeBatch, PurgeFilter
from fake_transport import NOON, FakeTransport, a_state

NOT_UNICODE = os.fsdecode(b"na\xefve.txt")


class Name(str):
    """Texts of user code are often of a subclass, which binary encoders refuse."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Colour(str, enum.Enum):
    RED = "red"


@pytest.fixture
async def hub() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
async def client(hub: FakeTransport) -> DurableTaskClient:
    return DurableTaskClient(hub)


async def order(context: object, input: object) -> None:  # noqa: A002
    """An orchestrator that is only named."""


VALID: dict[str, dict[str, Any]] = {
    "schedule_new_orchestration": {"orchestrator": "order"},
    "start": {"orchestrator": "order"},
    "run": {"orchestrator": "order", "timeout": 1},
    "get_handle": {"instance_id": "i"},
    "get_orchestration_state": {"instance_id": "i"},
    "wait_for_orchestration_start": {"instance_id": "i"},
    "wait_for_orchestration_completion": {"instance_id": "i"},
    "raise_orchestration_event": {"instance_id": "i", "event_name": "e"},
    "terminate_orchestration": {"instance_id": "i"},
    "suspend_orchestration": {"instance_id": "i"},
    "resume_orchestration": {"instance_id": "i"},
    "rewind_orchestration": {"instance_id": "i"},
    "restart_orchestration": {"instance_id": "i"},
    "force_terminate_orchestrations": {"instance_ids": ["i"]},
    "query_orchestrations": {},
    "list_instance_ids": {},
    "purge_orchestration": {"instance_id": "i"},
    "purge_orchestrations": {"everything": True},
    "get_orchestration_history": {"instance_id": "i"},
    "download_history": {"instance_id": "i", "path": "unused"},
    "explain": {"instance_id": "i"},
    "entity": {"entity": "counter", "key": "a"},
    "call_entity": {"entity_id": "@counter@a", "operation": "add"},
    "signal_entity": {"entity_id": "@counter@a", "operation": "add"},
    "get_entity": {"entity_id": "@counter@a"},
    "purge_entity": {"entity_id": "@counter@a"},
    "query_entities": {},
    "clean_entity_storage": {},
    "create_task_hub": {},
}
UNCHECKED = {
    "self", "input", "output", "data", "path", "orchestrators", "activities", "entities", "return_type", "state_type",
}  # fmt: skip
WRONG: list[object] = [object(), 3.5j, b"bytes", ["x", 3], {"attempt": 3}]
WRONG_TEXTS = [NOT_UNICODE, "a\0b"]
TEXTS = {
    "orchestrator", "instance_id", "instance_ids", "event_name", "version", "tags", "reason", "execution_id",
    "instance_id_prefix", "entity_id", "entity", "key", "operation", "continuation_token", "created_from", "created_to", "completed_from", "completed_to",
    "last_modified_from", "last_modified_to", "runtime_statuses",
}  # fmt: skip


def _cases() -> list[tuple[str, str]]:
    return [
        (name, argument)
        for name in VALID
        for argument in inspect.signature(getattr(DurableTaskClient, name)).parameters
        if argument not in UNCHECKED
    ]


async def _call(client: DurableTaskClient, name: str, arguments: dict[str, Any]) -> None:
    result = getattr(client, name)(**arguments)
    if inspect.isawaitable(result):
        await result
    else:
        await result.to_list()


def test_every_method_of_the_client_is_tried() -> None:
    """A new method is added to the table of this module, too."""
    methods = {
        name for name, _ in inspect.getmembers(DurableTaskClient, inspect.isfunction) if name[0] != "_"
    }

    assert methods - {"close", "delete_task_hub"} == VALID.keys()


@pytest.mark.parametrize(("name", "argument"), _cases())
async def test_a_wrong_argument_is_an_error_that_names_it(
    client: DurableTaskClient, hub: FakeTransport, name: str, argument: str
) -> None:
    """For every argument of every method; payloads aside, which the converter checks."""
    arguments = {key: value for key, value in VALID[name].items() if key != "everything"}
    for value in WRONG + (WRONG_TEXTS if argument in TEXTS else []):
        if argument in {"orchestrator", "entity"} and not isinstance(value, str):
            continue  # an object is named by its class
        if argument == "reuse_policy" or argument in TEXTS or not isinstance(value, str):
            with pytest.raises((InvalidRequestError, TypeError), match=argument):
                await _call(client, name, {**arguments, argument: value})

    assert hub.calls == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tags": {"attempt": 3}}, r"tags\['attempt'\] must be a str, not 3"),
        ({"tags": {1: "x"}}, "The name of a tag in tags must be a str, not 1"),
        (
            {"tags": {"file": NOT_UNICODE}},
            r"tags\['file'\] is not valid Unicode: .* lone surrogate at position 2",
        ),
        ({"tags": [("a", "b")]}, "tags must be a mapping of str to str, not list"),
        ({"version": 2}, "version must be a str, not 2"),
        ({"instance_id": 5}, "instance_id must be a str, not 5"),
        ({"instance_id": "a\0b"}, "instance_id contains the NUL character"),
        ({"start_at": "noon"}, "start_at must be a datetime, a timedelta or a number of seconds, not str"),
        ({"start_at": timedelta.max}, "start_at is outside of the years 1 to 9999"),
        ({"reuse_policy": "replace"}, "reuse_policy must be a ReusePolicy"),
    ],
)
async def test_a_start_with_a_wrong_argument_sends_nothing(
    client: DurableTaskClient, hub: FakeTransport, arguments: dict[str, Any], message: str
) -> None:
    """A hub that cannot read back what it stored must never get it."""
    with pytest.raises(InvalidRequestError, match=message):
        await client.schedule_new_orchestration("order", **arguments)

    assert hub.calls == []


@pytest.mark.parametrize("name", [name for name, given in VALID.items() if "instance_id" in given])
async def test_an_empty_id_is_refused_on_every_hub_alike(
    client: DurableTaskClient, hub: FakeTransport, name: str
) -> None:
    """Hubs in the process found nothing, hubs behind gRPC refused it."""
    with pytest.raises(InvalidRequestError, match="instance_id must not be empty"):
        await _call(client, name, {**VALID[name], "instance_id": ""})

    assert hub.calls == []


@pytest.mark.parametrize("number", [10**5000, -(10**5000), 1e308], ids=["large", "negative", "float"])
async def test_numbers_of_any_size_are_refused_in_a_short_message(
    client: DurableTaskClient, hub: FakeTransport, number: float
) -> None:
    """The interpreter does not even print integers of that size."""
    for arguments in ({"start_at": number}, {"version": number}, {"tags": {"n": number}}):
        with pytest.raises((InvalidRequestError, TypeError, ValueError)) as caught:
            await client.schedule_new_orchestration("order", **arguments)
        assert any(name in str(caught.value) for name in arguments)
        assert len(str(caught.value)) < 200

    assert hub.calls == []


async def test_a_page_size_beyond_the_protocol_is_the_largest(
    client: DurableTaskClient, hub: FakeTransport
) -> None:
    """``sys.maxsize`` means as many as the hub gives."""
    await client.query_orchestrations(page_size=sys.maxsize).to_list()

    assert hub.calls[-1][1].page_size == 2**31 - 1


async def test_a_wrong_type_is_a_type_error_and_an_invalid_request(client: DurableTaskClient) -> None:
    """Programs that catch either see it."""
    with pytest.raises(InvalidArgumentError) as caught:
        await client.raise_orchestration_event("i", 7)  # type: ignore[arg-type]

    assert isinstance(caught.value, TypeError)
    assert str(caught.value) == "event_name must be a str, not 7."


async def test_data_of_the_user_is_not_quoted(client: DurableTaskClient) -> None:
    """A wrong argument may be a payload in the wrong place."""
    with pytest.raises(InvalidArgumentError) as caught:
        await client.get_orchestration_state({"card": "4111"})  # type: ignore[arg-type]

    assert "4111" not in str(caught.value)


async def test_a_subclass_of_str_is_taken_as_its_text(client: DurableTaskClient, hub: FakeTransport) -> None:
    """Also where the subclass has a ``__str__`` of its own, as members of an enumeration do."""
    await client.schedule_new_orchestration(
        Name("order"),
        instance_id=Name("i"),
        version=Name("1"),
        tags={Name("colour"): Colour.RED},
    )

    request = hub.calls[-1][1]
    texts = [request.name, request.instance_id, request.version, *request.tags, *request.tags.values()]
    assert texts == ["order", "i", "1", "colour", "red"]
    assert {type(text) for text in texts} == {str}


async def test_numbers_are_seconds_wherever_a_duration_is_expected(
    client: DurableTaskClient, hub: FakeTransport
) -> None:
    """A start in 5 seconds; a wait without end for infinity, and none below zero."""
    hub.answers["wait_for_instance_completion"] = [a_state()] * 3
    await client.schedule_new_orchestration("order", start_at=5)
    request = hub.calls[-1][1]
    assert request.scheduled_start_at == request.request_time + timedelta(seconds=5)

    waits: list[tuple[object, timedelta | None]] = [
        (timedelta(minutes=1), timedelta(minutes=1)),
        (math.inf, None),
        (-1, timedelta(0)),
    ]
    for given, expected in waits:
        await client.wait_for_orchestration_completion("i", timeout_in_seconds=given)  # type: ignore[arg-type]
        assert hub.calls[-1][1] == ("i", True, expected)


@pytest.mark.parametrize(
    "statuses",
    ["FAILED", "failed", ["FAILED"], OrchestrationStatus.FAILED, {OrchestrationStatus.FAILED}, ("Failed",)],
)
async def test_statuses_are_one_or_several_members_or_names(
    client: DurableTaskClient, hub: FakeTransport, statuses: object
) -> None:
    """A name used to match nothing, and a single status was no iterable."""
    await client.query_orchestrations(runtime_statuses=statuses).to_list()  # type: ignore[arg-type]

    assert hub.calls[-1][1].runtime_statuses == (OrchestrationStatus.FAILED,)


async def test_an_unknown_status_is_refused_with_the_nearest_name(client: DurableTaskClient) -> None:
    """Instead of an empty listing."""
    with pytest.raises(
        InvalidRequestError, match=r"runtime_statuses has no member 'FAILEDD'. Did you mean 'FAILED'\?"
    ):
        client.query_orchestrations(runtime_statuses="FAILEDD")


async def test_one_id_is_not_taken_as_its_letters(client: DurableTaskClient, hub: FakeTransport) -> None:
    """``purge_orchestrations("abc")`` is about the instance ``abc``."""
    await client.purge_orchestrations("abc")

    assert hub.calls[-1][1] == PurgeBatch(instance_ids=["abc"])


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"instance_ids": ["a"], "everything": True},
        {"instance_ids": ["a"], "created_from": NOON},
        {"recursive": True},
    ],
)
async def test_a_purge_says_exactly_what_to_remove(
    client: DurableTaskClient, hub: FakeTransport, arguments: dict[str, Any]
) -> None:
    """Without ids and filter it used to remove every finished instance."""
    with pytest.raises(InvalidRequestError, match="everything=True"):
        await client.purge_orchestrations(**arguments)

    assert hub.calls == []


async def test_everything_is_purged_on_request(client: DurableTaskClient, hub: FakeTransport) -> None:
    """Said explicitly, the filter is empty."""
    await client.purge_orchestrations(everything=True)

    assert hub.calls[-1][1] == PurgeFilter()


def a_generator(context: object, input: object) -> object:  # noqa: A002
    yield


@pytest.mark.parametrize("call", [lambda: order(None, 1), lambda: a_generator(None, 1)])
async def test_a_called_orchestrator_is_refused(
    client: DurableTaskClient, call: Callable[[], object]
) -> None:
    """It used to be started by the name of the coroutine, without its input."""
    with pytest.raises(RegistrationError, match=r"was called.*Give the function itself, and its input"):
        await client.schedule_new_orchestration(call())  # type: ignore[call-overload]


async def test_naive_times_are_utc(client: DurableTaskClient, hub: FakeTransport) -> None:
    """In every argument that is a time."""
    await client.query_orchestrations(created_from=datetime(2030, 1, 1)).to_list()  # noqa: DTZ001

    assert hub.calls[-1][1].created_from == datetime(2030, 1, 1, tzinfo=timezone.utc)
