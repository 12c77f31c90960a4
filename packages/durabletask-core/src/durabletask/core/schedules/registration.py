"""The names under which every worker serves schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from durabletask.core.registry import Registry
from durabletask.core.transport import Transport

__all__ = [
    "CHECK_RUN",
    "CRON_ENTITY",
    "EXECUTE_OPERATION",
    "HAVE_ENDED",
    "INTERVAL_ENTITY",
    "PURGE_HELPERS",
    "RUN_AND_REPORT",
    "STOP_RUNS",
    "add_schedules",
]

INTERVAL_ENTITY: Final = "schedule"
"""Name of the entities of schedules with an interval, in all SDKs."""

CRON_ENTITY: Final = "cron-schedule"
"""Name of the entities of schedules with a cron expression, which only this SDK has."""

EXECUTE_OPERATION: Final = "execute_schedule_operation_orchestrator"
"""Name of the helper orchestration that clients start for every change; that of the Python SDKs."""

_EXECUTE_OPERATION_DOTNET: Final = "ExecuteScheduleOperationOrchestrator"

RUN_AND_REPORT: Final = "durabletask~run-and-report"
"""Name of the helper orchestration that starts a run as its child and reports its end to the schedule."""

CHECK_RUN: Final = "durabletask~check-run"
"""Name of the helper orchestration that reports the end of a run in place of a helper that was lost."""

HAVE_ENDED: Final = "durabletask~have-ended"
"""Name of the activity that checks whether orchestrations have ended."""

STOP_RUNS: Final = "durabletask~stop-runs"
"""Name of the activity that terminates runs."""

PURGE_HELPERS: Final = "durabletask~purge-helpers"
"""Name of the activity that purges helpers that have ended."""


def add_schedules(registry: Registry, transport: Transport) -> None:
    """Add what serves schedules to the registry of a worker. Its modules are imported when the first is needed."""

    def part(name: str) -> Callable[[], Any]:
        def load() -> Any:
            from . import serving  # noqa: PLC0415

            return getattr(serving, name)

        return load

    def activity(name: str) -> Callable[[], object]:
        return lambda: part(name)()(transport)

    registry.add_built_ins(
        orchestrators={
            EXECUTE_OPERATION: part("execute_operation"),
            _EXECUTE_OPERATION_DOTNET: part("execute_operation"),
            RUN_AND_REPORT: part("run_and_report"),
            CHECK_RUN: part("check_run"),
        },
        activities={
            STOP_RUNS: activity("RunStopper"),
            HAVE_ENDED: activity("EndCheck"),
            PURGE_HELPERS: activity("HelperPurge"),
        },
        entities=dict.fromkeys((INTERVAL_ENTITY, CRON_ENTITY), part("serve_schedule")),
    )
