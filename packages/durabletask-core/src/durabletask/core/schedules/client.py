"""``client.schedules``: recurring orchestrations of a task hub.

A change is an operation of the schedule's entity. A helper orchestration calls it, so the change is answered and an
error of the entity is raised here. Reading needs no worker.
"""

# ruff: noqa: A002 - "input" is the protocol's word; "list" and "next" are methods

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, overload

from typing_extensions import Unpack

from durabletask.core.arguments import as_count, as_members, as_name, as_optional_text, as_time
from durabletask.core.built_ins import run_helper
from durabletask.core.entities import EntityId, EntityMetadata
from durabletask.core.entity_client import EntityClient
from durabletask.core.errors import (
    DurableTaskError,
    InstanceNotFoundError,
    InvalidArgumentError,
    InvalidOperationError,
    InvalidRequestError,
    SerializationError,
    TaskFailedError,
    TransportTimeoutError,
)
from durabletask.core.instances import OrchestrationState, OrchestrationStatus, checked_instance_id
from durabletask.core.logs import get_logger
from durabletask.core.options import check_options
from durabletask.core.paging import AsyncPages
from durabletask.core.registry import check_input_given, name_of
from durabletask.core.reprs import WithPayloads
from durabletask.core.serialization import DataConverter
from durabletask.core.transport import Transport

from .configuration import ScheduleArguments, as_request, as_schedule_id, merged
from .registration import CRON_ENTITY, EXECUTE_OPERATION, INTERVAL_ENTITY
from .state import (
    Overlap,
    Plain,
    ScheduleConfiguration,
    ScheduleOptions,
    ScheduleProgress,
    ScheduleState,
    ScheduleStatus,
    read_state,
    to_timedelta,
)

InputT = TypeVar("InputT")

if TYPE_CHECKING:
    from durabletask.core.context import PlainClass, PlainCode, PlainWithoutInput

    TakesNone: TypeAlias = PlainWithoutInput[object]
    TakesInput: TypeAlias = PlainCode[InputT, object] | PlainClass[InputT, object]

__all__ = ["Schedule", "ScheduleChanges", "ScheduleSpec", "Schedules"]

_logger = get_logger("durabletask.schedules")

_OPERATION_TIMEOUT: Final = timedelta(seconds=60)
_DEFAULTS: Final[ScheduleArguments] = {
    "time_zone": "UTC",
    "start_at": None,
    "end_at": None,
    "instance_id": None,
    "overlap": "skip",
    "catch_up": 0.0,
    "jitter": 0.0,
    "limit": None,
    "pause_on_failure": False,
    "start_immediately_if_late": False,
    "version": None,
}


class ScheduleChanges(ScheduleArguments, total=False):
    """What ``Schedules.update`` changes: members of ``ScheduleArguments``, and these.

    Attributes:
        orchestrator: the orchestrator to start, or its name.
        input: input of every run.
    """

    orchestrator: object
    input: object


class ScheduleSpec:
    """A schedule as it should be, for ``Schedules.apply``; the arguments are those of ``Schedules.create``."""

    __slots__ = ("arguments", "input", "orchestrator", "schedule_id")

    @overload
    def __init__(
        self,
        schedule_id: str,
        orchestrator: TakesInput[InputT],
        input: InputT,
        **arguments: Unpack[ScheduleArguments],
    ) -> None: ...
    @overload
    def __init__(
        self,
        schedule_id: str,
        orchestrator: str | TakesNone,
        input: object = None,
        **arguments: Unpack[ScheduleArguments],
    ) -> None: ...
    def __init__(
        self,
        schedule_id: str,
        orchestrator: object,
        input: object = None,
        **arguments: Unpack[ScheduleArguments],
    ) -> None:
        check_options(self, ScheduleArguments, arguments)
        self.schedule_id: str = as_schedule_id(schedule_id)
        self.orchestrator: object = orchestrator
        self.input: object = input
        self.arguments: ScheduleArguments = arguments

    def __repr__(self) -> str:
        return f"ScheduleSpec({self.schedule_id!r}, {name_of(self.orchestrator)!r})"


class Schedule(WithPayloads, frozen=True, kw_only=True):
    """A schedule as it is.

    Attributes:
        schedule_id: its id.
        status: active or paused.
        orchestrator: name of the orchestrator that it starts.
        serialized_input: input of the runs, as JSON text.
        every: interval of an interval schedule.
        start_at: no run before this time.
        end_at: no run after this time.
        start_immediately_if_late: whether an interval whose start has passed runs at once for the first time.
        options: all other settings.
        created_at: when it was created.
        last_modified_at: when it was changed last.
        last_run_at: scheduled time of the last run.
        next_run_at: scheduled time of the next run; ``None`` when there is none.
        progress: counts, and the runs that go on.
    """

    schedule_id: str
    status: ScheduleStatus
    orchestrator: str
    serialized_input: str | None
    every: timedelta | None
    start_at: datetime | None
    end_at: datetime | None
    start_immediately_if_late: bool
    options: ScheduleOptions
    created_at: datetime | None
    last_modified_at: datetime | None
    last_run_at: datetime | None
    next_run_at: datetime | None
    progress: ScheduleProgress

    @property
    def entity_id(self) -> EntityId:
        """Id of its entity."""
        return EntityId(INTERVAL_ENTITY if self.cron is None else CRON_ENTITY, self.schedule_id)

    @property
    def cron(self) -> str | None:
        """Expression of a cron schedule."""
        return self.options.cron

    @property
    def time_zone(self) -> str:
        """Time zone of the expression."""
        return self.options.time_zone

    @property
    def overlap(self) -> Overlap:
        """What happens to a run that is due while the one before it has not ended."""
        return self.options.overlap

    @property
    def started(self) -> int:
        """How many runs were started at their scheduled times."""
        return self.progress.started

    @property
    def skipped(self) -> int:
        """How many runs were skipped because the one before had not ended."""
        return self.progress.skipped

    @property
    def running(self) -> tuple[str, ...]:
        """Instance ids of the runs that have not ended. Empty where ends do not matter to the schedule."""
        return tuple(self.progress.running)

    @property
    def last_failure(self) -> str | None:
        """Instance id of the last run that did not complete, where ends matter."""
        return self.progress.last_failure


class Schedules:
    """The schedules of a task hub; ``client.schedules``."""

    def __init__(self, entities: EntityClient, transport: Transport, converter: DataConverter) -> None:
        self._entities = entities
        self._transport = transport
        self._converter = converter

    @overload
    async def create(
        self,
        schedule_id: str,
        orchestrator: TakesInput[InputT],
        input: InputT,
        **arguments: Unpack[ScheduleArguments],
    ) -> Schedule: ...
    @overload
    async def create(
        self,
        schedule_id: str,
        orchestrator: str | TakesNone,
        input: object = None,
        **arguments: Unpack[ScheduleArguments],
    ) -> Schedule: ...
    async def create(
        self,
        schedule_id: str,
        orchestrator: object,
        input: object = None,
        **arguments: Unpack[ScheduleArguments],
    ) -> Schedule:
        """Create a schedule, or give one that exists this configuration.

        A schedule that has this configuration stays as it is, so a program may create its schedules at every start.

        Args:
            schedule_id: id of the schedule.
            orchestrator: the orchestrator to start, or its name.
            input: input of every run.
            **arguments: when and how it runs, see ``ScheduleArguments``. One of ``cron`` and ``every`` is needed.

        Raises:
            InvalidRequestError: an argument is not valid; the message names it, and nothing has changed.
            TransportTimeoutError: no worker has answered within a minute.
        """
        target: Any = orchestrator  # checked by the overloads
        spec = ScheduleSpec(schedule_id, target, input, **arguments)
        end = self._checked(spec)[1].end_at
        if end is not None and end < self._transport.now():
            raise InvalidRequestError(
                f"Schedule {schedule_id!r} has ended before it begins: end_at={end.isoformat()}."
            )
        return await self._put(spec)

    async def update(self, schedule_id: str, **changes: Unpack[ScheduleChanges]) -> Schedule:
        """Change what is given of a schedule and leave the rest. The next run stays unless its time changes.

        Args:
            schedule_id: id of the schedule.
            **changes: see ``ScheduleChanges``. ``None`` for no ``start_at``, ``end_at``, ``limit``, ...

        Raises:
            InstanceNotFoundError: there is no such schedule.
            InvalidRequestError: a change is not valid; the message names it, and nothing has changed.
            TransportTimeoutError: no worker has answered within a minute.
        """
        check_options(self, ScheduleChanges, changes)
        entity_id, state = await self._find(schedule_id)
        request = self._request(schedule_id, dict(changes))
        configuration = state.schedule_configuration
        if configuration is not None:
            if (changes.get("cron") is not None and configuration.options.cron is None) or (
                changes.get("every") is not None and configuration.options.cron is not None
            ):
                raise InvalidRequestError(
                    f"Schedule {schedule_id!r} cannot change between cron= and every=. Create it anew."
                )
            merged(_without_input(request), configuration)
        await self._call(entity_id, "update_schedule", request)
        return await self._described(schedule_id)

    async def apply(
        self, specs: Iterable[ScheduleSpec], *, delete_others: bool = False
    ) -> Sequence[Schedule]:
        """Make the schedules of the hub what ``specs`` says: create what is missing, change what differs.

        All are checked before any is changed. Specs whose ``end_at`` has passed are left out.

        Args:
            specs: the schedules.
            delete_others: also delete every schedule that is not among them.
        """
        wanted = _by_id(specs)
        configurations = {key: self._checked(spec)[1] for key, spec in wanted.items()}
        now = self._transport.now()
        applied: list[Schedule] = []
        for schedule_id, spec in wanted.items():
            end = configurations[schedule_id].end_at
            if end is None or end > now:
                applied.append(await self._put(spec))
        if delete_others:
            others = [each.schedule_id async for each in self.list() if each.schedule_id not in wanted]
            for schedule_id in others:
                await self.delete(schedule_id)
        return applied

    async def pause(self, schedule_id: str) -> None:
        """Start no more runs until ``resume``. Runs that have begun go on.

        Raises:
            InstanceNotFoundError: there is no such schedule.
            InvalidOperationError: it is paused.
        """
        await self._call_existing(schedule_id, "pause_schedule")

    async def resume(self, schedule_id: str) -> None:
        """Go on with the next run. Runs that were due meanwhile are not made up for; see ``backfill``.

        Raises:
            InstanceNotFoundError: there is no such schedule.
            InvalidOperationError: it is not paused.
        """
        await self._call_existing(schedule_id, "resume_schedule")

    async def delete(self, schedule_id: str) -> None:
        """Delete a schedule. Runs that have begun go on.

        Raises:
            InstanceNotFoundError: there is no such schedule.
        """
        schedule_id, is_there = as_schedule_id(schedule_id), False
        for kind in (INTERVAL_ENTITY, CRON_ENTITY):
            metadata = await self._entities.get_entity(EntityId(kind, schedule_id))
            if metadata is not None and metadata.serialized_state is not None:  # which need not be readable
                is_there = True
                await self._call(metadata.entity_id, "delete")
        if not is_there:
            raise _missing(schedule_id)

    async def trigger(self, schedule_id: str) -> str | None:
        """Start a run now, besides the scheduled ones, and return its instance id.

        ``overlap`` applies: the result is ``None`` if the run is skipped, or buffered until the one before it ends.

        Raises:
            InstanceNotFoundError: there is no such schedule.
        """
        result = await self._call_existing(schedule_id, "trigger_schedule")
        return result if isinstance(result, str) else None

    async def backfill(self, schedule_id: str, first: datetime, last: datetime) -> Sequence[str]:
        """Start the runs of a time that has passed and return their instance ids.

        They start at once, whatever ``overlap`` says. A run whose id is in use, because it was started before, is not
        started again.

        Args:
            schedule_id: id of the schedule.
            first: beginning of the time, included.
            last: end of the time, included; not in the future.

        Raises:
            InstanceNotFoundError: there is no such schedule.
            InvalidRequestError: the times make no sense, or ask for more than 1,000 runs.
        """
        window = {"first": as_time(first, "first"), "last": as_time(last, "last")}
        missing = [name for name, time in window.items() if time is None]
        if missing:
            raise InvalidArgumentError(f"{missing[0]} must be a datetime, not None.")
        result = await self._call_existing(schedule_id, "backfill_schedule", window)
        return [str(run_id) for run_id in result] if isinstance(result, (tuple, list)) else []

    async def get(self, schedule_id: str) -> Schedule | None:
        """A schedule, or ``None`` if there is none of that id."""
        try:
            return await self._described(schedule_id)
        except InstanceNotFoundError:
            return None

    def list(
        self, *, prefix: str = "", status: ScheduleStatus | Literal["active", "paused"] | None = None
    ) -> AsyncPages[Schedule]:
        """All schedules: ``async for schedule in client.schedules.list()``.

        One whose state cannot be read is left out, with a warning in the log.

        Args:
            prefix: only ids that begin with this text.
            status: only schedules with this status.
        """
        beginning = as_optional_text(prefix, "prefix") or ""
        wanted = as_members(status, ScheduleStatus, "status") or tuple(ScheduleStatus)
        kinds = {None: (INTERVAL_ENTITY, CRON_ENTITY), CRON_ENTITY: (CRON_ENTITY, None)}

        async def fetch(token: str | None) -> tuple[Sequence[Schedule], str | None]:
            kind, following = kinds[token]
            found: Sequence[Schedule] = [
                schedule
                async for metadata in self._entities.query_entities(instance_id_prefix=f"@{kind}@{beginning}")
                if (schedule := _listed(metadata, self._converter)) is not None and schedule.status in wanted
            ]
            return found, following

        return AsyncPages(fetch)

    async def next(self, schedule_id: str, count: int = 5) -> Sequence[datetime]:
        """The scheduled times of the next runs; none while the schedule is paused.

        Raises:
            InstanceNotFoundError: there is no such schedule.
        """
        count = as_count(count, "count", least=1)
        _, state = await self._find(schedule_id)
        configuration, due = state.schedule_configuration, state.next_run_at
        if configuration is None or due is None:
            return []
        timing = configuration.timing(state.schedule_created_at or due)
        limit, end = configuration.options.limit, configuration.end_at
        if limit is not None:
            count = min(count, limit - state.progress.started)
        runs = [due, *timing.take(due, count - 1)]
        return [run for run in runs if end is None or run <= end]

    # --- parts ---------------------------------------------------------------------------------------------

    async def _find(self, schedule_id: str) -> tuple[EntityId, ScheduleState]:
        schedule_id = as_schedule_id(schedule_id)
        for kind in (INTERVAL_ENTITY, CRON_ENTITY):
            entity_id = EntityId(kind, schedule_id)
            metadata = await self._entities.get_entity(entity_id)
            state = ScheduleState() if metadata is None else _state_of(metadata, self._converter)
            if state.schedule_configuration is not None:
                return entity_id, state
        raise _missing(schedule_id)

    async def _described(self, schedule_id: str) -> Schedule:
        entity_id, state = await self._find(schedule_id)
        schedule = _description(entity_id, state)
        assert schedule is not None  # noqa: S101 - `_find` returns schedules that exist
        return schedule

    def _request(self, schedule_id: str, changes: Plain) -> Plain:
        """The input of an operation from the members of ``ScheduleChanges``."""
        request: Plain = {"schedule_id": schedule_id}
        if "orchestrator" in changes:
            name = name_of(changes.pop("orchestrator"))
            request["orchestration_name"] = as_name(name, "The name of the orchestrator")
        is_given, value = "input" in changes, changes.pop("input", None)
        request.update(as_request(changes))
        if value is None and is_given:
            request["cleared"].append("orchestration_input")
        elif is_given:
            try:
                self._converter.serialize(value)
            except SerializationError as error:
                raise SerializationError(f"Input of schedule {schedule_id!r}: {error}") from error
            request["orchestration_input"] = value
        return request

    def _checked(self, spec: ScheduleSpec) -> tuple[Plain, ScheduleConfiguration]:
        """The input of ``create_schedule`` for a spec, and the configuration that it makes, but for the input."""
        changes = {**_DEFAULTS, **spec.arguments, "orchestrator": spec.orchestrator, "input": spec.input}
        request = self._request(spec.schedule_id, changes)
        if spec.input is None:
            check_input_given(spec.orchestrator, request["orchestration_name"])
        blank = ScheduleConfiguration(schedule_id=spec.schedule_id, orchestration_name="")
        configuration = merged(_without_input(request), blank)
        run_id = configuration.run_id(datetime(2000, 1, 1, tzinfo=timezone.utc))
        checked_instance_id(run_id, self._transport.maximum_instance_id_length)
        return request, configuration

    async def _put(self, spec: ScheduleSpec) -> Schedule:
        request, configuration = self._checked(spec)
        kinds = (CRON_ENTITY, INTERVAL_ENTITY)
        kind, other = kinds if configuration.options.cron is not None else reversed(kinds)
        if await self._entities.get_entity(EntityId(other, spec.schedule_id)) is not None:
            await self._call(EntityId(other, spec.schedule_id), "delete")
        await self._call(EntityId(kind, spec.schedule_id), "create_schedule", request)
        return await self._described(spec.schedule_id)

    async def _call_existing(self, schedule_id: str, operation: str, given: object = None) -> object:
        entity_id, _ = await self._find(schedule_id)
        return await self._call(entity_id, operation, given)

    async def _call(self, entity_id: EntityId, operation: str, given: object = None) -> object:
        """Call an operation through the helper orchestration, and return its result."""
        request = {"entity_id": str(entity_id), "operation_name": operation, "input": given}
        payload = self._converter.serialize(request)
        state = await run_helper(self._transport, EXECUTE_OPERATION, payload, _OPERATION_TIMEOUT)
        if state is None:
            raise TransportTimeoutError(
                f"No worker has answered {operation!r} of schedule {entity_id.key!r} within "
                f"{_OPERATION_TIMEOUT.seconds} s; it may still happen. Check that a worker of this task hub is running."
            )
        if state.runtime_status is OrchestrationStatus.COMPLETED:
            return self._converter.deserialize(state.serialized_output, None)
        raise _failure_of(state, operation, entity_id.key)


def _failure_of(state: OrchestrationState, operation: str, schedule_id: str) -> DurableTaskError:
    """What a call raises whose helper has not completed: the error of the entity, where clients know its class."""
    details = state.failure_details
    if details is None:
        return InvalidOperationError(
            f"{operation!r} of schedule {schedule_id!r} ended as {state.runtime_status.name}."
        )
    for error in (InvalidRequestError, InvalidOperationError):
        if details.root_cause.matches(error):
            return error(details.root_cause.message)
    return TaskFailedError(details.message, details, task_name=operation)


def _missing(schedule_id: str) -> InstanceNotFoundError:
    return InstanceNotFoundError(f"There is no schedule {schedule_id!r} in this task hub.")


def _state_of(metadata: EntityMetadata, converter: DataConverter) -> ScheduleState:
    return read_state(converter.deserialize(metadata.serialized_state, None), metadata.entity_id.key)


def _listed(metadata: EntityMetadata, converter: DataConverter) -> Schedule | None:
    try:
        return _description(metadata.entity_id, _state_of(metadata, converter))
    except ValueError:
        _logger.warning(
            "%s is left out: its state cannot be read. get() raises the reason.", metadata.entity_id
        )
        return None


def _by_id(specs: Iterable[ScheduleSpec]) -> dict[str, ScheduleSpec]:
    wanted: dict[str, ScheduleSpec] = {}
    for spec in specs:
        if not isinstance(spec, ScheduleSpec):
            raise InvalidArgumentError(f"specs must be of ScheduleSpec, not {type(spec).__name__}.")
        if wanted.setdefault(spec.schedule_id, spec) is not spec:
            raise InvalidRequestError(f"specs has two schedules {spec.schedule_id!r}. Leave one of them out.")
    return wanted


def _without_input(request: Plain) -> Plain:
    """A request without the input of the runs, which is a value of the program until the converter writes it."""
    return {name: value for name, value in request.items() if name != "orchestration_input"}


def _description(entity_id: EntityId, state: ScheduleState) -> Schedule | None:
    configuration = state.schedule_configuration
    if configuration is None:
        return None
    return Schedule(
        schedule_id=entity_id.key,
        status=ScheduleStatus(state.status),
        orchestrator=configuration.orchestration_name,
        serialized_input=configuration.orchestration_input,
        every=None if configuration.interval is None else to_timedelta(configuration.interval),
        start_at=configuration.start_at,
        end_at=configuration.end_at,
        start_immediately_if_late=configuration.start_immediately_if_late,
        options=configuration.options,
        created_at=state.schedule_created_at,
        last_modified_at=state.schedule_last_modified_at,
        last_run_at=state.last_run_at,
        next_run_at=state.next_run_at,
        progress=state.progress,
    )
