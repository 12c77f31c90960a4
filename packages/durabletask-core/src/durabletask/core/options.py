"""The options of clients and workers: their names, types, defaults and meaning, for all classes that take them.

``DurableTaskClient``, ``DurableTaskWorker``, their blocking twins and the variants of other packages take
``**options: Unpack[ClientOptions]`` or ``Unpack[WorkerOptions]``, so a new option is added here and works in all of
them.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from typing_extensions import TypedDict

from .destinations import ExportDestination
from .errors import nearest_names
from .hosting.backoff import Backoff
from .hosting.limits import ConcurrencyOptions
from .registry import Registrations
from .serialization import DataConverter
from .versioning import VersioningOptions
from .work_items import WorkItemFilters

__all__ = [
    "LINT_VARIABLE",
    "WORKER_DEFAULTS",
    "ClientOptions",
    "WorkerOptions",
    "check_options",
    "wants_lint",
]

LINT_VARIABLE: str = "DURABLETASK_LINT"
"""``1`` switches the linter on for all workers of a process, ``0`` off; ``durabletask-emulator exec`` sets it."""


class ClientOptions(TypedDict, total=False):
    """Options of a client.

    Attributes:
        data_converter: how values become payloads; must be the one that workers use.
        default_version: version of orchestrations that are started without one.
        allow_insecure_credential: send tokens over plaintext to a host that is not this machine.
    """

    data_converter: DataConverter | None
    default_version: str | None
    allow_insecure_credential: bool


class WorkerOptions(TypedDict, total=False):
    """Options of a worker.

    Attributes:
        orchestrators: mapping of names to callables or objects with a ``run`` method, or a sequence.
        activities: likewise.
        entities: mapping of names to functions or classes, or a sequence.
        concurrency: how many work items to run at once.
        versioning: which versions of orchestrations to accept.
        data_converter: how values become payloads; must be the one that clients use.
        filters: which work items to ask the hub for: ``None`` for all, ``"auto"`` for the registered names.
        strict: also fail orchestrations for a new action in a past episode, or another input, fire time or target.
        lint: run the linter over the registered orchestrators at start and log its findings, and fail orchestrators
            that call an activity as a function. ``None``, the default, means yes under ``python -X dev`` and where
            ``DURABLETASK_LINT=1`` is set, which ``durabletask-emulator exec`` does.
        session_cache_size: how many live orchestrations to keep in memory between episodes; 0 for none (2000).
        session_cache_age: how long one is kept unused, as ``timedelta`` or in seconds (10 minutes).
        session_cache_events: bound of the history events that all of them have consumed (1,000,000).
        export_to: where export jobs write files: a ``Directory``, ``BlobStorage`` of durabletask-azuremanaged, or any
            ``ExportDestination``. The worker closes it when it stops.
        drain_timeout: seconds that ``async with`` and SIGTERM let work in progress finish (30).
        allow_insecure_credential: send tokens over plaintext to a host that is not this machine.
        backoff: delays between attempts to reach the hub.
        logger: logger of the worker (``durabletask.worker``).
    """

    orchestrators: Registrations
    activities: Registrations
    entities: Registrations
    concurrency: ConcurrencyOptions | None
    versioning: VersioningOptions | None
    data_converter: DataConverter | None
    filters: WorkItemFilters | Literal["auto"] | None
    strict: bool
    lint: bool | None
    session_cache_size: int
    session_cache_age: timedelta | float
    session_cache_events: int
    export_to: ExportDestination | None
    drain_timeout: timedelta | float
    allow_insecure_credential: bool
    backoff: Backoff | None
    logger: logging.Logger | None


WORKER_DEFAULTS: WorkerOptions = {
    "orchestrators": (),
    "activities": (),
    "entities": (),
    "concurrency": None,
    "versioning": None,
    "data_converter": None,
    "filters": None,
    "strict": False,
    "lint": None,
    "session_cache_size": 2000,
    "session_cache_age": timedelta(minutes=10),
    "session_cache_events": 1_000_000,
    "export_to": None,
    "drain_timeout": 30.0,
    "allow_insecure_credential": False,
    "backoff": None,
    "logger": None,
}
"""What an option is when it is left out."""


def check_options(owner: object, known: type, options: Mapping[str, object]) -> None:
    """Refuse names that are no options; a checker finds them earlier.

    Args:
        owner: the object that was given the options, for the message.
        known: ``ClientOptions`` or ``WorkerOptions``.
        options: what was given.

    Raises:
        TypeError: an option does not exist; the message has the nearest name.
    """
    names = known.__annotations__
    for name in options:
        if name not in names:
            near = nearest_names(name, names, limit=1)
            advice = f"Did you mean {near[0]!r}?" if near else f"Options are: {', '.join(names)}."
            raise TypeError(f"{type(owner).__name__} has no option {name!r}. {advice}")


def wants_lint(option: bool | None) -> bool:
    """Whether a worker lints at its start: the option decides, then ``DURABLETASK_LINT``, then ``python -X dev``."""
    if option is not None:
        return option
    value = os.environ.get(LINT_VARIABLE, "").strip()
    return value != "0" if value else sys.flags.dev_mode
