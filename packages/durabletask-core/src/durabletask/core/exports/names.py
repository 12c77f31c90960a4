"""What the SDKs of the protocol call the parts of an export job. Every worker imports this module."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["DOTNET", "HELPER", "PYTHON", "Names"]

HELPER: Final = "ExecuteExportJobOperationOrchestrator"
"""Name of the orchestration by which clients call an operation of the entity; the one of Python sends signals."""


class Names(NamedTuple):
    """What a family of SDKs calls the parts of a job."""

    entity: str
    orchestrator: str
    list_activity: str
    export_activity: str


DOTNET: Final = Names(
    "ExportJob", "ExportJobOrchestrator", "ListTerminalInstancesActivity", "ExportInstanceHistoryActivity"
)
"""The names of .NET, JavaScript and Java."""

PYTHON: Final = Names(
    "ExportJobEntity", "export_job_orchestrator", "list_terminal_instances", "export_instance_history"
)
"""The names of Python."""
