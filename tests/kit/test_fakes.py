"""Fakes stand where the activity stands: same inputs, same values, and never in vain."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

import pytest
from durabletask import (
    ActivityContext,
    DataConverter,
    DurableTaskClient,
    DurableTaskWorker,
    JsonDataConverter,
    OrchestrationContext,
    TaskFailedError,
)
from durabletask.core.errors import ActivityNotRegisteredError, SerializationError
from durabletask.testing import ActivityTestEnvironment, InMemoryBackend, OrchestrationTestEnvironment
from durabletask.testing.sync import OrchestrationTestEnvironment as BlockingEnvironment
from pydantic import BaseModel


class Card(BaseModel):
    number: str
    limit: int = 10


@dataclass
class Receipt:
    card: str
    amount: int


async def charge_card(ctx: ActivityContext, card: Card) -> Receipt:
    raise NotImplementedError


async def pays(ctx: OrchestrationContext, number: str) -> Receipt:
    return await ctx.call_activity(charge_card, Card(number=number))


async def pays_by_name(ctx: OrchestrationContext, number: str) -> object:
    return await ctx.call_activity("charge_card", {"number": number})


@pytest.mark.parametrize("is_registered", [True, False], ids=["registered", "given as a function"])
async def test_a_fake_gets_what_the_activity_gets(is_registered: bool) -> None:
    """The side effect, ``inputs`` and ``calls`` have models where the activity has them, and so has the result."""
    activities = [charge_card] if is_registered else []
    async with OrchestrationTestEnvironment(orchestrators=[pays], activities=activities) as env:
        fake = env.fake(
            "charge_card" if is_registered else charge_card,
            side_effect=lambda card: Receipt(card.number, card.limit),
        )
        run = await env.start(pays, "42")
        assert await run.result() == Receipt("42", 10)
        assert run.state.output_as(Receipt) == Receipt("42", 10)
        assert fake.inputs == [Card(number="42")]
        assert [(call.input, call.result) for call in run.calls()] == [(Card(number="42"), Receipt("42", 10))]
        fake.assert_called_once_with(Card(number="42"))
        fake.assert_called_once_with({"number": "42", "limit": 10})
        with pytest.raises(AssertionError, match="once with"):
            fake.assert_called_once_with(Card(number="43"))


async def test_an_input_that_does_not_fit_fails_the_fake_as_it_fails_the_activity() -> None:
    """A fake does not hide that the real activity would be refused its input."""

    async def pays_nothing(ctx: OrchestrationContext) -> None:
        await ctx.call_activity("charge_card", {"limit": 1})

    async with OrchestrationTestEnvironment(orchestrators=[pays_nothing], activities=[charge_card]) as env:
        fake = env.fake("charge_card", returns=None)
        run = await env.start(pays_nothing)
        with pytest.raises(TaskFailedError, match="number"):
            await run.result()
        assert fake.inputs == [{"limit": 1}]


class Wrapping(DataConverter):
    """A converter whose payloads are no plain values."""

    def serialize(self, value: object) -> str | None:
        text = JsonDataConverter().serialize(value)
        return None if text is None else f"<{text}>"

    def deserialize(self, payload: str | None, target: object = None) -> object:
        return JsonDataConverter().deserialize(payload[1:-1] if payload else None, target)


async def test_one_converter_serves_all_that_a_test_sees() -> None:
    """With a converter of its own, calls, fakes, states and results are read by it."""
    async with OrchestrationTestEnvironment(
        orchestrators=[pays_by_name], activities=[charge_card], data_converter=Wrapping()
    ) as env:
        fake = env.fake("charge_card", side_effect=lambda card: Receipt(card.number, 1))
        run = await env.start(pays_by_name, "42")
        assert await run.result() == {"card": "42", "amount": 1}
        assert run.state.input == "42"
        assert run.state.output_as(Receipt) == Receipt("42", 1)
        assert (await run.completion()).output_as(Receipt) == Receipt("42", 1)
        fake.assert_called_once_with({"number": "42"})


async def test_a_state_reads_pydantic_models() -> None:
    """``run.state`` and ``completion`` convert as the client does."""

    async def issues(ctx: OrchestrationContext) -> Card:
        return Card(number="1")

    async with OrchestrationTestEnvironment(orchestrators=[issues]) as env:
        run = await env.start(issues)
        assert run.state.output_as(Card) == Card(number="1")
        assert (await run.completion()).output_as(Card) == Card(number="1")
        assert await run.result() == Card(number="1")


async def test_an_activity_that_runs_alone_gives_what_an_orchestrator_gets() -> None:
    """The result is converted to the return annotation."""

    async def draws(ctx: ActivityContext, number: str) -> Card:
        return Card(number=number)

    assert await ActivityTestEnvironment().run(draws, "7") == Card(number="7")


# --- names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["charge_crad", "chargecard", "Charge_Card", "charge_cards"])
def test_a_fake_of_a_misspelt_name_is_refused(name: str) -> None:
    """The real activity would run: the error has the name that was probably meant."""
    env = BlockingEnvironment(orchestrators=[pays], activities=[charge_card])
    with pytest.raises(ActivityNotRegisteredError, match=f"'{name}' is registered, but 'charge_card' is"):
        env.fake(name)


@pytest.mark.parametrize("name", ["refund", "step2", "charge"])
def test_a_fake_of_an_activity_that_is_not_registered_is_fine(name: str) -> None:
    """Other names may be called by the code, also those that differ by a number."""

    async def step1(ctx: ActivityContext) -> None: ...

    env = BlockingEnvironment(orchestrators=[pays], activities=[charge_card, step1])
    assert env.fake(name).name == name


def test_a_fake_of_an_orchestrator_is_refused() -> None:
    """Children run for real, so a fake of one would never be called."""
    env = BlockingEnvironment(orchestrators=[pays])
    with pytest.raises(ActivityNotRegisteredError, match="'pays' is an orchestrator"):
        env.fake(pays)


def test_an_unknown_option_names_the_nearest() -> None:
    """A misspelt option is refused in the words of workers and clients."""
    with pytest.raises(TypeError, match=r"no option 'activity'. Did you mean 'activities'"):
        BlockingEnvironment(activity=[charge_card])  # type: ignore[call-arg]


# --- loops and tracebacks -------------------------------------------------------------------------------------


async def test_the_blocking_environment_is_refused_where_a_loop_runs() -> None:
    """In an async test it would block the loop: the error names the other environment."""
    with pytest.raises(RuntimeError, match="use 'async with' and"), BlockingEnvironment():
        pass


async def test_an_environment_that_is_not_started_says_so() -> None:
    """Without ``async with`` no worker would ever run the orchestration."""
    with pytest.raises(RuntimeError, match="'async with' statement"):
        await OrchestrationTestEnvironment(orchestrators=[pays]).start(pays, "1")


@pytest.mark.parametrize(
    "use",
    [
        lambda: OrchestrationTestEnvironment().__aenter__(),
        lambda: DurableTaskWorker(InMemoryBackend()).start(),
        lambda: DurableTaskClient(InMemoryBackend()).get_orchestration_state("i"),
    ],
    ids=["environment", "worker", "client"],
)
def test_another_event_loop_gets_a_clear_error(use: Callable[[], Coroutine[object, None, object]]) -> None:
    """Under trio there is no loop of asyncio; a coroutine that is stepped by hand stands for it here."""
    with pytest.raises(RuntimeError, match="choose the backend 'asyncio'"):
        use().send(None)


def test_another_event_loop_gets_a_clear_error_of_an_embedded_hub() -> None:
    """The thread of the hub starts all the same, and ends with the client."""
    client = DurableTaskClient("Endpoint=memory://")
    with pytest.raises(RuntimeError, match="choose the backend 'asyncio'"):
        client.get_orchestration_state("i").send(None)
    asyncio.run(client.close())


async def test_a_state_without_a_converter_says_so() -> None:
    """A state straight from the hub reads plain types, and names the remedy for others."""

    async def issues(ctx: OrchestrationContext) -> Card:
        return Card(number="1")

    async with OrchestrationTestEnvironment(orchestrators=[issues]) as env:
        run = await env.start(issues)
        state = await env.hub.get_instance(run.instance_id)
    assert state is not None
    assert state.output_as(dict) == {"number": "1", "limit": 10}
    with pytest.raises(SerializationError, match="get it from a client"):
        state.output_as(Card)


@pytest.mark.process
def test_tracebacks_show_the_line_of_the_test(tmp_path: Path) -> None:
    """Frames of the kit and of asyncio are hidden, for fakes, results and checks, async and blocking."""
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "from durabletask.testing import assert_replays\n"
        "async def fails(ctx):\n"
        "    await ctx.call_activity('charge')\n"
        "async def stuck(ctx):\n"
        "    await ctx.wait_for_external_event('Never')\n"
        "def prepared(env):\n"
        "    env.fake('charge', side_effect=ValueError('declined'))\n"
        "    return env\n"
        "@pytest.mark.asyncio\n"
        "@pytest.mark.parametrize('flow', [fails, stuck])\n"
        "async def test_async(durable_env, flow):\n"
        "    async with durable_env(orchestrators=[flow]) as env:\n"
        "        await prepared(env).run(flow)\n"
        "@pytest.mark.parametrize('flow', [fails, stuck])\n"
        "def test_blocking(durable_env, flow):\n"
        "    with durable_env.blocking(orchestrators=[flow]) as env:\n"
        "        prepared(env).start(flow).result()\n"
        "def test_fake(durable_env):\n"
        "    with durable_env.blocking() as env:\n"
        "        env.fake('charge').assert_called_once_with(1)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path, check=False)
    assert "5 failed" in done.stdout
    assert "durabletask/testing/" not in done.stdout
    assert "asyncio/" not in done.stdout
