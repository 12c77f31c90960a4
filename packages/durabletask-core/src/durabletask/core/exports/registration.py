"""Export jobs among what every worker can run, under the names of all SDKs of the protocol.

Importing this module is cheap; what serves a job is imported when the first work item of one arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from durabletask.core.destinations import ExportDestination
from durabletask.core.registry import Registry
from durabletask.core.transport import Transport

from .forms import FORMS, HELPER

__all__ = ["add_exports"]


def add_exports(registry: Registry, transport: Transport, destination: ExportDestination | None) -> None:
    """Let a worker run export jobs.

    Args:
        registry: what the worker can run.
        transport: where instances are listed and their histories read.
        destination: where files go. Without one, exports fail with an error that says how to give it.
    """

    def part(name: str) -> Callable[[], Any]:
        def load() -> Any:
            from . import serving  # noqa: PLC0415 - most workers run no exports

            return getattr(serving, name)

        return load

    def activity(name: str) -> Callable[[], object]:
        return lambda: part(name)()(transport, destination)

    families = FORMS["dotnet"], FORMS["python"]
    registry.add_built_ins(
        orchestrators={
            HELPER: part("call_operation"),
            **{form.orchestrator: part("run_export") for form in families},
        },
        activities={
            **{form.list_activity: activity("PageLister") for form in families},
            **{form.export_activity: activity("HistoryExporter") for form in families},
        },
        entities={form.entity.lower(): part("serve_job") for form in families},
    )
