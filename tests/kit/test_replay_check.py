"""The replay check tells which edits of an orchestrator break instances that are in flight."""

from __future__ import annotations

import gzip
import itertools
import random
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from durabletask import OrchestrationContext, TaskFailedError
from durabletask.core.history import HistoryEvent, TaskCompleted, encode_history
from durabletask.testing import assert_replays, check_replay
from durabletask.testing.environment import OrchestrationTestEnvironment
from durabletask.testing.faults import Chaos, ChaosDivergenceError
from durabletask.testing.history_files import decode_any_history
from durabletask.testing.replay import main
from durabletask.testing.sync import OrchestrationTestEnvironment as BlockingEnvironment
from hypothesis import given
from hypothesis import strategies as st


async def order(ctx: OrchestrationContext, amount: int) -> str:
    await ctx.call_activity("reserve", amount)
    await ctx.create_timer(timedelta(hours=1))
    return await ctx.call_activity("charge", amount)


async def swapped(ctx: OrchestrationContext, amount: int) -> str:
    receipt = await ctx.call_activity("charge", amount)
    await ctx.create_timer(timedelta(hours=1))
    await ctx.call_activity("reserve", amount)
    return receipt


async def renamed(ctx: OrchestrationContext, amount: int) -> str:
    await ctx.call_activity("reserve_stock", amount)
    await ctx.create_timer(timedelta(hours=1))
    return await ctx.call_activity("charge", amount)


async def inserted(ctx: OrchestrationContext, amount: int) -> str:
    await ctx.call_activity("reserve", amount)
    await ctx.call_activity("notify", amount)
    await ctx.create_timer(timedelta(hours=1))
    return await ctx.call_activity("charge", amount)


async def removed(ctx: OrchestrationContext, amount: int) -> str:
    await ctx.call_activity("reserve", amount)
    return await ctx.call_activity("charge", amount)


async def another_input(ctx: OrchestrationContext, amount: int) -> str:
    await ctx.call_activity("reserve", amount + 1)
    await ctx.create_timer(timedelta(hours=1))
    return await ctx.call_activity("charge", amount)


async def by_the_clock(ctx: OrchestrationContext, amount: int) -> str:
    # Replays happen later than the first run: in the year 2000 this branch went the other way.
    is_rush_hour = datetime.now(timezone.utc).year > 2000
    await ctx.call_activity("reserve_stock" if is_rush_hour else "reserve", amount)
    await ctx.create_timer(timedelta(hours=1))
    return await ctx.call_activity("charge", amount)


EDITS = {
    "swapped": (swapped, r"reserve"),
    "renamed": (renamed, r"reserve_stock"),
    "inserted": (inserted, r"notify"),
    "removed": (removed, r"charge"),
    "another input": (another_input, r"input"),
    "by the clock": (by_the_clock, r"wall clock"),
}


@pytest.fixture(scope="module")
def recorded() -> list[HistoryEvent]:
    """The history of a finished order."""
    with BlockingEnvironment(orchestrators=[order]) as env:
        env.fake("reserve")
        env.fake("charge", returns="receipt")
        run = env.start(order, 5)
        run.result()
        return run.history


def test_unchanged_code_replays(recorded: list[HistoryEvent]) -> None:
    """The code that wrote a history replays it, at every point of its life."""
    assert check_replay(recorded, [order]).is_ok
    for length in range(4, len(recorded)):
        if type(recorded[length - 1]).__name__ == "OrchestratorCompleted":
            assert check_replay(recorded[:length], [order]).is_ok


@pytest.mark.parametrize(("edited", "expected"), EDITS.values(), ids=EDITS)
def test_classic_edits_are_found(
    recorded: list[HistoryEvent], edited: Callable[..., object], expected: str
) -> None:
    """Swapping, renaming, inserting, removing a call, another input and a look at the clock are told in plain words."""
    report = check_replay(recorded, {"order": edited}, source="order.json")
    assert report.outcome == "diverges"
    assert re.search(expected, report.reason), report.reason
    assert "test_replay_check.py:" in report.reason  # the line of the code
    assert str(report).startswith("FAIL  order.json (order): diverges")


@pytest.mark.parametrize(("edited", "expected"), EDITS.values(), ids=EDITS)
async def test_classic_edits_are_found_by_chaos(edited: Callable[..., object], expected: str) -> None:
    """Code that is deployed while an instance sleeps fails when it replays the instance, and chaos lets it replay."""
    turns = itertools.count()

    async def deployed(ctx: OrchestrationContext, amount: int) -> object:
        # Without chaos the first episode is the only one that starts from the beginning; with chaos every episode does:
        # the old code runs until the timer is set, the edited code when it has fired.
        return await (order if next(turns) < 3 else edited)(ctx, amount)

    async with OrchestrationTestEnvironment(orchestrators={"order": deployed}) as env:
        for name in ("reserve", "reserve_stock", "notify"):
            env.fake(name)
        env.fake("charge", returns="receipt")
        with pytest.raises(ChaosDivergenceError, match=r"with Chaos\(seed=5, worker_crashes=0\)") as caught:
            await env.run("order", 5, chaos=Chaos(seed=5, worker_crashes=0))
    report = str(caught.value)
    assert "status: without chaos COMPLETED, with chaos FAILED" in report
    assert re.search(r"(?s)First diverging event: .*expected \(history\): .*" + expected, report), report
    assert "test_replay_check.py:" in report


def test_another_result_is_found(recorded: list[HistoryEvent]) -> None:
    """A finished history must end with the same result."""

    async def other_result(ctx: OrchestrationContext, amount: int) -> str:
        return "Dear customer, " + await order(ctx, amount)

    report = check_replay(recorded, {"order": other_result})
    assert "result: history has '\"receipt\"', the code made '\"Dear customer, receipt\"'" in report.reason


def test_code_that_is_gone_is_found(recorded: list[HistoryEvent]) -> None:
    """A history whose orchestrator is not registered any more does not replay, and the nearest name is told."""

    async def other(ctx: OrchestrationContext) -> None: ...

    report = check_replay(recorded, {"orders": other})
    assert "'orders'" in report.reason


FLAWS: dict[str, Callable[[OrchestrationContext, list[int]], str]] = {
    "a counter outside": lambda ctx, seen: ("odd", "even")[seen.append(1) or len(seen) % 2],
    "the length of a global list": lambda ctx, seen: f"step{seen.append(1) or len(seen)}",
    "chance": lambda ctx, seen: f"step{random.random()}",
    "the identity of an object": lambda ctx, seen: f"step{seen.append(1) or [id(object()), len(seen)]}",
    "the number of replays": lambda ctx, seen: f"step{ctx.is_replaying}",
}


@pytest.mark.parametrize("flaw", FLAWS.values(), ids=FLAWS)
async def test_five_classic_flaws_are_found_by_chaos(flaw: Callable[..., str]) -> None:
    """Code that decides by something outside its history fails under chaos, with the seed in the report."""
    seen: list[int] = []

    async def flawed(ctx: OrchestrationContext, amount: int) -> str:
        await ctx.call_activity(flaw(ctx, seen), amount)
        return await ctx.call_activity("charge", amount)

    async with OrchestrationTestEnvironment(orchestrators=[flawed]) as env:
        for name in ("odd", "even", "charge", "stepTrue", "stepFalse"):
            env.fake(name)
        with pytest.raises((ChaosDivergenceError), match=r"Chaos\(seed=3\)") as caught:
            await env.run(flawed, 1, chaos=Chaos(seed=3))
        assert "First diverging event: " in str(caught.value)


# --- files ----------------------------------------------------------------------------------------------------


def test_files_and_folders_are_checked(tmp_path: Path, recorded: list[HistoryEvent]) -> None:
    """``assert_replays`` takes files and folders, and names each failure."""
    (tmp_path / "good.json").write_bytes(encode_history(recorded))
    assert [report.is_ok for report in assert_replays(tmp_path, [order])] == [True]
    (tmp_path / "bad.json").write_text("[{]")
    with pytest.raises(AssertionError, match=r"(?s)1 of 2 histories.*bad.json"):
        assert_replays([tmp_path], [order])
    with pytest.raises(FileNotFoundError, match="nothing to check"):
        assert_replays([], [order])


def dictionary_form(events: list[HistoryEvent]) -> list[dict]:
    """Events as the history-export jobs of the Python SDK of the protocol write them."""
    exported = []
    for event in events:
        members = {
            "".join("_" + c.lower() if c.isupper() else c for c in f.name): getattr(event, f.name)
            for f in msgspec.structs.fields(event)
        }
        if "instance_id" in members and type(event).__name__ == "ExecutionStarted":
            members["orchestration_instance"] = {
                "instance_id": members.pop("instance_id"),
                "execution_id": members.pop("execution_id"),
            }
            members["parent_instance"] = members.pop("parent")
        if "status" in members:
            members["orchestration_status"] = members.pop("status")
        if "failure" in members:
            members["failure_details"] = members.pop("failure")
        exported.append({**members, "event_type": type(event).__name__ + "Event"})
    return exported


def protobuf_form(events: list[HistoryEvent]) -> list[dict]:
    """Events as protobuf writes its messages in JSON."""
    exported = []
    for event in msgspec.json.decode(encode_history(events)):
        kind = event.pop("type")
        header = {key: event.pop(key) for key in ("eventId", "timestamp")}
        if kind == "ExecutionStarted":
            event["orchestrationInstance"] = {
                "instanceId": event.pop("instanceId"),
                "executionId": event.pop("executionId"),
            }
        if "status" in event:
            event["orchestrationStatus"] = "ORCHESTRATION_STATUS_COMPLETED"
            del event["status"]
        exported.append({**header, kind[0].lower() + kind[1:]: event})
    return exported


@pytest.mark.parametrize("form", [dictionary_form, protobuf_form])
def test_exports_of_other_tools_are_read(recorded: list[HistoryEvent], form: Callable) -> None:
    """Dictionary exports and protobuf-JSON give the same events: as array, object, lines, and gzip."""
    entries = form(recorded)
    whole = msgspec.json.encode(entries)
    wrapped = msgspec.json.encode({"events": entries, "instance_id": "i", "schema_version": "1.0"})
    header = msgspec.json.encode({"kind": "metadata", "instance_id": "i"})
    lines = b"\n".join([header, *map(msgspec.json.encode, entries)])
    for content in (whole, wrapped, lines, gzip.compress(lines)):
        assert decode_any_history(content) == recorded
    assert check_replay(decode_any_history(whole), [order]).is_ok


def test_what_protobuf_leaves_out_is_filled_in() -> None:
    """Members that have the default of their type are absent from protobuf-JSON."""
    (event,) = decode_any_history(b'[{"eventId": -1, "taskCompleted": {"result": "1"}}]')
    assert isinstance(event, TaskCompleted)
    assert (event.task_scheduled_id, event.result) == (0, "1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "neither JSON nor"),
        (b'"hello"', "array of events"),
        (b'[{"type": "Nonsense"}]', "unknown kind 'Nonsense'"),
        (b'[{"a": 1}]', "it has 'a'"),
        (b'[{"type": "TimerFired", "eventId": -1, "timerId": "x"}]', r"Event 1 \(TimerFired\)"),
        (b'[{"type": "ExecutionCompleted", "status": "GONE"}]', r"Event 1 \(ExecutionCompleted\)"),
        (b"[" * 100_000, "nested too deeply|neither JSON"),
        (gzip.compress(b"[]")[:-9], "truncated"),
        (gzip.compress(b"[]")[:10] + b"\xff" * 40, "broken gzip"),
        (b"\xff\xfe[]", "neither JSON nor"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_is_no_history_is_told(content: bytes, message: str) -> None:
    """A file that cannot be read says what was found."""
    with pytest.raises(ValueError, match=message):
        decode_any_history(content)


def test_a_compressed_history_may_not_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that decompresses to a large one is refused before it takes the memory."""
    monkeypatch.setattr("durabletask.testing.history_files._LARGEST", 2**20)
    with pytest.raises(ValueError, match="more than 1 MiB when it is decompressed"):
        decode_any_history(gzip.compress(b" " * 2**21))
    assert decode_any_history(gzip.compress(b" " * 2**19) + gzip.compress(b"[]")) == []
    with pytest.raises(ValueError, match="more than 1 MiB"):
        decode_any_history(gzip.compress(b" " * 2**19) * 3)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_any_damage_to_a_file_is_a_value_error_or_a_report(
    recorded: list[HistoryEvent], data: st.DataObject
) -> None:
    """Members that are missing or of another type never end the command with a traceback."""
    events = msgspec.json.decode(encode_history(recorded))
    event = data.draw(st.sampled_from(events))
    event[data.draw(st.sampled_from([*event, "events", "orchestrationInstance"]))] = data.draw(JSON_VALUES)
    try:
        history = decode_any_history(msgspec.json.encode(events))
    except ValueError:
        return
    check_replay(history, [order])


def test_the_command_line(tmp_path: Path, recorded: list[HistoryEvent], capsys, monkeypatch) -> None:
    """Exit code 0 for histories that replay, 1 otherwise, 2 when the module is missing."""
    (tmp_path / "order.json").write_bytes(encode_history(recorded))
    (tmp_path / "replay_app_good.py").write_text(Path(__file__).read_text().split("async def swapped")[0])
    (tmp_path / "replay_app_bad.py").write_text(
        "async def another(ctx, amount):\n    return await ctx.call_activity('other', amount)\n"
        "APP = {'order': another}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    history = str(tmp_path / "order.json")
    assert main([history, "--app", "replay_app_good"]) == 0
    assert "1 of 1 histories replay" in capsys.readouterr().out
    assert main([str(tmp_path), "--app", "replay_app_bad:APP"]) == 1
    assert "'other'" in capsys.readouterr().out
    assert main([history, "--app", "replay_app_missing"]) == 2
    assert "replay_app_missing" in capsys.readouterr().err
    (tmp_path / "replay_app_broken.py").write_text("1 / 0")
    assert main([history, "--app", "replay_app_broken"]) == 2
    assert "cannot be imported: ZeroDivisionError" in capsys.readouterr().err
    (tmp_path / "broken.json.gz").write_bytes(gzip.compress(encode_history(recorded))[:-20])
    assert main([str(tmp_path), "--app", "replay_app_good"]) == 1
    shown = capsys.readouterr().out
    assert "FAIL" in shown
    assert "broken.json.gz" in shown
    assert "1 of 2 histories replay" in shown


def test_a_failed_history_replays_when_the_code_fails_alike() -> None:
    """A task failure that ends the orchestration is no divergence; another failure is one."""

    async def failing(ctx: OrchestrationContext, amount: int) -> str:
        return await ctx.call_activity("charge", amount)

    async def failing_otherwise(ctx: OrchestrationContext, amount: int) -> str:
        try:
            return await ctx.call_activity("charge", amount)
        except TaskFailedError:
            raise LookupError("no money") from None

    with BlockingEnvironment(orchestrators=[failing]) as env:
        env.fake("charge", side_effect=ValueError("declined"))
        run = env.start(failing, 5)
        run.completion()
        history = run.history
    assert check_replay(history, [failing]).is_ok
    report = check_replay(history, {"failing": failing_otherwise})
    assert "failure: history has" in report.reason
    assert "builtins.LookupError: no money" in report.reason


def test_attempts_under_one_id_get_ids_of_their_own() -> None:
    """The Python SDK of the protocol repeats a call under the id of its first attempt; ours counts on."""
    asked = {
        "event_id": 1,
        "event_type": "TaskScheduledEvent",
        "timestamp": "2026-01-01T00:00:00Z",
        "name": "a",
    }
    answered = {"event_id": -1, "event_type": "TaskFailedEvent", "timestamp": "2026-01-01T00:00:00Z"}
    answered |= {"task_scheduled_id": 1, "failure_details": {"error_type": "E", "message": "m"}}
    events = decode_any_history(msgspec.json.encode([asked, answered, asked, answered]))
    assert [event.event_id for event in events] == [1, -1, 2, -1]
    assert [getattr(event, "task_scheduled_id", None) for event in events] == [None, 1, None, 2]
