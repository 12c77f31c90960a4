"""What entities cost: linear in the messages, and a state is handled once for each batch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from durabletask.core.entities import EntityQuery
from durabletask.testing import InMemoryBackend, SqliteStore, VirtualClock
from durabletask.testing.hub.storage import codec
from durabletask.testing.hub.transitions import entity_batches
from entity_worker import EntityReader
from scripted_worker import settle

A = "@e@a"


async def calls_of(hub: InMemoryBackend, signals: int) -> int:
    """Function calls that so many signals and their batches take."""
    count = 0

    def profile(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    reader = EntityReader(hub)
    sys.setprofile(profile)
    try:
        for number in range(signals):
            await hub.signal_entity(A, "op", input=str(number), request_id=f"{signals}-{number}")
        left = signals
        while left:
            item = await reader.batch()
            left -= len(item.operations)
            await reader.run(item, state="1")
    finally:
        sys.setprofile(None)
    await reader.close()
    return count


async def test_signals_cost_the_same_however_many_wait() -> None:
    """Twice the signals of one entity take twice the work, not more."""
    hub = InMemoryBackend(clock=VirtualClock())
    await calls_of(hub, 10)  # whatever is done once
    some, many = await calls_of(hub, 500), await calls_of(hub, 2000)
    assert many < 4.2 * some
    await hub.close()


async def test_a_page_of_a_prefix_costs_the_same_however_many_other_entities_there_are() -> None:
    """The others are neither in front of it nor behind it."""
    hub = InMemoryBackend(clock=VirtualClock())
    reader = EntityReader(hub)

    async def cost() -> int:
        count = 0

        def profile(_frame: object, event: str, _argument: object) -> None:
            nonlocal count
            count += event == "call"

        sys.setprofile(profile)
        try:
            page = await hub.query_entities(EntityQuery(instance_id_prefix="@m@", page_size=1))
        finally:
            sys.setprofile(None)
        assert [one.instance_id for one in page.entities] == ["@m@"]
        return count

    for entity_id in ("@m@", "@m@1"):
        await hub.signal_entity(entity_id, "op")
        await reader.run(await reader.batch(), state="1")
    alone = await cost()
    for number in range(100):
        for name in "az":
            await hub.signal_entity(f"@{name}@{number}", "op")
            await reader.run(await reader.batch(), state="1")
    assert await cost() == alone
    await reader.close()
    await hub.close()


class Counting:
    """An encoder that counts what it has written."""

    def __init__(self, encode: Callable[[object], bytes]) -> None:
        self._encode = encode
        self.size = 0

    def __call__(self, value: object) -> bytes:
        data = self._encode(value)
        self.size += len(data)
        return data


async def test_a_large_state_is_written_once_for_each_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand operations on a state of 100 KB write the state once, and each message once."""
    stored, measured = Counting(codec._encode), Counting(entity_batches._encode)
    monkeypatch.setattr(codec, "_encode", stored)
    monkeypatch.setattr(entity_batches, "_encode", measured)
    hub = InMemoryBackend(clock=VirtualClock(), store=SqliteStore(tmp_path / "hub.db", "NORMAL"))
    reader = EntityReader(hub)
    state = '"' + "x" * 100_000 + '"'
    await hub.signal_entity(A, "op")
    await reader.run(await reader.batch(), state=state)
    stored.size = measured.size = 0
    first = await hub.get_entity(A)  # brings the entity back
    assert first is not None
    for _ in range(1000):
        await hub.signal_entity(A, "op")
    message_size = stored.size // 1000
    assert message_size < 200
    item = await reader.batch()
    rest = 1000 - len(item.operations)
    await reader.run(item, state=state.replace("x", "y"))
    if rest:
        await reader.run(await reader.batch(), state=state.replace("x", "z"))
    await settle(hub)
    assert stored.size < 1000 * message_size + 2 * len(state) + 1000
    assert measured.size <= 2 * 1000 * message_size
    await reader.close()
    await hub.close()
