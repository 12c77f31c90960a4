"""``OrchestrationContext``: everything an orchestrator may do.

The engine implements this class (``durabletask.core.replay``); people annotate with it. All methods that
schedule something return at once: the action is sent to the hub when the orchestrator waits or ends.

The overloads make calls typed. Given a function or a class, a checker knows the type of the result and
refuses an input of another type; given a name, the result is ``Any`` unless ``return_type`` is given.
"""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

import logging
import random
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Generator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from typing_extensions import Never, TypeVar

from .callables import RunsAsync, RunsSync, RunsYielding
from .entity_calls import EntityCalls, EntityLock, EntityLockTask
from .retry import RetryPolicy
from .tasks import Awaitables, Member, Task

if TYPE_CHECKING:
    from .authoring import ActivityContext

__all__ = [
    "EntityLock",
    "EntityLockTask",
    "OrchestrationContext",
    "RunsAsync",
    "RunsSync",
    "RunsYielding",
    "seeded_random",
]

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
T6 = TypeVar("T6")
InputT = TypeVar("InputT")
LoggerT = TypeVar("LoggerT", bound="logging.Logger | logging.LoggerAdapter[logging.Logger]")
OutputT = TypeVar("OutputT")


class OrchestrationContext(EntityCalls):
    """What an orchestrator gets as its first argument.

    Every value it returns is the same on replay. Use its clock, UUIDs and random numbers instead of the
    system's, and activities for everything that touches the outside world.
    """

    __slots__ = ()

    # --- who and when ------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def instance_id(self) -> str:
        """Id of this instance."""

    @property
    @abstractmethod
    def execution_id(self) -> str | None:
        """Id of this execution of the instance, if the hub gives one; continue-as-new changes it."""

    @property
    @abstractmethod
    def parent_instance_id(self) -> str | None:
        """Id of the orchestration that started this one as its child."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name under which this orchestrator was started."""

    @property
    @abstractmethod
    def version(self) -> str | None:
        """Version of this instance."""

    @property
    @abstractmethod
    def tags(self) -> Mapping[str, str]:
        """Tags of this instance."""

    @property
    @abstractmethod
    def is_replaying(self) -> bool:
        """Whether the code is running over recorded history. Never let results depend on it."""

    @property
    @abstractmethod
    def current_utc_datetime(self) -> datetime:
        """The orchestration's clock: aware UTC, the time at which the hub started the current episode."""

    @abstractmethod
    def new_uuid(self) -> str:
        """A UUID that is the same on every replay."""

    @property
    @abstractmethod
    def random(self) -> random.Random:
        """Random numbers that are the same on every replay, seeded by instance and execution."""

    @property
    @abstractmethod
    def logger(self) -> logging.Logger:
        """A logger that is silent during replay."""

    @abstractmethod
    def create_replay_safe_logger(self, logger: LoggerT) -> LoggerT:
        """A logger, or adapter of a logger, that passes records on to ``logger``, except during replay."""

    # Classes have overloads of their own: Pyright cannot solve a union of a class and a callable.
    # --- activities --------------------------------------------------------------------------------------

    @overload
    def call_activity(
        self,
        activity: str,
        input: object = None,
        *,
        return_type: type[OutputT],
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @overload
    def call_activity(
        self,
        activity: str,
        input: object = None,
        *,
        return_type: object = None,  # unions and other special forms, of which checkers know no type
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[Any]: ...
    @overload
    def call_activity(
        self,
        activity: type[RunsAsync[InputT, OutputT, ActivityContext]],
        input: InputT,
        *,
        return_type: object = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @overload
    def call_activity(
        self,
        activity: Callable[[ActivityContext, InputT], Awaitable[OutputT]]
        | RunsAsync[InputT, OutputT, ActivityContext],
        input: InputT,
        *,
        return_type: object = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @overload
    def call_activity(
        self,
        activity: type[RunsSync[InputT, OutputT, ActivityContext]],
        input: InputT,
        *,
        return_type: object = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @overload
    def call_activity(
        self,
        activity: Callable[[ActivityContext, InputT], OutputT] | RunsSync[InputT, OutputT, ActivityContext],
        input: InputT,
        *,
        return_type: object = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @overload
    def call_activity(
        self,
        activity: Callable[[ActivityContext], Awaitable[OutputT]],
        *,
        return_type: object = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @overload
    def call_activity(
        self,
        activity: Callable[[ActivityContext], OutputT],
        *,
        return_type: object = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @abstractmethod
    def call_activity(
        self,
        activity: object,
        input: object = None,
        *,
        return_type: object = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[Any]:
        """Run an activity.

        Args:
            activity: the activity's function, class or object, or its registered name.
            input: serialized at once; changing it afterwards has no effect.
            return_type: what the result is converted to; by default the function's return annotation, or
                plain JSON values for a name.
            retry_policy: when and how often to try again after a failure.
            tags: passed to the activity and shown by tools.
            version: passed to the activity; the version of this instance by default.

        Returns:
            A task that ends with the activity's result or fails with ``TaskFailedError``.
        """

    # --- sub-orchestrations ------------------------------------------------------------------------------

    @overload
    def call_sub_orchestrator(
        self,
        orchestrator: str,
        input: object = None,
        *,
        return_type: type[OutputT],
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @overload
    def call_sub_orchestrator(
        self,
        orchestrator: str,
        input: object = None,
        *,
        return_type: object = None,  # unions and other special forms, of which checkers know no type
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[Any]: ...
    @overload
    def call_sub_orchestrator(
        self,
        orchestrator: AsyncClass[InputT, OutputT],
        input: InputT,
        *,
        return_type: object = None,
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @overload
    def call_sub_orchestrator(
        self,
        orchestrator: AsyncCode[InputT, OutputT],
        input: InputT,
        *,
        return_type: object = None,
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @overload
    def call_sub_orchestrator(
        self,
        orchestrator: YieldingClass[InputT, OutputT],
        input: InputT,
        *,
        return_type: object = None,
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @overload
    def call_sub_orchestrator(
        self,
        orchestrator: YieldingCode[InputT, OutputT],
        input: InputT,
        *,
        return_type: object = None,
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @overload
    def call_sub_orchestrator(
        self,
        orchestrator: PlainClass[InputT, OutputT],
        input: InputT,
        *,
        return_type: object = None,
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @overload
    def call_sub_orchestrator(
        self,
        orchestrator: PlainCode[InputT, OutputT],
        input: InputT,
        *,
        return_type: object = None,
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @overload
    def call_sub_orchestrator(
        self,
        orchestrator: AsyncWithoutInput[OutputT],
        *,
        return_type: object = None,
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @overload
    def call_sub_orchestrator(
        self,
        orchestrator: YieldingWithoutInput[OutputT],
        *,
        return_type: object = None,
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @overload
    def call_sub_orchestrator(
        self,
        orchestrator: PlainWithoutInput[OutputT],
        *,
        return_type: object = None,
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[OutputT]: ...
    @abstractmethod
    def call_sub_orchestrator(
        self,
        orchestrator: object,
        input: object = None,
        *,
        return_type: object = None,
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[Any]:
        """Start a child orchestration and wait for its result.

        Args:
            orchestrator: the child's function, class or object, or its registered name.
            input: serialized at once.
            return_type: as for ``call_activity``.
            instance_id: id of the child; by default one that never repeats, even after continue-as-new.
            retry_policy: when and how often to start it again after a failure, under the same id.
            tags: tags of the child.
            version: version of the child; the worker's default version by default.
        """

    # --- time and events ---------------------------------------------------------------------------------

    @abstractmethod
    def create_timer(self, fire_at: datetime | timedelta | float) -> Task[None]:
        """A durable timer: until a time (naive ones are UTC), or for a delay (a number is in seconds)."""

    @overload
    def wait_for_external_event(
        self, name: str, data_type: type[T], timeout: timedelta | float | None = None
    ) -> Task[T]: ...
    @overload
    def wait_for_external_event(
        self, name: str, data_type: object = None, timeout: timedelta | float | None = None
    ) -> Task[Any]: ...
    @abstractmethod
    def wait_for_external_event(
        self, name: str, data_type: object = None, timeout: timedelta | float | None = None
    ) -> Task[Any]:
        """Wait for an event of that name, in any spelling of upper and lower case.

        Events that came earlier and were not waited for are served first, oldest first. Several waits of one name
        are served in the order in which they were made; a wait that is no longer awaited is passed over.

        Args:
            name: name of the event.
            data_type: what the payload is converted to; plain JSON values by default.
            timeout: how long to wait on the orchestration's clock (a number is in seconds); afterwards the
                task fails with ``TimeoutError`` and takes no event.
        """

    @abstractmethod
    def send_event(self, instance_id: str, name: str, data: object = None) -> None:
        """Raise an event at another orchestration instance.

        Raises:
            ValueError: the id or the name is empty, or the id is that of an entity, which takes no events.
        """

    # --- the instance itself -----------------------------------------------------------------------------

    @abstractmethod
    def set_custom_status(self, custom_status: object) -> None:
        """Set the custom status that clients see; ``None`` clears it."""

    @abstractmethod
    def continue_as_new(
        self, new_input: object = None, *, save_events: bool = True, new_version: str | None = None
    ) -> None:
        """Start over with a new input and an empty history, once the orchestrator waits or ends.

        The first call of an execution stands; a later one changes nothing. Inside a critical section it unlocks
        the entities at once.

        Args:
            new_input: input of the next execution.
            save_events: hand unread events over to the next execution.
            new_version: version of the next execution; the present one by default.
        """

    # --- groups ------------------------------------------------------------------------------------------

    @overload
    def task_all(
        self,
        tasks: Awaitables[T],
        *,
        return_exceptions: Literal[False] = False,
        fail_fast: bool = True,
        limit: int | None = None,
    ) -> Task[list[T]]: ...
    @overload
    def task_all(
        self,
        tasks: Awaitables[T],
        *,
        return_exceptions: bool,
        fail_fast: bool = True,
        limit: int | None = None,
    ) -> Task[list[T | BaseException]]: ...
    @overload
    def task_all(
        self,
        first: Member[T1],
        second: Member[T2],
        /,
        *,
        return_exceptions: Literal[False] = False,
        fail_fast: bool = True,
        limit: int | None = None,
    ) -> Task[tuple[T1, T2]]: ...
    @overload
    def task_all(
        self,
        first: Member[T1],
        second: Member[T2],
        third: Member[T3],
        /,
        *,
        return_exceptions: Literal[False] = False,
        fail_fast: bool = True,
        limit: int | None = None,
    ) -> Task[tuple[T1, T2, T3]]: ...
    @overload
    def task_all(
        self,
        first: Member[T1],
        second: Member[T2],
        third: Member[T3],
        fourth: Member[T4],
        /,
        *,
        return_exceptions: Literal[False] = False,
        fail_fast: bool = True,
        limit: int | None = None,
    ) -> Task[tuple[T1, T2, T3, T4]]: ...
    @overload
    def task_all(
        self,
        first: Member[T1],
        second: Member[T2],
        third: Member[T3],
        fourth: Member[T4],
        fifth: Member[T5],
        /,
        *,
        return_exceptions: Literal[False] = False,
        fail_fast: bool = True,
        limit: int | None = None,
    ) -> Task[tuple[T1, T2, T3, T4, T5]]: ...
    @overload
    def task_all(
        self,
        first: Member[T1],
        second: Member[T2],
        third: Member[T3],
        fourth: Member[T4],
        fifth: Member[T5],
        sixth: Member[T6],
        /,
        *,
        return_exceptions: Literal[False] = False,
        fail_fast: bool = True,
        limit: int | None = None,
    ) -> Task[tuple[T1, T2, T3, T4, T5, T6]]: ...
    @overload
    def task_all(
        self,
        first: Member[T],
        second: Member[T],
        /,
        *more: Member[T],
        return_exceptions: Literal[False] = False,
        fail_fast: bool = True,
        limit: int | None = None,
    ) -> Task[tuple[T, ...]]: ...
    @overload
    def task_all(
        self,
        first: Member[T],
        second: Member[T],
        /,
        *more: Member[T],
        return_exceptions: bool,
        fail_fast: bool = True,
        limit: int | None = None,
    ) -> Task[tuple[T | BaseException, ...]]: ...
    @abstractmethod
    def task_all(
        self,
        tasks: object,
        *more: object,
        return_exceptions: bool = False,
        fail_fast: bool = True,
        limit: int | None = None,
    ) -> Task[Any]:
        """Wait for all of several tasks and coroutines; see ``durabletask.task_all``."""

    @abstractmethod
    def task_any(self, tasks: Awaitables[T]) -> Task[Task[T]]:
        """Wait for the first of several tasks and coroutines; see ``durabletask.task_any``."""


def seeded_random(seed: str) -> random.Random:
    """Random numbers that depend on ``seed`` only. Lives here because the engine itself imports no ``random``."""
    return random.Random(seed)  # noqa: S311 - wanted: reproducible, not secret


if TYPE_CHECKING:  # what orchestrators look like to checkers, for all methods that start them
    AsyncCode: TypeAlias = (
        Callable[[OrchestrationContext, InputT], Awaitable[OutputT]]
        | RunsAsync[InputT, OutputT, OrchestrationContext]
    )
    YieldingCode: TypeAlias = (
        Callable[[OrchestrationContext, InputT], Generator[object, Never, OutputT]]
        | RunsYielding[InputT, OutputT, OrchestrationContext]
    )
    PlainCode: TypeAlias = (
        Callable[[OrchestrationContext, InputT], OutputT] | RunsSync[InputT, OutputT, OrchestrationContext]
    )
    AsyncClass: TypeAlias = type[RunsAsync[InputT, OutputT, OrchestrationContext]]
    YieldingClass: TypeAlias = type[RunsYielding[InputT, OutputT, OrchestrationContext]]
    PlainClass: TypeAlias = type[RunsSync[InputT, OutputT, OrchestrationContext]]
    AsyncWithoutInput: TypeAlias = Callable[[OrchestrationContext], Awaitable[OutputT]]
    YieldingWithoutInput: TypeAlias = Callable[[OrchestrationContext], Generator[object, Never, OutputT]]
    PlainWithoutInput: TypeAlias = Callable[[OrchestrationContext], OutputT]
