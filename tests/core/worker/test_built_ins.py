"""What workers run besides what their programs register."""

from __future__ import annotations

import asyncio

import pytest
from durabletask.core.actions import CallEntity, CompleteOrchestration, OrchestratorAction
from durabletask.core.built_ins import CALL_ENTITY, HELPER_PREFIX
from durabletask.core.errors import EntityNotRegisteredError
from durabletask.core.history import ExecutionStarted, OrchestratorStarted
from durabletask.core.registry import Registry
from durabletask.core.versioning import VersioningOptions, VersionMatchStrategy
from durabletask.core.work_items import (
    ActivityFilter,
    EntityFilter,
    OrchestrationFilter,
    OrchestratorResult,
    OrchestratorWorkItem,
    WorkItemFilters,
)
from durabletask.core.worker import DurableTaskWorker
from fake_transport import NOON, FakeTransport

STRICT = VersioningOptions(version="2", match_strategy=VersionMatchStrategy.STRICT)


async def actions_of_helper(**options: object) -> list[OrchestratorAction]:
    """What a worker answers to the first episode of ``client.call_entity``."""
    transport = FakeTransport()
    instance_id = f"{HELPER_PREFIX}1"
    request = '{"entity_id":"@counter@k","operation":"add","input":3}'
    started = ExecutionStarted(-1, NOON, CALL_ENTITY, instance_id, input=request)
    async with DurableTaskWorker(transport, **options):  # type: ignore[arg-type]
        transport.put(
            OrchestratorWorkItem(
                instance_id=instance_id,
                new_events=[OrchestratorStarted(-1, NOON), started],
                completion_token="t",
            )
        )
        await transport.wait_for(1)
    (result,) = transport.completed
    assert isinstance(result, OrchestratorResult)
    return list(result.actions)


async def test_a_worker_without_registrations_runs_the_helper_of_call_entity() -> None:
    """The helper sends the operation with its input."""
    (action,) = await actions_of_helper()

    assert isinstance(action, CallEntity)
    assert (action.target_instance_id, action.operation, action.input) == ("@counter@k", "add", "3")


async def test_versions_of_the_program_do_not_apply_to_built_ins() -> None:
    """A worker that accepts version 2 only runs the helper, which has no version."""
    (action,) = await actions_of_helper(versioning=STRICT)

    assert isinstance(action, CallEntity)


async def test_a_definition_of_the_program_replaces_a_built_in() -> None:
    """Of an orchestrator, with the versions of the program."""

    async def own(ctx: object, request: object) -> str:
        return "own"

    (action,) = await actions_of_helper(orchestrators={CALL_ENTITY: own})

    assert isinstance(action, CompleteOrchestration)
    assert action.result == '"own"'


@pytest.mark.parametrize("filters", ["auto", WorkItemFilters((OrchestrationFilter("a", ("2",)),), (), ())])
async def test_filters_accept_built_ins_in_every_version(filters: object) -> None:
    """Automatic and explicit filters alike."""
    transport = FakeTransport()
    async with DurableTaskWorker(
        transport, orchestrators={"a": lambda ctx: None}, versioning=STRICT, filters=filters
    ):  # type: ignore[arg-type]
        while not transport.options:  # noqa: ASYNC110
            await asyncio.sleep(0)

    sent = transport.options[0].filters
    assert sent is not None
    own, *built_in = sent.orchestrations
    assert own == OrchestrationFilter("a", ("2",))
    assert OrchestrationFilter(CALL_ENTITY) in built_in
    assert all(each.versions == () for each in built_in)


async def test_a_worker_without_filters_asks_for_everything() -> None:
    """Built-ins bring no filter."""
    transport = FakeTransport()
    async with DurableTaskWorker(transport):
        while not transport.options:  # noqa: ASYNC110
            await asyncio.sleep(0)

    assert transport.options[0].filters is None


async def test_built_ins_are_loaded_when_they_are_first_needed_and_not_listed() -> None:
    """Of every role; names of entities are found without regard to case."""
    loaded: list[str] = []

    def loads(name: str) -> object:
        def load() -> object:
            loaded.append(name)
            return lambda context, value: value

        return load

    registry = Registry(activities={"a": print})
    registry.add_built_ins(
        orchestrators={"o": loads("o")},  # type: ignore[dict-item]
        activities={"a": loads("a"), "b": loads("b")},  # type: ignore[dict-item]
        entities={"e": loads("e")},  # type: ignore[dict-item]
    )

    assert loaded == []
    assert registry.entity("E") is registry.entity("e")
    assert registry.orchestrator("o").is_built_in
    assert not registry.activity("a").is_built_in
    assert registry.activity("b").is_built_in
    assert loaded == ["e", "o", "b"]
    assert (registry.orchestrator_names, registry.activity_names, registry.entity_names) == ([], ["a"], [])
    with pytest.raises(EntityNotRegisteredError):
        registry.entity("f")


def test_filters_have_the_built_ins_of_every_role() -> None:
    """As rooms that add activities and entities need it."""
    worker = DurableTaskWorker(FakeTransport(), filters=WorkItemFilters((), (), ()))
    worker.registry.add_built_ins(activities={"a": lambda: print}, entities={"e": lambda: print})

    filters = worker._stream_options().filters
    assert filters is not None
    assert ActivityFilter("a") in filters.activities
    assert EntityFilter("e") in filters.entities
