"""What a worker answers to batches of entity operations."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar, Final, Generic, TypeVar, cast

import attrs
import msgspec
import pydantic
import pytest
from durabletask.core.entities import EntityId
from durabletask.core.entity_context import EntityContext, TaskEntity
from durabletask.core.errors import RegistrationError
from durabletask.core.history import EntityOperationCalled, EntityOperationSignaled
from durabletask.core.registry import Registry
from durabletask.core.work_items import (
    EntityBatchResult,
    EntitySendSignal,
    EntityStartOrchestration,
    EntityWorkItem,
)
from durabletask.core.worker import DurableTaskWorker
from fake_transport import NOON, FakeTransport


@dataclass
class Cart:
    items: list[str] = field(default_factory=list)


class Counter(TaskEntity[int]):
    def initial_state(self) -> int:
        return 0

    async def add(self, amount: int) -> int:
        self.state += amount
        return self.state

    def get(self) -> int:
        return self.state

    async def fail_after_change(self, amount: int) -> None:
        self.state += amount
        self.context.signal_entity("@log@all", "note", amount)
        raise ValueError("no")

    async def tell(self, text: str) -> str:
        self.context.signal_entity("@log@all", "note", text)
        return self.context.schedule_new_orchestration("audit", text, instance_id="a-1")

    def _hidden(self) -> None: ...


class Carts(TaskEntity[Cart]):
    def initial_state(self) -> Cart:
        return Cart()

    def put(self, item: str) -> None:
        self.state.items.append(item)

    def look(self) -> list[str]:
        return self.state.items


async def register(ctx: EntityContext, value: object = None) -> object:
    """A function entity: all operations in one."""
    if ctx.operation == "set":
        ctx.set_state(value)
        return None
    return [ctx.get_state(), ctx.entity_id.key, ctx.has_state]


async def run(
    operations: Sequence[tuple[str, str | None]],
    *,
    entity: object = Counter,
    state: str | None = None,
    instance_id: str = "@counter@k",
    now: datetime | None = None,
) -> EntityBatchResult:
    transport = FakeTransport()
    if now is not None:
        transport.now = lambda: now  # type: ignore[method-assign]
    called = [
        EntityOperationCalled(-1, NOON, request_id=f"r{n}", operation=name, input=text)
        for n, (name, text) in enumerate(operations)
    ]
    async with DurableTaskWorker(transport, entities={"counter": entity}):
        transport.put(
            EntityWorkItem(instance_id=instance_id, operations=called, state=state, completion_token="t")
        )
        await transport.wait_for(1)
    (result,) = transport.completed
    assert isinstance(result, EntityBatchResult)
    assert (result.completion_token, result.operations, len(result.results)) == ("t", called, len(operations))
    return result


def results_of(batch: EntityBatchResult) -> list[str | None]:
    return [r.failure.error_type if r.failure is not None else r.result for r in batch.results]


async def test_operations_run_in_order_and_keep_the_state() -> None:
    """Methods of a class are operations, ``async`` or not."""
    batch = await run([("add", "2"), ("add", "3"), ("get", None)], state="10")

    assert results_of(batch) == ["12", "15", "15"]
    assert batch.state == "15"


async def test_a_failed_operation_undoes_its_state_and_messages() -> None:
    """What came before stays, what comes after still runs."""
    batch = await run([("add", "1"), ("fail_after_change", "50"), ("add", "1")])

    assert results_of(batch) == ["1", "builtins.ValueError", "2"]
    assert batch.state == "2"
    assert batch.actions == []


async def test_a_signal_that_no_hub_takes_fails_its_operation_only() -> None:
    """The hub would refuse the whole batch."""

    class Sender(TaskEntity):
        def send(self, key: str) -> None:
            self.context.signal_entity(EntityId("log", key), "note")

    batch = await run([("send", f'"{"k" * length}"') for length in (95, 96, 1)], entity=Sender)

    assert results_of(batch) == [None, "durabletask.core.errors.InvalidRequestError", None]
    assert [len(each.instance_id) for each in batch.actions] == [100, 6]


async def test_reading_an_initial_state_creates_nothing() -> None:
    """An entity that was only looked at does not exist."""
    assert (await run([("get", None)])).state is None


async def test_a_batch_ends_when_its_results_fill_a_message() -> None:
    """The hub delivers the other operations again; it would refuse a result that is too large."""

    class Text(TaskEntity):
        count: int = 0

        def repeat(self, times: int) -> str:
            self.count += 1
            return "x" * times

    transport = FakeTransport()
    operations = [
        EntityOperationSignaled(-1, NOON, request_id=str(n), operation="repeat", input="1000000")
        for n in range(6)
    ]
    async with DurableTaskWorker(transport, entities=[Text]):
        transport.put(EntityWorkItem(instance_id="@text@k", operations=operations, completion_token="t"))
        await transport.wait_for(1)
    (result,) = transport.completed

    assert isinstance(result, EntityBatchResult)
    assert [len(each.result or "") for each in result.results] == [1_000_002] * 4
    assert result.state == '{"count":4}'


async def test_a_batch_ends_when_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The callers of its operations get their answers at its end."""
    clock = 0.0

    class Slow(TaskEntity):
        count: int = 0

        async def work(self, seconds: float) -> int:
            nonlocal clock
            clock += seconds
            self.count += 1
            return self.count

    monkeypatch.setattr("durabletask.core.execution.entities.monotonic", lambda: clock)
    transport = FakeTransport()
    operations = [
        EntityOperationSignaled(-1, NOON, request_id=str(n), operation="work", input="2") for n in range(6)
    ]
    async with DurableTaskWorker(transport, entities=[Slow]):
        transport.put(EntityWorkItem(instance_id="@slow@k", operations=operations, completion_token="t"))
        await transport.wait_for(1)
    (result,) = transport.completed

    assert isinstance(result, EntityBatchResult)
    assert [each.result for each in result.results] == ["1", "2", "3"]
    assert result.state == '{"count":3}'


async def test_plain_operations_of_a_batch_share_a_thread() -> None:
    """Threads are changed between plain and ``async def`` operations only, and the order stays."""

    class Mixed(TaskEntity):
        threads: list[str] = []  # noqa: RUF012 - every entity gets a copy

        def plain(self) -> None:
            self.threads.append(threading.current_thread().name)

        async def waiting(self) -> None:
            self.threads.append("loop")

    batch = await run([("plain", None)] * 3 + [("waiting", None)] + [("plain", None)], entity=Mixed)

    assert batch.state is not None
    first, second, third, fourth, last = json.loads(batch.state)["threads"]
    assert first == second == third != threading.current_thread().name
    assert fourth == "loop"
    assert last != threading.current_thread().name


async def test_a_plain_operation_may_return_something_to_await() -> None:
    """As a decorator or ``functools.partial`` of a coroutine function does; the loop of the worker runs it."""

    async def later(amount: int) -> str:
        await asyncio.sleep(0)
        return f"{threading.current_thread() is threading.main_thread()} {amount}"

    class Wrapped(TaskEntity):
        value: int = 0

        def add(self, amount: int):
            self.value += amount
            return later(amount)

    batch = await run([("add", "2"), ("add", "3")], entity=Wrapped)

    assert results_of(batch) == ['"True 2"', '"True 3"']
    assert batch.state == '{"value":5}'


async def test_a_mutable_state_can_be_changed_in_place() -> None:
    """Also the initial one."""
    batch = await run([("put", '"apple"'), ("put", '"pear"'), ("look", None)], entity=Carts)

    assert results_of(batch) == [None, None, '["apple","pear"]']
    assert batch.state == '{"items":["apple","pear"]}'


async def test_delete_removes_the_state() -> None:
    """Every entity class has this operation."""
    batch = await run([("delete", None), ("get", None)], state="5")

    assert results_of(batch) == [None, "0"]
    assert batch.state is None


async def test_operation_names_are_found_in_any_spelling() -> None:
    """An exact name wins, otherwise case does not matter."""
    assert results_of(await run([("ADD", "2")])) == ["2"]


@pytest.mark.parametrize("name", ["ad", "_hidden", "state", "initial_state", "context"])
async def test_only_public_methods_are_operations(name: str) -> None:
    """Anything else is a final failure that lists the nearest."""
    (result,) = (await run([(name, None)])).results

    assert result.failure is not None
    assert result.failure.error_type.endswith("EntityOperationNotFoundError")
    assert result.failure.is_non_retriable


async def test_messages_come_in_order_with_ids() -> None:
    """Signals and new orchestrations are actions of the batch."""
    batch = await run([("tell", '"x"')])

    signal, start = batch.actions
    assert isinstance(signal, EntitySendSignal)
    assert (signal.id, signal.instance_id, signal.name, signal.input) == (0, "@log@all", "note", '"x"')
    assert isinstance(start, EntityStartOrchestration)
    assert (start.id, start.instance_id, start.name, start.input) == (1, "a-1", "audit", '"x"')
    assert results_of(batch) == ['"a-1"']


async def test_a_function_serves_all_operations() -> None:
    """It sees the operation in its context."""
    batch = await run([("look", None), ("set", '{"a":1}'), ("look", None)], entity=register)

    assert results_of(batch) == ['[null,"k",false]', None, '[{"a":1},"k",true]']
    assert batch.state == '{"a":1}'


async def test_a_state_that_was_read_or_set_before_is_converted_to_the_type_that_is_asked_for() -> None:
    """In the same operation; changes in place of the converted state are saved."""

    def carts(ctx: EntityContext, item: str) -> bool:
        if ctx.operation == "replace":
            ctx.set_state({"items": ["plum"]})
        else:
            ctx.get_state()
        ctx.get_state(Cart, Cart()).items.append(item)
        return ctx.get_state(Cart) is ctx.get_state()

    batch = await run([("put", '"pear"'), ("replace", '"fig"')], entity=carts, state='{"items":[]}')
    first = await run([("put", '"pear"')], entity=carts)
    wrong = await run([("put", '"pear"')], entity=carts, state="5")

    assert results_of(batch) == results_of(first) * 2 == ["true", "true"]
    assert batch.state == '{"items":["plum","fig"]}'
    assert first.state == '{"items":["pear"]}'
    assert wrong.results[0].failure is not None
    assert wrong.results[0].failure.message.startswith("State of entity @counter@k: ")


async def test_an_unknown_entity_fails_every_operation() -> None:
    """Final, with the nearest names; the state is handed back untouched."""
    batch = await run([("add", "1"), ("add", "2")], instance_id="@countr@k", state="7")

    kinds = [str(kind).rpartition(".")[2] for kind in results_of(batch)]
    assert kinds == ["EntityNotRegisteredError"] * 2
    assert batch.state == "7"


async def test_a_state_that_does_not_fit_is_a_failure_that_names_the_entity() -> None:
    """The state of another program is not silently replaced."""
    batch = await run([("get", None)], state='"text"')

    failure = batch.results[0].failure
    assert failure is not None
    assert "State of entity @counter@k" in failure.message
    assert batch.state == '"text"'


def test_a_class_without_the_base_is_refused() -> None:
    """Its attributes would look like state and be none."""

    class Plain:
        def add(self, amount: int) -> None: ...

    with pytest.raises(RegistrationError, match="must derive from TaskEntity"):
        DurableTaskWorker(FakeTransport(), entities=[Plain])


class Ledger(TaskEntity):
    """Attributes are the state."""

    limit: ClassVar[int] = 100

    balance: int = 0
    entries: list[Cart] = []  # noqa: RUF012 - a default is copied for each entity
    owner: str
    _hidden_note = ""

    def book(self, amount: int) -> int:
        self.balance += amount
        self.entries.append(Cart([str(amount)]))
        return self.balance

    async def own(self, owner: str) -> None:
        self.owner = owner

    def fail_after_change(self, amount: int) -> None:
        self.book(amount)
        raise ValueError("no")

    def look(self) -> list[object]:
        return [self.balance, [entry.items for entry in self.entries], getattr(self, "owner", None)]


class Savings(Ledger):
    rate: float = 0.5

    def balance_of(self) -> float:
        return self.balance * self.rate


async def test_annotated_attributes_are_the_state() -> None:
    """They are saved after each operation that succeeds, and converted to their types when they are read."""
    batch = await run([("book", "2"), ("own", '"ada"'), ("look", None)], entity=Ledger)
    again = await run([("book", "3"), ("look", None)], entity=Ledger, state=batch.state)

    assert results_of(batch) == ["2", None, '[2,[["2"]],"ada"]']
    assert batch.state == '{"balance":2,"entries":[{"items":["2"]}],"owner":"ada"}'
    assert results_of(again) == ["5", '[5,[["2"],["3"]],"ada"]']


class HasNotes:
    """A base that is no entity class declares state, too."""

    notes: list[str] = field(default_factory=list)


class Described(HasNotes, TaskEntity):
    """What dataclasses write, and constants."""

    MOST: Final[int] = 3
    KIND: Final = "described"
    count: int = field(default=1)

    def note(self, text: str) -> list[object]:
        self.notes.append(text)
        self.count += 1
        return [*self.notes, self.count, self.MOST, self.KIND]


async def test_defaults_may_be_written_as_in_a_dataclass_and_constants_are_no_state() -> None:
    """A default factory gives every entity a default of its own. Attributes of other bases are state as well."""
    batch = await run([("note", '"a"'), ("note", '"b"')], entity=Described)
    other = await run([("note", '"c"')], entity=Described)

    assert results_of(batch) == ['["a",2,3,"described"]', '["a","b",3,3,"described"]']
    assert batch.state == '{"notes":["a","b"],"count":3}'
    assert other.state == '{"notes":["c"],"count":2}'


async def test_a_failed_operation_undoes_changes_of_attributes() -> None:
    """Also those made in place; a default is not shared between entities or operations."""
    batch = await run([("fail_after_change", "50"), ("look", None), ("book", "1")], entity=Ledger)

    assert results_of(batch) == ["builtins.ValueError", "[0,[],null]", "1"]
    assert batch.state == '{"balance":1,"entries":[{"items":["1"]}]}'


async def test_an_entity_with_attributes_that_was_only_looked_at_does_not_exist() -> None:
    """The same rule as for ``initial_state``."""
    assert (await run([("look", None)], entity=Ledger)).state is None


async def test_delete_removes_the_attributes() -> None:
    """The next operation starts with the defaults."""
    batch = await run([("delete", None), ("look", None)], entity=Ledger, state='{"balance":7}')

    assert results_of(batch) == [None, "[0,[],null]"]
    assert batch.state is None


async def test_a_subclass_adds_attributes_and_reads_the_state_of_its_base() -> None:
    """What the stored state lacks takes its default."""
    batch = await run([("balance_of", None), ("book", "2")], entity=Savings, state='{"balance":4}')

    assert results_of(batch) == ["2.0", "6"]
    assert batch.state == '{"balance":6,"entries":[{"items":["2"]}],"rate":0.5}'


async def test_a_state_that_does_not_fit_the_attributes_is_a_failure_that_names_the_member() -> None:
    """The state is handed back as it was."""
    batch = await run([("look", None)], entity=Ledger, state='{"balance":"much"}')

    failure = batch.results[0].failure
    assert failure is not None
    assert "State of entity @counter@k" in failure.message
    assert "balance" in failure.message
    assert batch.state == '{"balance":"much"}'


@pytest.mark.parametrize("entity", [Ledger, Counter, Carts])
async def test_a_state_that_does_not_fit_can_be_deleted(entity: type) -> None:
    """Otherwise a change of the class could leave an entity that fails whatever it is sent."""
    batch = await run([("delete", None)], entity=entity, state='{"balance":"much","items":5}')

    assert results_of(batch) == [None]
    assert batch.state is None


class Person(TaskEntity):
    """An attribute called ``name`` is state, and not the name of the entity."""

    name: str = ""

    def call(self, name: str) -> None:
        self.name = name


class Renamed(TaskEntity):
    name: ClassVar[str] = "people"


def test_a_state_attribute_called_name_does_not_name_the_entity() -> None:
    """A class variable does, as for activities."""
    registry = Registry(entities=[Person, Renamed])

    assert registry.entity_names == ["person", "people"]


def test_an_attribute_that_every_entity_has_is_refused_where_the_class_is_written() -> None:
    """It could not be told from the member of ``TaskEntity``."""
    with pytest.raises(
        RegistrationError, match="declares the attribute 'signal', which is a member of every"
    ):

        class Wrong(TaskEntity):
            signal: int  # type: ignore[assignment]


async def test_a_failed_signal_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing waits for its answer. The failure of a call is its caller's."""
    transport = FakeTransport()
    operations = [
        EntityOperationSignaled(-1, NOON, request_id="1", operation="fail_after_change", input="1"),
        EntityOperationCalled(-1, NOON, request_id="2", operation="fail_after_change", input="1"),
    ]
    with caplog.at_level(logging.WARNING, "durabletask"):
        async with DurableTaskWorker(transport, entities=[Counter]):
            transport.put(
                EntityWorkItem(instance_id="@counter@k", operations=operations, completion_token="t")
            )
            await transport.wait_for(1)

    assert [record.getMessage() for record in caplog.records] == [
        "Signal fail_after_change of @counter@k failed: builtins.ValueError: no"
    ]


class Prefixed(TaskEntity[int]):
    """With a type parameter, annotations are no state."""

    step: int = 2

    def initial_state(self) -> int:
        return 0

    def up(self) -> int:
        self.state += self.step
        return self.state


class Untyped(TaskEntity):
    """With an initial state of its own, too."""

    step: int = 3

    def initial_state(self) -> int:
        return 0

    def up(self) -> int:
        self.state += self.step
        return int(self.state)


@pytest.mark.parametrize(("entity", "state"), [(Prefixed, "2"), (Untyped, "3")])
async def test_a_class_that_keeps_its_state_elsewhere_has_none_in_attributes(
    entity: type, state: str
) -> None:
    """The state is that of ``self.state``."""
    assert (await run([("up", None)], entity=entity)).state == state


class PydanticCart(pydantic.BaseModel):
    items: list[str] = []


@attrs.define
class AttrsCart:
    items: list[str] = attrs.field(factory=list)


class StructCart(msgspec.Struct):
    items: list[str] = []


@pytest.mark.parametrize("model", [Cart, PydanticCart, AttrsCart, StructCart])
async def test_models_of_every_kind_are_states(model: type) -> None:
    """As the type parameter, as a declared attribute, and in a function entity."""

    class Held(TaskEntity[model]):  # type: ignore[valid-type]
        def initial_state(self) -> object:
            return model()

        def put(self, item: str) -> int:
            self.state.items.append(item)
            return len(self.state.items)

    class Owner(TaskEntity):
        cart: model = model()  # type: ignore[valid-type]

        def put(self, item: str) -> int:
            self.cart.items.append(item)
            return len(self.cart.items)

    def put(ctx: EntityContext, item: str) -> int:
        cart = ctx.get_state(model, model())
        cart.items.append(item)
        return len(cart.items)

    for entity, before, after in [
        (Held, '{"items":["a"]}', '{"items":["a","b","c"]}'),
        (Owner, '{"cart":{"items":["a"]}}', '{"cart":{"items":["a","b","c"]}}'),
        (put, '{"items":["a"]}', '{"items":["a","b","c"]}'),
    ]:
        batch = await run([("put", '"b"'), ("put", '"c"')], entity=entity, state=before)
        assert results_of(batch) == ["2", "3"]
        assert batch.state == after


async def test_an_entity_signals_itself_and_reads_the_clock_of_the_hub() -> None:
    """``self.signal`` sends to the entity's own id; times count from the clock of the hub."""

    class Alarm(TaskEntity):
        rings: int = 0

        def start(self) -> str:
            self.signal.ring(1)
            self.context.signal_entity(self.entity_id, Alarm.ring, 2, at=60)
            return self.context.current_utc_datetime.isoformat()

        def ring(self, times: int) -> None:
            self.rings += times

    batch = await run([("start", None)], entity=Alarm, now=NOON)
    assert results_of(batch) == ['"2030-01-01T12:00:00+00:00"']
    assert [
        (each.instance_id, each.name, each.input, each.scheduled_time)  # type: ignore[union-attr]
        for each in batch.actions
    ] == [
        ("@counter@k", "ring", "1", None),
        ("@counter@k", "ring", "2", NOON + timedelta(minutes=1)),
    ]


@pytest.mark.parametrize(
    "name", ["_hidden", "context", "state", "initial_state", "signal", "entity_id", "ad"]
)
async def test_what_is_no_operation_fails_with_the_list_of_operations(name: str) -> None:
    """Names with an underscore and members of every entity are none."""
    (result,) = (await run([(name, None)])).results

    assert result.failure is not None
    assert result.failure.is_non_retriable
    assert result.failure.message == (
        f"The entity has no operation '{name}'. Its operations are: 'add', 'delete', 'fail_after_change', 'get', 'tell'."
    )


async def test_static_and_class_methods_are_no_operations() -> None:
    """They have no object to work on."""

    class Helped(TaskEntity):
        @staticmethod
        def halve(amount: int) -> int:
            return amount // 2

        @classmethod
        def of(cls, amount: int) -> int:
            return amount

        def spend(self, amount: int) -> int:
            return self.halve(amount)

    batch = await run([("halve", "4"), ("of", "4"), ("spend", "4")], entity=Helped)

    assert [each.failure and each.failure.message for each in batch.results] == [
        "The entity has no operation 'halve'. Its operations are: 'delete', 'spend'.",
        "The entity has no operation 'of'. Its operations are: 'delete', 'spend'.",
        None,
    ]


StateT = TypeVar("StateT")


class Register(TaskEntity[StateT], Generic[StateT]):
    """A base for entities of several types."""

    def write(self, value: object) -> None:
        self.state = cast("StateT", value)

    def kind(self) -> str:
        return type(self.state).__name__


class CartRegister(Register[Cart]): ...


class SpecialCartRegister(CartRegister): ...


@pytest.mark.parametrize(
    ("entity", "kind"), [(Register, "dict"), (CartRegister, "Cart"), (SpecialCartRegister, "Cart")]
)
async def test_the_type_of_a_state_comes_through_a_generic_base(entity: type, kind: str) -> None:
    """The parameter belongs to the base, the argument to a class that derives from it."""
    batch = await run([("write", '{"items":[]}'), ("kind", None)], entity=entity)

    assert results_of(batch) == [None, f'"{kind}"']


async def test_a_result_that_cannot_be_serialized_names_the_line_of_the_operation() -> None:
    """A class has many operations."""

    class Opaque(TaskEntity):
        def look(self) -> object:
            return object()

    (result,) = (await run([("look", None)], entity=Opaque)).results

    line = Opaque.look.__code__.co_firstlineno
    assert result.failure is not None
    assert result.failure.message.startswith(
        f"Result of operation 'look' of entity 'counter' ({__file__}:{line}): A value of type object"
    )


async def test_an_operation_with_two_inputs_fails_with_the_forms_that_are_possible() -> None:
    """In the words of methods."""

    class Wrong(TaskEntity):
        def move(self, source: str, target: str) -> None: ...

    (result,) = (await run([("move", None)], entity=Wrong)).results

    assert result.failure is not None
    assert "must take (self) or (self, input)" in result.failure.message
