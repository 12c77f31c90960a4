"""Queries, lists, purges (protocol sections 12.4 to 12.6, 12.9)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from durabletask.core.actions import CreateSubOrchestration
from durabletask.core.errors import InstanceNotFoundError, InvalidRequestError
from durabletask.core.instances import (
    CreateInstanceRequest,
    InstanceIdQuery,
    InstanceQuery,
    OrchestrationStatus,
    PurgeBatch,
    PurgeFilter,
    PurgeInstance,
)
from durabletask.testing import InMemoryBackend, VirtualClock
from scripted_worker import Reader, complete

S = OrchestrationStatus
NASTY = ["a|b", "a/b;c", 'q"uote', "perc%ent", "ünïcode", "x\\y", "'; DROP TABLE instances; --", "A", "a"]


async def fill(hub: InMemoryBackend, ids: list[str], statuses: list[OrchestrationStatus | None]) -> None:
    """Create instances and end them in turn with the given statuses (None: leave running)."""
    reader = Reader(hub)
    for number, one in enumerate(ids):
        await hub.create_instance(CreateInstanceRequest(name="O", instance_id=one, input=f"{number}"))
        status = statuses[number % len(statuses)]
        await reader.answer(
            await reader.episode(), *([complete(status=status)] if status is not None else [])
        )
    await reader.close()


async def all_pages(hub: InMemoryBackend, query: InstanceQuery) -> list[str]:
    found: list[str] = []
    while True:
        page = await hub.query_instances(query)
        assert len(page.states) <= query.page_size
        found += [state.instance_id for state in page.states]
        if page.continuation_token is None:
            return found
        query = InstanceQuery(**{**_fields(query), "continuation_token": page.continuation_token})  # type: ignore[arg-type]


def _fields(query: InstanceQuery) -> dict[str, object]:
    return {name: getattr(query, name) for name in query.__struct_fields__}


@pytest.mark.parametrize("size", [1, 2, 3, 100])
async def test_pages_cover_everything_once_in_order(hub: InMemoryBackend, size: int) -> None:
    """Any page size, any characters in ids, equal creation times: each instance comes exactly once."""
    await fill(hub, NASTY, [S.COMPLETED, None, S.FAILED])

    assert await all_pages(hub, InstanceQuery(page_size=size)) == sorted(NASTY)
    ids, key = [], None
    while True:
        page = await hub.list_instance_ids(InstanceIdQuery(page_size=size, last_instance_key=key))
        ids += page.instance_ids
        key = page.last_instance_key
        if key is None:
            break
    assert ids == sorted(one for number, one in enumerate(NASTY) if number % 3 != 1)


async def test_filters_of_a_query(hub: InMemoryBackend, clock: VirtualClock) -> None:
    """Status, creation time (from inclusive, to exclusive), case-sensitive prefix, payload gate."""
    start = clock.now()
    for number in range(4):
        await fill(hub, [f"i{number}"], [S.COMPLETED if number % 2 else None])
        await clock.advance(timedelta(minutes=1))

    async def ids(**more: object) -> list[str]:
        page = await hub.query_instances(InstanceQuery(**more))  # type: ignore[arg-type]
        return [state.instance_id for state in page.states]

    assert await ids(runtime_statuses=[S.COMPLETED]) == ["i1", "i3"]
    assert await ids(runtime_statuses=[S.RUNNING, S.COMPLETED]) == ["i0", "i1", "i2", "i3"]
    one, three = start + timedelta(minutes=1), start + timedelta(minutes=3)
    assert await ids(created_from=one, created_to=three) == ["i1", "i2"]
    assert await ids(instance_id_prefix="I") == []
    assert await ids(instance_id_prefix="i") == ["i0", "i1", "i2", "i3"]
    with_payloads = await hub.query_instances(InstanceQuery(include_payloads=True))
    without = await hub.query_instances(InstanceQuery())
    assert [state.serialized_input for state in with_payloads.states] == ["0"] * 4
    assert [state.serialized_input for state in without.states] == [None] * 4
    done = await hub.list_instance_ids(InstanceIdQuery(completed_from=one, completed_to=three))
    assert list(done.instance_ids) == ["i1"]
    assert (
        list((await hub.list_instance_ids(InstanceIdQuery(runtime_statuses=[S.RUNNING]))).instance_ids) == []
    )


async def test_pages_stay_stable_while_instances_come_and_go(hub: InMemoryBackend) -> None:
    """A token names a position: what is purged or created meanwhile neither repeats nor hides others."""
    await fill(hub, ["b", "d", "f", "h"], [S.COMPLETED])
    first = await hub.query_instances(InstanceQuery(page_size=2))
    await hub.purge_instances(PurgeInstance(instance_id="d"))
    await fill(hub, ["a", "g"], [S.COMPLETED])
    second = await hub.query_instances(
        InstanceQuery(page_size=9, continuation_token=first.continuation_token)
    )

    assert [state.instance_id for state in second.states] == ["f", "g", "h"]


@pytest.mark.parametrize("token", ["x", "AAAA", "é", "....", "kg==", "1 OR 1=1"])
async def test_a_foreign_token_is_refused(hub: InMemoryBackend, token: str) -> None:
    """Tokens that this hub did not make are an error of the caller."""
    with pytest.raises(InvalidRequestError, match="token"):
        await hub.query_instances(InstanceQuery(continuation_token=token))
    with pytest.raises(InvalidRequestError, match="token"):
        await hub.list_instance_ids(InstanceIdQuery(last_instance_key=token))
    with pytest.raises(InvalidRequestError, match="-1"):
        await hub.query_instances(InstanceQuery(page_size=-1))


async def test_purge_removes_finished_instances_only(hub: InMemoryBackend) -> None:
    """Missing and live ids count zero; batches and filters work; histories are gone."""
    ids = [f"i{n}" for n in range(6)]
    await fill(hub, ids, [S.COMPLETED, None, S.FAILED])

    assert (await hub.purge_instances(PurgeInstance(instance_id="missing"))).deleted_instance_count == 0
    assert (await hub.purge_instances(PurgeInstance(instance_id="i1"))).deleted_instance_count == 0
    assert (await hub.purge_instances(PurgeInstance(instance_id="i0"))).deleted_instance_count == 1
    assert (
        await hub.purge_instances(PurgeBatch(instance_ids=["i0", "i1", "i2"]))
    ).deleted_instance_count == 1
    result = await hub.purge_instances(PurgeFilter(runtime_statuses=[S.COMPLETED, S.RUNNING]))
    assert (result.deleted_instance_count, result.is_complete) == (1, True)
    left = [state.instance_id for state in (await hub.query_instances(InstanceQuery())).states]
    assert left == ["i1", "i4", "i5"]
    assert (await hub.purge_instances(PurgeFilter())).deleted_instance_count == 1
    with pytest.raises(InstanceNotFoundError):
        _ = [chunk async for chunk in hub.stream_history("i5")]
    with pytest.raises(InvalidRequestError, match="500"):
        await hub.purge_instances(PurgeBatch(instance_ids=["x"] * 501))


async def test_a_filtered_purge_is_bounded_in_time(hub: InMemoryBackend) -> None:
    """With the time used up it says that it is not complete; calling again finishes."""
    await fill(hub, [f"i{n}" for n in range(250)], [S.COMPLETED])
    first = await hub.purge_instances(PurgeFilter(timeout=timedelta(0)))
    second = await hub.purge_instances(PurgeFilter())

    assert (first.deleted_instance_count, first.is_complete) == (200, False)
    assert (second.deleted_instance_count, second.is_complete) == (50, True)


async def test_a_recursive_purge_takes_the_descendants(hub: InMemoryBackend) -> None:
    """Children and grandchildren go and count; without recursion they stay."""
    reader = Reader(hub)
    for root in ("p", "q"):
        await hub.create_instance(CreateInstanceRequest(name="O", instance_id=root))
        one = await reader.episode()
        await reader.answer(one, CreateSubOrchestration(1, "O", root + "x"), complete(id=2))
        one = await reader.episode()
        await reader.answer(one, CreateSubOrchestration(1, "O", root + "xx"), complete(id=2))
        await reader.answer(await reader.episode(), complete())
    assert (
        await hub.purge_instances(PurgeInstance(instance_id="p", recursive=True))
    ).deleted_instance_count == 3
    assert (await hub.purge_instances(PurgeInstance(instance_id="q"))).deleted_instance_count == 1
    left = [state.instance_id for state in (await hub.query_instances(InstanceQuery())).states]
    assert left == ["qx", "qxx"]
    await reader.close()


async def test_a_history_is_streamed_whole_and_by_execution(hub: InMemoryBackend) -> None:
    """In order, in chunks; another execution id finds nothing."""
    reader = Reader(hub)
    await hub.create_instance(CreateInstanceRequest(name="O", instance_id="i", execution_id="e"))
    for number in range(400):
        await reader.answer(await reader.episode())
        await hub.raise_event("i", f"{number}")
    chunks = [chunk async for chunk in hub.stream_history("i", execution_id="e")]
    assert len(chunks) > 1
    assert sum(len(chunk) for chunk in chunks) == 400 * 2
    with pytest.raises(InstanceNotFoundError, match="other"):
        _ = [chunk async for chunk in hub.stream_history("i", execution_id="other")]
    await reader.close()


async def test_ids_and_prefixes_are_text_and_nothing_else(hub: InMemoryBackend) -> None:
    """No character of an id means anything to a query or a page, in memory or on a file."""
    ids = [
        "a",
        "A",
        "a%",
        "a_b",
        "a'--",
        "ä|2",
        "a|1",
        "\U0001f980",
        '{"a": 1}',
        "x" * 5000,
    ]
    await fill(hub, ids, [S.COMPLETED])
    for prefix in [*ids, "a\x00", "b", "\udc80"]:
        page = await hub.query_instances(InstanceQuery(instance_id_prefix=prefix))
        found = {state.instance_id for state in page.states}
        assert found == {one for one in ids if one.startswith(prefix)}, prefix
    found_ids: list[str] = []
    key = None
    while True:
        ids_page = await hub.list_instance_ids(InstanceIdQuery(page_size=1, last_instance_key=key))
        found_ids += ids_page.instance_ids
        key = ids_page.last_instance_key
        if key is None:
            break
    assert sorted(found_ids) == sorted(ids)
