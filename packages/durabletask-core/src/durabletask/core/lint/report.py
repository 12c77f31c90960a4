"""What a worker does with the linter at its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import lint

if TYPE_CHECKING:
    import logging

    from durabletask.core.registry import Registry

__all__ = ["log_findings"]


def log_findings(registry: Registry, logger: logging.Logger, done: set[str]) -> None:
    """Lint the registered orchestrators that are not in ``done``, add them, and log each finding as a warning."""
    for name in [each for each in registry.orchestrator_names if each not in done]:
        done.add(name)
        for finding in lint(registry.orchestrator(name).function):
            logger.warning("Orchestrator %r: %s", name, finding)
