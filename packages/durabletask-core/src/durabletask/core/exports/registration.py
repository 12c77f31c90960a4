"""Export jobs among what every worker can run, under the names of all SDKs of the protocol.

Every worker imports this module. What serves a job is imported when the first work item of one arrives.
"""

from __future__ import annotations

from types import ModuleType

from durabletask.core.destinations import ExportDestination
from durabletask.core.registry import Registry
from durabletask.core.transport import Transport

from .names import DOTNET, HELPER, PYTHON

__all__ = ["add_exports"]


def add_exports(registry: Registry, transport: Transport, destination: ExportDestination | None) -> None:
    """Let a worker run export jobs.

    Args:
        registry: what the worker can run.
        transport: where instances are listed and their histories read.
        destination: where files go. Without one, exports fail with an error that says how to give it.
    """

    def serving() -> ModuleType:
        from . import serving  # noqa: PLC0415 - most workers run no exports

        return serving

    families = DOTNET, PYTHON
    registry.add_built_ins(
        orchestrators={
            HELPER: lambda: serving().call_operation,
            **{names.orchestrator: lambda: serving().run_export for names in families},
        },
        activities={
            **{names.list_activity: lambda: serving().PageLister(transport) for names in families},
            **{
                names.export_activity: lambda: serving().HistoryExporter(transport, destination)
                for names in families
            },
        },
        entities={names.entity.lower(): lambda: serving().serve_job for names in families},
    )
