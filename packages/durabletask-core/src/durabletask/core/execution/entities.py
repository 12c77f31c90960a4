"""Runs a batch of entity operations (protocol section 11.4).

Each operation commits its state and messages, or undoes both when it fails; later operations still run.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from itertools import groupby
from time import monotonic
from typing import Final, NamedTuple, TypeAlias, cast

from durabletask.core import telemetry
from durabletask.core.entities import EntityId
from durabletask.core.entity_context import EntityContext, TaskEntity, declared_state_of
from durabletask.core.entity_state import DeclaredState
from durabletask.core.errors import SerializationError
from durabletask.core.failures import FailureDetails
from durabletask.core.history import EntityOperationCalled, EntityOperationSignaled
from durabletask.core.registry import Definition, Registry
from durabletask.core.serialization import DataConverter
from durabletask.core.times import utc_now
from durabletask.core.work_items import EntityBatchResult, EntityOperationResult, EntityWorkItem

from .runner import UserCodeRunner, await_code, call_plain, set_running_item

__all__ = ["EntityExecutor"]

_MOST_SECONDS: Final = 5.0  # of a batch; the operation that runs then is the last one
_MOST_BYTES: Final = 3 * 1024 * 1024
"""Of the results of a batch and its state; hubs take messages of 4 MiB unless they are configured."""

Operation: TypeAlias = "EntityOperationCalled | EntityOperationSignaled"


class EntityExecutor:
    """Runs entities of a registry."""

    def __init__(
        self,
        registry: Registry,
        converter: DataConverter,
        runner: UserCodeRunner,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._registry = registry
        self._now = now
        self._converter = converter
        self._runner = runner

    async def execute(self, item: EntityWorkItem) -> EntityBatchResult:
        """Run the operations in order; the answer has the success or failure of each.

        Plain functions that follow each other share one visit to a thread, which costs more than most of them.

        It ends early when it would not fit into a message, or takes long: its callers wait for it, and its lease ends some
        time. The hub delivers the other operations again.

        Raises:
            asyncio.CancelledError: the worker stops; the item is not answered.
        """
        entity_id = EntityId.parse(item.instance_id)
        context = EntityContext(entity_id, self._converter, item.state, now=self._now)
        batch = _Batch(context)
        with set_running_item(item.completion_token):
            for is_plain, operations in groupby(item.operations, partial(self._is_plain, entity_id)):
                if is_plain:
                    work = partial(self._run_plain, asyncio.get_running_loop())
                    await self._runner.call(work, False, batch, list(operations))
                else:
                    await self._run(batch, operations)
                if batch.is_over:
                    break
        return EntityBatchResult(
            instance_id=item.instance_id,
            results=batch.results,
            actions=context._actions,  # noqa: SLF001 - the context is the executor's own
            state=context._text,  # noqa: SLF001
            operations=item.operations,
            completion_token=item.completion_token,
        )

    def _is_plain(self, entity_id: EntityId, operation: Operation) -> bool:
        """Whether a plain function runs the operation. One that cannot be called fails without a thread."""
        try:
            called, _ = self._called(entity_id, operation.operation)
        except Exception:  # noqa: BLE001 - the same error is reported where the operation is run
            return False
        return not inspect.iscoroutinefunction(called.function)

    def _called(self, entity_id: EntityId, operation: str) -> tuple[Definition, type | None]:
        """What runs an operation, and the class of the entity; ``None`` for a function."""
        definition = self._registry.entity(entity_id.name)
        kind = definition.target
        return (definition.operation(operation), kind) if isinstance(kind, type) else (definition, None)

    async def _run(self, batch: _Batch, operations: Iterable[Operation]) -> None:
        for operation in operations:
            with self._running(batch, operation) as outcome:
                call = self._prepare(operation, batch.context)
                outcome.result = call.finish(await await_code(call.start()))
            if batch.is_over:
                break

    def _run_plain(self, loop: asyncio.AbstractEventLoop, given: object, operations: object) -> None:
        """The same for plain functions, in a thread."""
        batch = cast("_Batch", given)
        for operation in cast("list[Operation]", operations):
            with self._running(batch, operation) as outcome:
                call = self._prepare(operation, batch.context)
                value = call_plain(call.called.invoke, call.receiver, call.value)
                # A plain function may return a coroutine (functools.partial of one, a decorator, ...).
                if inspect.isawaitable(value):
                    value = asyncio.run_coroutine_threadsafe(await_code(value), loop).result()
                outcome.result = call.finish(value)
            if batch.is_over or self._runner.is_stopping:
                break

    @contextmanager
    def _running(self, batch: _Batch, operation: Operation) -> Iterator[_Outcome]:
        """Run the body as an operation of a batch, which fails by an error of the body."""
        outcome, context = _Outcome(), batch.context
        try:
            with (
                telemetry.running_operation(context.entity_id, operation.operation, operation.trace_context),
                context._running(operation.operation),  # noqa: SLF001
            ):
                yield outcome
        except BaseException as error:  # noqa: BLE001 - the boundary to user code; `failure_of` lets some pass
            outcome.result, outcome.failure = None, self._runner.failure_of(error)
        batch.add(outcome.reported())

    def _prepare(self, operation: Operation, context: EntityContext) -> _OperationCall:
        called, kind = self._called(context.entity_id, operation.operation)
        receiver: object = context
        declared: DeclaredState | None = None
        if kind is not None:
            entity = cast("TaskEntity[object]", kind())
            entity._context = context  # noqa: SLF001
            receiver = entity
            if called.function is not TaskEntity.delete:  # which works on a state that cannot be read, too
                declared = declared_state_of(kind)
            if declared is not None:
                declared.load(entity, context)
        value = called.read_input(operation.input, self._converter.deserialize)
        return _OperationCall(called, receiver, value, declared, context, self._converter)


class _Batch:
    """The results of a batch so far."""

    __slots__ = ("_end", "_size", "context", "results")

    def __init__(self, context: EntityContext) -> None:
        self.context = context
        self.results: list[EntityOperationResult] = []
        self._size = 0
        self._end = monotonic() + _MOST_SECONDS

    def add(self, result: EntityOperationResult) -> None:
        """The next operation has ended."""
        self.results.append(result)
        self._size += len((result.result or "").encode())

    @property
    def is_over(self) -> bool:
        """Whether the other operations have to wait for another batch."""
        state = self.context._text or ""  # noqa: SLF001 - the context is the executor's own
        return self._size + len(state) > _MOST_BYTES or monotonic() >= self._end


class _Outcome:
    """How an operation has ended."""

    __slots__ = ("_started_at", "failure", "result")

    def __init__(self) -> None:
        self.result: str | None = None
        self.failure: FailureDetails | None = None
        self._started_at = utc_now()

    def reported(self) -> EntityOperationResult:
        """The answer for the hub."""
        return EntityOperationResult(
            result=self.result, failure=self.failure, started_at=self._started_at, ended_at=utc_now()
        )


class _OperationCall(NamedTuple):
    """One operation, ready to be called: what to call, on which object, with which input."""

    called: Definition
    receiver: object
    value: object
    declared: DeclaredState | None
    context: EntityContext
    converter: DataConverter

    def start(self) -> object:
        """Call the code; the result or something to await."""
        return self.called.invoke(self.receiver, self.value)

    def finish(self, result: object) -> str | None:
        """Take over the state that the code has left, and serialize its result."""
        if self.declared is not None:
            self.declared.store(self.receiver, self.context)
        try:
            return self.converter.serialize(result)
        except SerializationError as error:
            entity = self.context.entity_id.name
            subject = f"operation {self.context.operation!r} of entity {entity!r} ({self.called.location})"
            raise SerializationError(f"Result of {subject}: {error}") from None
