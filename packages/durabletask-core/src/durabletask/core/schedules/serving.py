"""What workers run for schedules: the entity, helper orchestrations and their activities.

The entity finds the function of ``transitions`` for an operation and carries out its effects. State and effects are
committed together, so a crash loses neither and doubles neither. Operations are found without regard to case and
underscores: ``CreateSchedule`` and ``create_schedule`` are the same.

An entity cannot ask whether an orchestration has ended. Where that matters to the schedule, ``run_and_report`` starts
the run as its child and signals the end. A run that is terminated, or whose orchestrator is not registered, is reported
like any other. ``check_run`` reports in place of a helper that was lost. Each helper purges those that have ended, so a
schedule leaves no more of them in the hub than runs go on, and the last one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypedDict

import msgspec

from durabletask.core.authoring import ActivityContext
from durabletask.core.built_ins import HELPER_PREFIX
from durabletask.core.context import OrchestrationContext
from durabletask.core.errors import (
    EntityOperationNotFoundError,
    InstanceAlreadyExistsError,
    InvalidRequestError,
    TaskFailedError,
    TransportError,
)
from durabletask.core.instances import PurgeInstance
from durabletask.core.logs import get_logger
from durabletask.core.retry import RetryPolicy
from durabletask.core.times import as_utc
from durabletask.core.transport import Transport

from . import transitions
from .configuration import merged
from .registration import CHECK_RUN, HAVE_ENDED, PURGE_HELPERS, RUN_AND_REPORT, STOP_RUNS
from .state import Plain, ScheduleConfiguration, ScheduleState, folded, read_state, write_state
from .transitions import CheckRun, DeleteSelf, RunAt, ScheduleChange, StartRun

if TYPE_CHECKING:
    from durabletask.core.entity_context import EntityContext

__all__ = [
    "EndCheck",
    "HelperPurge",
    "RunStopper",
    "check_run",
    "execute_operation",
    "run_and_report",
    "serve_schedule",
]

_logger = get_logger("durabletask.schedules")

_CHECK: Final = "-check"  # ends the id of the orchestration that checks the run of a helper
_RUNS_LATER: Final = "Schedule %s could not run; it tries again in %s."
_RETRY_OF_RUN: Final = timedelta(minutes=1)
_RETRY: Final = RetryPolicy(
    first_retry_interval=timedelta(seconds=1),
    max_number_of_attempts=20,
    backoff_coefficient=2.0,
    max_retry_interval=timedelta(minutes=1),
)


# --- the entity ------------------------------------------------------------------------------------------------


async def serve_schedule(ctx: EntityContext, input: object = None) -> object:  # noqa: A002 - the protocol's word
    """Every operation of a schedule, for ``@schedule@<id>`` and ``@cron-schedule@<id>``."""
    operation = folded(ctx.operation)
    if operation == "delete":
        ctx.delete_state()
        return None
    serve = _OPERATIONS.get(operation)
    if serve is None:
        raise EntityOperationNotFoundError(ctx.operation, [*_NAMES, "delete"])
    try:
        state = read_state(ctx.get_state(), ctx.entity_id.key)
    except ValueError:
        if serve is not _run:
            raise
        _logger.exception(_RUNS_LATER, ctx.entity_id, _RETRY_OF_RUN)
        _run_later(ctx, str(input))
        return None
    change, result = serve(ctx, state, input)
    if change.state is None:
        ctx.delete_state()
    elif change.state is not state:
        ctx.set_state(write_state(change.state))
    for effect in change.effects:
        _carry_out(ctx, change.state, effect)
    return result


def _carry_out(ctx: EntityContext, state: ScheduleState | None, effect: transitions.Effect) -> None:
    if isinstance(effect, RunAt):
        ctx.signal_entity(ctx.entity_id, "run_schedule", effect.token, at=effect.at)
    elif isinstance(effect, DeleteSelf):
        ctx.signal_entity(ctx.entity_id, "delete")
    elif isinstance(effect, CheckRun):
        check: _Check = {
            "helper": effect.helper_id,
            "schedule": str(ctx.entity_id),
            "instances": [f"{HELPER_PREFIX}{effect.helper_id}", effect.instance_id],
        }
        ctx.schedule_new_orchestration(
            CHECK_RUN, check, instance_id=f"{HELPER_PREFIX}{effect.helper_id}{_CHECK}"
        )
    elif state is not None and state.schedule_configuration is not None:
        _start(ctx, state.schedule_configuration, effect)


def _start(ctx: EntityContext, configuration: ScheduleConfiguration, effect: StartRun) -> None:
    name, version = configuration.orchestration_name, configuration.options.version
    argument = _input_of(configuration)
    if effect.helper_id is None:
        ctx.schedule_new_orchestration(
            name, argument, instance_id=effect.instance_id, start_at=effect.at, version=version
        )
        return
    order: _Order = {
        "helper": effect.helper_id,
        "schedule": str(ctx.entity_id),
        "run": effect.instance_id,
        "orchestrator": name,
        "input": argument,
        "version": version,
        "stopped": [f"{HELPER_PREFIX}{helper_id}" for helper_id in effect.stopped],
        "ended": [f"{HELPER_PREFIX}{helper_id}{end}" for helper_id in effect.ended for end in ("", _CHECK)],
    }
    ctx.schedule_new_orchestration(
        RUN_AND_REPORT, order, instance_id=f"{HELPER_PREFIX}{effect.helper_id}", start_at=effect.at
    )


def _input_of(configuration: ScheduleConfiguration) -> object:
    """The input of the runs. .NET schedules may hold a text that is not JSON, which then is the input itself."""
    text = configuration.orchestration_input
    try:
        return None if text is None else msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


# --- operations ------------------------------------------------------------------------------------------------

_Served = tuple[ScheduleChange, object]


def _new_id() -> str:
    return uuid.uuid4().hex


def _create(ctx: EntityContext, state: ScheduleState, given: object) -> _Served:
    configuration = merged(given, ScheduleConfiguration(schedule_id=ctx.entity_id.key, orchestration_name=""))
    return transitions.create(state, configuration, ctx.current_utc_datetime, _new_id), None


def _update(ctx: EntityContext, state: ScheduleState, given: object) -> _Served:
    old = state.schedule_configuration
    changed = (
        merged(given, old)
        if old is not None
        else ScheduleConfiguration(schedule_id=ctx.entity_id.key, orchestration_name="")
    )
    return transitions.update(state, changed, ctx.current_utc_datetime, _new_id), None


def _pause(ctx: EntityContext, state: ScheduleState, _given: object) -> _Served:
    return transitions.pause(state, ctx.current_utc_datetime, _new_id), None


def _resume(ctx: EntityContext, state: ScheduleState, _given: object) -> _Served:
    return transitions.resume(state, ctx.current_utc_datetime, _new_id), None


def _run(ctx: EntityContext, state: ScheduleState, given: object) -> _Served:
    token = str(given)
    try:
        return transitions.run(state, token, ctx.current_utc_datetime, _new_id), None
    except Exception:
        _logger.exception(_RUNS_LATER, ctx.entity_id, _RETRY_OF_RUN)
        _run_later(ctx, token)
        return ScheduleChange(state), None


def _run_later(ctx: EntityContext, token: str) -> None:
    """Try again what could not run.

    If the operation failed, its signal would be lost and the schedule would never run again. One reason is a worker
    without ``cronsim``, another a state of a later version; the next worker may do better.
    """
    _carry_out(ctx, None, RunAt(token, ctx.current_utc_datetime + _RETRY_OF_RUN))


def _trigger(ctx: EntityContext, state: ScheduleState, _given: object) -> _Served:
    return transitions.trigger(state, ctx.current_utc_datetime, _new_id)


def _backfill(ctx: EntityContext, state: ScheduleState, given: object) -> _Served:
    window = msgspec.convert(given, _Window)
    first, last = as_utc(window.first), as_utc(window.last)
    return transitions.backfill(state, first, last, ctx.current_utc_datetime, _new_id)


def _run_ended(ctx: EntityContext, state: ScheduleState, given: object) -> _Served:
    ended = msgspec.convert(given, _Ended)
    now = ctx.current_utc_datetime
    change = transitions.run_ended(state, ended.helper, succeeded=ended.succeeded, now=now, new_id=_new_id)
    return change, None


class _Window(msgspec.Struct, frozen=True):
    first: datetime
    last: datetime


class _Ended(msgspec.Struct, frozen=True):
    helper: str
    succeeded: bool


_NAMES: Final[Mapping[str, Callable[[EntityContext, ScheduleState, object], _Served]]] = {
    "create_schedule": _create,
    "update_schedule": _update,
    "pause_schedule": _pause,
    "resume_schedule": _resume,
    "run_schedule": _run,
    "trigger_schedule": _trigger,
    "backfill_schedule": _backfill,
    "run_ended": _run_ended,
}
_OPERATIONS: Final = {folded(name): serve for name, serve in _NAMES.items()}


# --- helper orchestrations and their activity --------------------------------------------------------------------


async def execute_operation(ctx: OrchestrationContext, request: Plain) -> object:
    """Call an operation of a schedule and return its result; clients of all SDKs start this for every change."""
    members = {folded(name): value for name, value in request.items()}
    try:
        entity_id, operation = members["entityid"], members["operationname"]
    except KeyError as error:
        raise InvalidRequestError(f"The request has no member {error}.") from None
    result: object = await ctx.call_entity(entity_id, operation, members.get("input"))
    return result


class _Order(TypedDict):
    """Input of ``run_and_report``."""

    helper: str
    schedule: str
    run: str
    orchestrator: str
    input: object
    version: str | None
    stopped: list[str]
    ended: list[str]


async def run_and_report(ctx: OrchestrationContext, order: _Order) -> None:
    """Start a run, wait for its end, and report it to the schedule. Runs to be stopped are terminated first."""
    succeeded = True
    if order["ended"]:
        # Not awaited, because a run waits for nothing but its time, and its report for nothing but its end.
        ctx.call_activity(PURGE_HELPERS, order["ended"]).detach()
    try:
        if order["stopped"]:
            await ctx.call_activity(STOP_RUNS, order["stopped"], retry_policy=_RETRY)
        await ctx.call_sub_orchestrator(
            order["orchestrator"], order["input"], instance_id=order["run"], version=order["version"]
        )
    except TaskFailedError as error:
        # An id that is in use is that of the same run, which was started before.
        succeeded = error.details.root_cause.matches(InstanceAlreadyExistsError)
    ctx.signal_entity(order["schedule"], "run_ended", {"helper": order["helper"], "succeeded": succeeded})


class _Check(TypedDict):
    """Input of ``check_run``."""

    helper: str
    schedule: str
    instances: list[str]


async def check_run(ctx: OrchestrationContext, check: _Check) -> None:
    """Report a run that has ended, and whose helper has ended as well.

    A helper reports in its last episode, before this one can see that it has ended. The schedule ignores the second
    report of a run.
    """
    if await ctx.call_activity(HAVE_ENDED, check["instances"], retry_policy=_RETRY):
        ctx.signal_entity(check["schedule"], "run_ended", {"helper": check["helper"], "succeeded": False})


class EndCheck:
    """The activity that checks whether all of some orchestrations have ended or do not exist."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def run(self, _ctx: ActivityContext, instance_ids: list[str]) -> bool:
        """Look at their states."""
        for instance_id in instance_ids:
            state = await self._transport.get_instance(instance_id, include_payloads=False)
            if state is not None and not state.is_finished:
                return False
        return True


class RunStopper:
    """The activity that terminates helpers of runs, and with them the runs, which are their children."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def run(self, _ctx: ActivityContext, helper_ids: list[str]) -> None:
        """Terminate what has not ended."""
        for helper_id in helper_ids:
            await self._transport.terminate_instance(
                helper_id, output='"Terminated for the next run of its schedule."', recursive=True
            )


class HelperPurge:
    """The activity that purges helpers which have ended, and what has checked their runs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def run(self, _ctx: ActivityContext, instance_ids: list[str]) -> None:
        """Purge them and leave the runs, which are their children. A failure leaves a few helpers in the hub."""
        with suppress(TransportError):
            for instance_id in instance_ids:
                await self._transport.purge_instances(PurgeInstance(instance_id=instance_id))
