"""Stand-ins for entities, and the record of every operation.

``EntityFakes`` stands between the worker and the recorder of a test environment. Operations of an entity with a fake
never reach the worker. The hub knows nothing of that: it queues, locks and delivers as always. A fake has no state of its
own, and leaves the one that the hub has as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from datetime import datetime
from typing import TypeAlias, Union

from durabletask.core.definitions import Definition, EntityDefinition, find_operation, name_of, operations_of
from durabletask.core.entities import EntityId
from durabletask.core.errors import (
    EntityNotRegisteredError,
    EntityOperationNotFoundError,
    RegistrationError,
    SerializationError,
    nearest_names,
)
from durabletask.core.execution.runner import set_running_item
from durabletask.core.failures import FailureDetails
from durabletask.core.history import EntityOperationCalled, EntityOperationSignaled
from durabletask.core.operations import operation_of
from durabletask.core.registry import Registry
from durabletask.core.replay.annotations import declared_result
from durabletask.core.serialization import DataConverter
from durabletask.core.transport import Transport
from durabletask.core.work_items import (
    EntityBatchResult,
    EntityOperationResult,
    EntityWorkItem,
    WorkItem,
    WorkItemStreamOptions,
)

from .fakes import RecordedCall, RecordedCalls, Script, SideEffect, is_typo, refused
from .wrapping import WrappedTransport

__all__ = ["EntityFakes", "FakeEntity", "FakeOperation", "OperationCall"]

__tracebackhide__ = True  # pytest shows the line of the test instead

_Operation: TypeAlias = Union[EntityOperationCalled, EntityOperationSignaled]


class OperationCall(RecordedCall, kw_only=True):
    """One call or signal of an entity as the task hub delivered it.

    Attributes:
        entity_id: the entity.
        operation: name of the operation.
        is_signal: whether it was sent without waiting for an answer.
        instance_id: the orchestration that called; ``None`` for a signal.
    """

    entity_id: EntityId
    operation: str
    is_signal: bool
    instance_id: str | None = None

    @property
    def origin(self) -> str:
        """The entity, for people."""
        return str(self.entity_id)


class FakeOperation(RecordedCalls[OperationCall]):
    """Answers one operation of a fake entity, and remembers calls and signals.

    Attributes:
        name: name of the operation.
        signals: the signals, with the same assertions: ``fake.operation("add").signals.assert_called_once_with(3)``.
    """

    def __init__(self, entity: str, name: str, script: Script, data_converter: DataConverter) -> None:
        subject = f"Operation {name!r} of entity {entity!r}"
        super().__init__(subject, "called", data_converter)
        self.name: str = name
        self.signals: RecordedCalls[OperationCall] = RecordedCalls(subject, "signalled", data_converter)
        self._entity = entity
        self._script = script

    def twin(self) -> FakeOperation:
        """The same operation with its outcomes unused."""
        return FakeOperation(self._entity, self.name, self._script.twin(), self._converter)

    async def answer(self, value: object) -> object:
        """The outcome of one call or signal.

        Raises:
            BaseException: what the side effect raises.
            AssertionError: there are more of them than outcomes.
        """
        return await self._script.answer(value)

    def __repr__(self) -> str:
        return f"<FakeOperation {self.name!r}, calls: {len(self.calls)}, signals: {len(self.signals.calls)}>"


class FakeEntity:
    """Answers the operations of all entities of one name in place of the real ones.

    Attributes:
        name: name of the entities.
        calls: every call and signal, in order, over all keys.
    """

    def __init__(self, name: str, kind: type | None, data_converter: DataConverter) -> None:
        self.name: str = name
        self.calls: list[OperationCall] = []
        self._kind = kind
        self._converter = data_converter
        self._operations: dict[str, FakeOperation] = {}

    def operation(
        self,
        operation: str | Callable[..., object],
        *,
        returns: object = None,
        side_effect: SideEffect = None,
    ) -> FakeOperation:
        """Answer an operation from now on.

        Args:
            operation: its name, or its method, such as ``Counter.add``.
            returns: the result of every call.
            side_effect: a function of the input (plain or ``async``), an exception to raise, or a list with
                one outcome per call or signal, in which exceptions are raised. The function gets the input as the
                operation does, converted to the annotation.

        Raises:
            EntityOperationNotFoundError: the entity's class has no such operation.
        """
        given = operation_of(operation)[0]
        name = given if isinstance(given, str) else name_of(given)
        if self._kind is not None and find_operation(self._kind, name) is None:
            raise EntityOperationNotFoundError(name, operations_of(self._kind))
        script = Script(f"operation {name!r} of entity {self.name!r}", returns, side_effect)
        fake = self._operations[name.casefold()] = FakeOperation(self.name, name, script, self._converter)
        return fake

    def twin(self) -> FakeEntity:
        """The same fake with its outcomes unused."""
        twin = FakeEntity(self.name, self._kind, self._converter)
        twin._operations = {name: fake.twin() for name, fake in self._operations.items()}
        return twin

    def note(self, call: OperationCall) -> None:
        """Remember a call or a signal."""
        self.calls.append(call)
        fake = self._operations.get(call.operation.casefold())
        if fake is not None:
            (fake.signals.calls if call.is_signal else fake.calls).append(call)

    def find(self, name: str) -> FakeOperation:
        """The operation of that name, without regard to case.

        Raises:
            AssertionError: the test has given none.
        """
        fake = self._operations.get(name.casefold())
        if fake is None:
            known = ", ".join(repr(each.name) for each in self._operations.values())
            raise AssertionError(
                f"The fake of entity {self.name!r} was not given an operation {name!r}; it has {known or 'none'}. Give it "
                f"one: fake.operation({name!r}, returns=...)."
            )
        return fake

    def __repr__(self) -> str:
        return f"<FakeEntity {self.name!r}, calls: {len(self.calls)}>"


class EntityFakes(WrappedTransport):
    """Answers the operations of faked entities, and records those of all entities.

    Args:
        inner: the recorder, which knows what is in flight.
        now: the virtual time.
        registry: what the worker can run.
        converter: how values become payloads.

    Attributes:
        calls: every operation, in the order of the first delivery.
        fakes: the fakes by name.
        unexpected: messages for signals that their fake has no operation for. Their senders get no answer.
        front: through what fakes answer: the outermost transport, so that faults meet them too.
    """

    def __init__(
        self, inner: Transport, *, now: Callable[[], datetime], registry: Registry, converter: DataConverter
    ) -> None:
        super().__init__(inner)
        self.calls: list[OperationCall] = []
        self.fakes: dict[str, FakeEntity] = {}
        self.unexpected: list[str] = []
        self.front: Transport = self
        self._now = now
        self._registry = registry
        self._converter = converter
        self._definitions: dict[str, EntityDefinition] = {}
        self._known: dict[tuple[str, str], OperationCall] = {}
        self._outcomes: dict[int, EntityOperationResult] = {}
        self._answering: set[asyncio.Task[None]] = set()

    def fake(self, entity: str | Callable[..., object]) -> FakeEntity:
        """Answer the operations of an entity in its place.

        Raises:
            EntityNotRegisteredError: a name that is not registered, but almost: the fake would never be called.
        """
        name = name_of(entity).lower()
        known = self._registry.entity_names
        near = nearest_names(name, known)
        if isinstance(entity, str) and name not in known and near and is_typo(name, near[0]):
            raise refused(
                EntityNotRegisteredError,
                name,
                f"No entity named {name!r} is registered, but {near[0]!r} is: the fake would never be called. Correct the "
                "name, or pass the class or function if both exist.",
            )
        if not isinstance(entity, str):
            self._definitions[name] = EntityDefinition(name, entity)
        definition = self._definition(name)
        kind = definition.target if definition is not None else None
        fake = FakeEntity(name, kind if isinstance(kind, type) else None, self._converter)
        self.fakes[name] = fake
        return fake

    def twin_into(self, twin: EntityFakes) -> None:
        """Give another one the same fakes, unused."""
        twin.fakes.update((name, fake.twin()) for name, fake in self.fakes.items())
        twin._definitions.update(self._definitions)

    def check(self) -> None:
        """Fail for signals that nothing has answered.

        Raises:
            AssertionError: a faked entity was sent a signal that it has no operation for.
        """
        if self.unexpected:
            raise AssertionError(self.unexpected[0])

    async def stop(self) -> None:
        """Cancel fakes that are still busy."""
        tasks = list(self._answering)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- what is known of an operation ------------------------------------------------------------------------

    def _definition(self, name: str) -> EntityDefinition | None:
        with suppress(EntityNotRegisteredError):
            return self._definitions.get(name) or self._registry.entity(name)
        return None

    def _operation(self, call: OperationCall) -> Definition | None:
        definition = self._definition(call.entity_id.name)
        if definition is None or not definition.is_class:
            return definition
        with suppress(EntityOperationNotFoundError, RegistrationError):
            return definition.operation(call.operation)
        return None

    def _read(self, payload: str | None, target: object) -> object:
        """A payload as user code gets it; plain JSON values if it does not fit, text if it is no JSON."""
        try:
            return self._converter.deserialize(payload, target)
        except SerializationError:
            return self._read(payload, None) if target is not None else payload

    # --- worker half ------------------------------------------------------------------------------------------

    async def work_items(self, options: WorkItemStreamOptions) -> AsyncGenerator[WorkItem, None]:
        """The stream without the batches of entities that are faked, or that the worker does not have."""
        stream = self.inner.work_items(options)
        try:
            async for item in stream:
                if isinstance(item, EntityWorkItem) and self._intercept(item):
                    continue
                yield item
        finally:
            await stream.aclose()

    def _intercept(self, item: EntityWorkItem) -> bool:
        entity_id = EntityId.parse(item.instance_id)
        calls = [self._note(entity_id, operation) for operation in item.operations]
        fake = self.fakes.get(entity_id.name)
        if fake is None and self._definition(entity_id.name) is not None:
            return False
        for call in calls:
            if fake is not None and call.deliveries == 1:
                fake.note(call)
        task = asyncio.ensure_future(self._answer(item, calls, fake))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        return True

    def _note(self, entity_id: EntityId, operation: _Operation) -> OperationCall:
        key = (str(entity_id), operation.request_id)
        call = self._known.get(key)
        if call is not None and call.ended_at is None:
            call.deliveries += 1
            return call
        call = OperationCall(
            entity_id=entity_id,
            operation=operation.operation,
            is_signal=isinstance(operation, EntityOperationSignaled),
            instance_id=operation.parent_instance_id
            if isinstance(operation, EntityOperationCalled)
            else None,
            started_at=self._now(),
            serialized_input=operation.input,
        )
        definition = self._operation(call)
        call.input = self._read(operation.input, definition.input_type if definition is not None else None)
        self._known[key] = call
        self.calls.append(call)
        return call

    async def _answer(
        self, item: EntityWorkItem, calls: list[OperationCall], fake: FakeEntity | None
    ) -> None:
        with set_running_item(item.completion_token):
            for call in calls:
                if id(call) not in self._outcomes:  # one that is delivered again has the same outcome
                    self._outcomes[id(call)] = await self._outcome(call, fake)
        await self.front.complete_entity(
            EntityBatchResult(
                instance_id=item.instance_id,
                results=[self._outcomes[id(call)] for call in calls],
                state=item.state,
                operations=item.operations,
                completion_token=item.completion_token,
            )
        )

    async def _outcome(self, call: OperationCall, fake: FakeEntity | None) -> EntityOperationResult:
        try:
            if fake is None:
                raise _not_registered(call.entity_id.name, self._registry)
            operation = fake.find(call.operation)
            definition = self._operation(call)
            read = self._converter.deserialize
            given = call.serialized_input
            value = definition.read_input(given, read) if definition is not None else read(given)
            return EntityOperationResult(result=self._converter.serialize(await operation.answer(value)))
        except Exception as error:  # noqa: BLE001 - what a fake raises is the outcome of the operation
            if call.is_signal and isinstance(error, AssertionError):
                self.unexpected.append(str(error))
            return EntityOperationResult(failure=FailureDetails.from_exception(error))

    async def complete_entity(self, result: EntityBatchResult) -> None:
        """Record the answers and pass them on."""
        for operation, outcome in zip(result.operations, result.results, strict=False):
            call = self._known.get((result.instance_id, operation.request_id))
            if call is not None and call.ended_at is None:
                definition = self._operation(call)
                target = declared_result(definition.function) if definition is not None else None
                call.set_result(self._read(outcome.result, target), outcome.failure, self._now())
        await super().complete_entity(result)


def _not_registered(name: str, registry: Registry) -> EntityNotRegisteredError:
    """The failure of an entity that is neither registered nor faked, with the line to write."""
    error = EntityNotRegisteredError(name, registry.entity_names)
    advice = f"In a test, give the environment the entity, or a stand-in: env.fake_entity({name!r})."
    return refused(EntityNotRegisteredError, name, f"{error} {advice}")
