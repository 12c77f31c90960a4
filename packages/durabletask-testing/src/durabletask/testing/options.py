"""The options of test environments, and the types of what they run.

``OrchestrationTestEnvironment``, its blocking twin and the fixture ``durable_env`` take the same options, which are
declared here once. The aliases are the three forms of an orchestrator, with and without an input, for overloads: a
checker then knows the type of the output, and refuses an input that does not fit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeAlias, Union

from durabletask.core.context import OrchestrationContext, RunsAsync, RunsSync, RunsYielding
from durabletask.core.registry import Registrations
from durabletask.core.serialization import DataConverter
from durabletask.core.versioning import VersioningOptions
from typing_extensions import Never, TypedDict, TypeVar

from .faults import Chaos

__all__ = [
    "AsyncOperation",
    "AsyncOperationWithoutInput",
    "AsyncOrchestrator",
    "AsyncWithoutInput",
    "EntityOptions",
    "EnvironmentOptions",
    "InputT",
    "OutputT",
    "PlainOperation",
    "PlainOperationWithoutInput",
    "PlainOrchestrator",
    "PlainWithoutInput",
    "RunOptions",
    "StartOptions",
    "YieldingOrchestrator",
    "YieldingWithoutInput",
]

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT", default=Any)

AsyncOrchestrator: TypeAlias = Union[
    Callable[[OrchestrationContext, InputT], Awaitable[OutputT]], RunsAsync[InputT, OutputT]
]
"""An ``async def`` orchestrator."""

YieldingOrchestrator: TypeAlias = Union[
    Callable[[OrchestrationContext, InputT], Generator[object, Never, OutputT]], RunsYielding[InputT, OutputT]
]
"""An orchestrator that yields its tasks."""

PlainOrchestrator: TypeAlias = Union[
    Callable[[OrchestrationContext, InputT], OutputT], RunsSync[InputT, OutputT]
]
"""An orchestrator that waits for nothing."""

AsyncWithoutInput: TypeAlias = Callable[[OrchestrationContext], Awaitable[OutputT]]
YieldingWithoutInput: TypeAlias = Callable[[OrchestrationContext], Generator[object, Never, OutputT]]
PlainWithoutInput: TypeAlias = Callable[[OrchestrationContext], OutputT]

AsyncOperation: TypeAlias = Callable[[Any, InputT], Awaitable[OutputT]]
"""An ``async def`` method of an entity class, or one with the decorator ``operation``."""

PlainOperation: TypeAlias = Callable[[Any, InputT], OutputT]
AsyncOperationWithoutInput: TypeAlias = Callable[[Any], Awaitable[OutputT]]
PlainOperationWithoutInput: TypeAlias = Callable[[Any], OutputT]


class EnvironmentOptions(TypedDict, total=False):
    """Options of a test environment.

    Attributes:
        orchestrators: what the worker can run; as for ``DurableTaskWorker``.
        activities: likewise. Activities that are not given need a fake.
        entities: likewise.
        start_time: the first virtual time; 2026-01-01 UTC by default.
        strict: fail orchestrations for every deviation from their history and for tasks never awaited; the default.
        data_converter: how values become payloads.
        versioning: which versions of orchestrations the worker accepts.
        chaos: faults for everything that runs in this environment.
    """

    orchestrators: Registrations
    activities: Registrations
    entities: Registrations
    start_time: datetime | None
    strict: bool
    data_converter: DataConverter | None
    versioning: VersioningOptions | None
    chaos: Chaos | None


class EntityOptions(TypedDict, total=False):
    """Options of a test environment of one entity.

    Attributes:
        state: the state to begin with: an object of a class with attributes, or what is written as its state.
        start_time: the first virtual time; 2026-01-01 UTC by default.
        data_converter: how values become payloads.
    """

    state: object
    start_time: datetime | None
    data_converter: DataConverter | None


class StartOptions(TypedDict, total=False):
    """Options of ``start``.

    Attributes:
        instance_id: an id of your choice.
        version: version of the instance.
        tags: tags of the instance.
        start_at: not before this (virtual) time, or this long from now.
    """

    instance_id: str | None
    version: str | None
    tags: Mapping[str, str] | None
    start_at: datetime | timedelta | None


class RunOptions(TypedDict, total=False):
    """Options of ``run``.

    Attributes:
        instance_id: an id of your choice.
        events: external events to raise after the start, in order: name and data.
        chaos: run twice more, without and with these faults, and compare the ends.
    """

    instance_id: str | None
    events: Iterable[tuple[str, object]]
    chaos: Chaos | None
