"""Client half: connecting, creating and reading instances."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from durabletask.core.errors import InstanceAlreadyExistsError, TransportUnavailableError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import EventRaised, ExecutionStarted
from durabletask.core.instances import OrchestrationState, OrchestrationStatus, ReusePolicy

from .probe import Probe, complete, of_type
from .spec import requires, spec

__all__ = ["TestConnection", "TestCreate", "TestRead"]

ODD_IDS = (
    "a/b",
    "a|b",
    "a%2Fb",
    "a b",
    "a'b",
    'a"b',
    "a\\b",
    "ä\N{SNOWMAN}",
    "../up",
    "A",
    "a",
    "a:0001",
    "a_b",
    "a%",
    "<b>",
)
PAYLOAD = '{ "text": "ä\N{SNOWMAN} \\u0041",  "number": 1.50, "big": 12345678901234567890 }'


@spec("connection")
class TestConnection:
    """Life cycle of a transport."""

    async def test_connect_answers_and_may_be_repeated(self, probe: Probe) -> None:
        """``connect`` succeeds on a hub that is there, any number of times."""
        await probe.transport.connect()
        await probe.transport.connect()

    async def test_endpoint_and_task_hub_are_named(self, probe: Probe) -> None:
        """Messages and logs can say where the hub is."""
        assert probe.transport.endpoint
        assert probe.transport.task_hub

    async def test_close_may_be_repeated_and_the_transport_used_again(self, probe: Probe) -> None:
        """A closed transport opens again with the next call."""
        await probe.transport.close()
        await probe.transport.close()
        created = await probe.create("after-close")
        assert await probe.status(created) is OrchestrationStatus.PENDING

    async def test_close_ends_an_open_work_item_stream(self, probe: Probe) -> None:
        """A worker is not left waiting on a transport that was closed."""
        await probe.create("first")
        async with probe.worker() as worker:
            await worker.run("first", complete())  # the stream is open
            await probe.transport.close()
            await worker.ended()
            assert worker.error is None or isinstance(worker.error, TransportUnavailableError)

    @requires("cancels_calls_on_close")
    async def test_close_ends_calls_in_flight(self, probe: Probe) -> None:
        """A wait in flight ends with TransportUnavailableError when the transport is closed."""
        created = await probe.create()
        waiting = asyncio.ensure_future(probe.transport.wait_for_instance_completion(created))
        await probe.hub.settle()
        await probe.transport.close()
        done, _ = await asyncio.wait([waiting], timeout=probe.hub.patience)
        assert done, "The wait is still in flight."
        assert isinstance(waiting.exception(), TransportUnavailableError)

    @requires("several_connections")
    async def test_what_one_connection_writes_another_reads(self, probe: Probe) -> None:
        """Two connections to one task hub see the same instances at once."""
        other = await probe.hub.open_another()
        await probe.create("shared", input="1")
        state = await other.get_instance("shared")
        assert state is not None
        assert state.serialized_input == "1"

    @requires("several_connections")
    async def test_a_worker_on_one_connection_serves_a_client_on_another(self, probe: Probe) -> None:
        """Work created through one connection is delivered on a stream of another."""
        other = await probe.hub.open_another()
        async with probe.worker(transport=other) as worker:
            created = await probe.create("across")
            waiting = asyncio.ensure_future(probe.transport.wait_for_instance_completion(created))
            await worker.run(created, complete("1"))
            state = await asyncio.wait_for(waiting, probe.hub.patience)
        assert state is not None
        assert state.serialized_output == "1"

    @requires("durable")
    async def test_what_was_acknowledged_survives_a_restart(self, probe: Probe) -> None:
        """Instances, their histories, inbox and timers are there after the hub was restarted."""
        async with probe.worker() as worker:
            await probe.create("kept", input="1")
            await worker.run("kept", complete("2"))
            await probe.create("open", input="3")
        await probe.transport.raise_event("open", "Ping", "4")
        transport = await probe.hub.restart()
        again = Probe(probe.hub, transport)
        assert (await again.state("kept")).serialized_output == "2"
        assert of_type(await again.history("kept"), ExecutionStarted)
        async with again.worker() as worker:
            item = await worker.episode("open")
            assert [event.input for event in of_type(item.new_events, EventRaised)] == ["4"]
            await worker.commit(item, complete())
        assert await again.status("open") is OrchestrationStatus.COMPLETED


@spec("create")
class TestCreate:  # protocol section 12.1
    """Creation, and what happens when the id is in use."""

    async def test_create_returns_the_chosen_id(self, probe: Probe) -> None:
        """The caller's id is used as it is."""
        assert await probe.create("order-1") == "order-1"

    async def test_create_without_id_makes_a_new_one_each_time(self, probe: Probe) -> None:
        """The hub makes ids when the caller does not."""
        first, second = await probe.create(), await probe.create()
        assert first
        assert second
        assert first != second

    async def test_a_new_instance_is_pending_and_described(self, probe: Probe) -> None:
        """The state of a new instance carries the values of the request."""
        await probe.create("new", input='"in"', version="1.2", tags={"team": "blue"})
        state = await probe.state("new")
        assert state.instance_id == "new"
        assert state.name == "Order"
        assert state.runtime_status is OrchestrationStatus.PENDING
        assert state.serialized_input == '"in"'
        assert state.version == "1.2"
        assert dict(state.tags) == {"team": "blue"}
        assert state.completed_at is None
        assert state.serialized_output is None

    async def test_ids_are_opaque(self, probe: Probe) -> None:
        """Any printable character may stand in an id, and ids that look alike are different."""
        for number, instance_id in enumerate(ODD_IDS):
            assert await probe.create(instance_id, input=str(number)) == instance_id
        for number, instance_id in enumerate(ODD_IDS):
            assert (await probe.state(instance_id)).serialized_input == str(number)
        async with probe.worker() as worker:
            for instance_id in ODD_IDS:
                await worker.run(instance_id, complete(f'"{len(instance_id)}"'))
        for instance_id in ODD_IDS:
            assert (await probe.state(instance_id)).serialized_output == f'"{len(instance_id)}"'

    async def test_a_live_id_is_refused(self, probe: Probe) -> None:
        """A second creation of a live id raises InstanceAlreadyExistsError and changes nothing."""
        await probe.create("taken", input="1")
        await _refused(probe, "taken", ReusePolicy())
        assert (await probe.state("taken")).serialized_input == "1"

    async def test_a_finished_id_is_refused_when_the_policy_lists_nothing(self, probe: Probe) -> None:
        """An empty reuse policy replaces nothing, not even a finished instance."""
        async with probe.worker() as worker:
            await probe.finished(worker, "taken", result="1")
            await _refused(probe, "taken", ReusePolicy())
            await worker.nothing()
        assert (await probe.state("taken")).serialized_output == "1"

    async def test_a_policy_that_lists_another_status_refuses(self, probe: Probe) -> None:
        """Only a listed status may be replaced."""
        async with probe.worker() as worker:
            await probe.finished(worker, "taken", result="1")
        await _refused(probe, "taken", ReusePolicy(frozenset({OrchestrationStatus.FAILED})))

    async def test_a_finished_id_is_replaced_when_the_policy_says_so(self, probe: Probe) -> None:
        """A replacement starts from nothing: new execution id, new input, empty history."""
        async with probe.worker() as worker:
            await probe.finished(worker, "again", result="1", input='"old"')
            old = await probe.state("again")
            await probe.create("again", input='"new"', reuse_policy=ReusePolicy.replace_terminal())
            new = await probe.state("again")
            assert new.runtime_status is OrchestrationStatus.PENDING
            assert new.serialized_input == '"new"'
            assert new.serialized_output is None
            assert new.completed_at is None
            item = await worker.episode("again")
            assert list(item.past_events) == []
            assert [started.input for started in of_type(item.new_events, ExecutionStarted)] == ['"new"']
            assert item.execution_id is None or item.execution_id != old.execution_id
            await worker.commit(item, complete("2"))
        assert (await probe.state("again")).serialized_output == "2"

    @requires("replace_live_instances")
    async def test_a_live_id_is_replaced_when_the_policy_says_so(self, probe: Probe) -> None:
        """A live instance whose status is listed makes room; its late answers change nothing."""
        async with probe.worker() as worker:
            await probe.create("again", input="1")
            old = await worker.episode("again")
            await probe.create("again", input="2", reuse_policy=ReusePolicy.replace_any())
            new = await worker.episode("again")
            await worker.commit(old, complete('"late"'))
            assert of_type(new.new_events, ExecutionStarted)[0].input == "2"
            await worker.commit(new, complete('"new"'))
        assert (await probe.state("again")).serialized_output == '"new"'

    async def test_only_one_of_many_concurrent_creations_wins(self, probe: Probe) -> None:
        """The id is taken atomically."""
        outcomes = await asyncio.gather(
            *(probe.create("one", input=str(n), reuse_policy=ReusePolicy()) for n in range(8)),
            return_exceptions=True,
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, InstanceAlreadyExistsError)]
        assert outcomes.count("one") == 1
        assert len(refused) == 7

    @requires("scheduled_start")
    async def test_a_scheduled_instance_starts_at_its_time(self, probe: Probe) -> None:
        """A scheduled instance stays PENDING, and nothing is delivered before its time."""
        now = (await _clock(probe)).created_at
        await probe.create("later", scheduled_start_at=now + probe.unit * 4)
        async with probe.worker() as worker:
            await probe.advance(1)
            assert all(item.instance_id != "later" for item in await worker.items())
            state = await probe.state("later")
            assert state.runtime_status is OrchestrationStatus.PENDING
            assert state.scheduled_start_at == now + probe.unit * 4
            await probe.advance(4)
            await worker.run("later", complete("1"))
        assert await probe.status("later") is OrchestrationStatus.COMPLETED

    @requires("scheduled_start")
    async def test_a_start_time_in_the_past_means_now(self, probe: Probe) -> None:
        """An instance scheduled for a time in the past starts at once."""
        now = (await _clock(probe)).created_at
        async with probe.worker() as worker:
            await probe.create("past", scheduled_start_at=now - timedelta(days=1))
            await worker.run("past", complete())


async def _refused(probe: Probe, instance_id: str, policy: ReusePolicy) -> None:
    try:
        await probe.create(instance_id, input='"second"', reuse_policy=policy)
    except InstanceAlreadyExistsError:
        return
    raise AssertionError(f"The second creation of {instance_id!r} was accepted.")


async def _clock(probe: Probe) -> OrchestrationState:
    return await probe.state(await probe.create("clock"))


@spec("read")
class TestRead:  # protocol sections 5 and 12.2
    """The state that clients see."""

    async def test_an_unknown_instance_is_none(self, probe: Probe) -> None:
        """Reading an unknown id is no error."""
        assert await probe.transport.get_instance("missing") is None

    async def test_payloads_come_back_character_for_character(self, probe: Probe) -> None:
        """A payload is text to the hub: spacing, escapes and precision survive."""
        async with probe.worker() as worker:
            await probe.create("exact", input=PAYLOAD)
            item = await worker.episode("exact")
            assert of_type(item.new_events, ExecutionStarted)[0].input == PAYLOAD
            await worker.commit(item, complete(PAYLOAD), custom_status=PAYLOAD)
        state = await probe.state("exact")
        assert state.serialized_input == PAYLOAD
        assert state.serialized_output == PAYLOAD
        assert state.serialized_custom_status == PAYLOAD

    async def test_a_large_payload_survives(self, probe: Probe) -> None:
        """A payload of one mebibyte is stored and delivered whole."""
        payload = '"' + "x" * (1 << 20) + '"'
        async with probe.worker() as worker:
            await probe.create("large", input=payload)
            item = await worker.episode("large")
            assert of_type(item.new_events, ExecutionStarted)[0].input == payload
            await worker.commit(item, complete(payload))
        assert (await probe.state("large")).serialized_output == payload

    async def test_a_missing_result_stays_missing(self, probe: Probe) -> None:
        """No output is not an empty output."""
        async with probe.worker() as worker:
            await probe.finished(worker, "none")
        assert (await probe.state("none")).serialized_output is None

    @requires("payload_gating")
    async def test_payloads_are_left_out_on_request(self, probe: Probe) -> None:
        """Without payloads there is no input, output or custom status; the rest stays."""
        async with probe.worker() as worker:
            await probe.create("gated", input="1")
            await worker.run("gated", complete("2"), custom_status="3")
        state = await probe.state("gated", include_payloads=False)
        assert state.runtime_status is OrchestrationStatus.COMPLETED
        assert (state.serialized_input, state.serialized_output, state.serialized_custom_status) == (
            None,
            None,
            None,
        )

    async def test_failure_details_are_always_there_and_whole(self, probe: Probe) -> None:
        """A failed instance has its failure, with inner failure and flags, also without payloads."""
        failure = FailureDetails(
            "app.OrderError",
            "no stock ä",
            stack_trace="line 1\nline 2",
            inner_failure=FailureDetails("builtins.KeyError", "'sku'", is_non_retriable=True),
            is_non_retriable=True,
        )
        async with probe.worker() as worker:
            await probe.finished(worker, "bad", status=OrchestrationStatus.FAILED, failure=failure)
        for include in (True, False):
            state = await probe.state("bad", include_payloads=include)
            assert state.runtime_status is OrchestrationStatus.FAILED
            assert state.failure_details == failure

    async def test_the_custom_status_is_the_one_of_the_last_episode(self, probe: Probe) -> None:
        """Each episode sets the custom status anew; an episode without one clears it."""
        async with probe.worker() as worker:
            await probe.create("custom")
            await worker.run("custom", custom_status='"half"')
            assert (await probe.state("custom")).serialized_custom_status == '"half"'
            await probe.transport.raise_event("custom", "Go")
            await worker.run("custom")
            assert (await probe.state("custom")).serialized_custom_status is None

    async def test_times_are_aware_utc_and_in_order(self, probe: Probe) -> None:
        """Created, updated and completed are aware UTC times that never decrease."""
        async with probe.worker() as worker:
            await probe.create("times")
            created = await probe.state("times")
            assert created.created_at.utcoffset() == timedelta(0)
            await probe.advance(1)
            await worker.run("times")
            running = await probe.state("times")
            assert running.runtime_status is OrchestrationStatus.RUNNING
            assert running.created_at == created.created_at
            assert running.last_updated_at > created.last_updated_at
            assert running.completed_at is None
            await probe.transport.raise_event("times", "Go")
            await worker.run("times", complete())
        done = await probe.state("times")
        assert done.completed_at is not None
        assert done.completed_at.utcoffset() == timedelta(0)
        assert created.created_at <= running.last_updated_at <= done.completed_at
