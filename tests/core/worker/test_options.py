"""Options are declared once and taken by every class that takes them."""

from __future__ import annotations

import inspect
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import get_type_hints

import durabletask.core.client
import durabletask.core.worker
import pytest
from durabletask import sync
from durabletask.azuremanaged import DurableTaskSchedulerClient, DurableTaskSchedulerWorker
from durabletask.core.options import LINT_VARIABLE, WORKER_DEFAULTS, ClientOptions, WorkerOptions
from durabletask.core.worker import DurableTaskWorker
from fake_transport import FakeTransport
from typing_extensions import Unpack

CLIENTS = [durabletask.core.client.DurableTaskClient, sync.DurableTaskClient, DurableTaskSchedulerClient]
WORKERS = [durabletask.core.worker.DurableTaskWorker, sync.DurableTaskWorker, DurableTaskSchedulerWorker]


@pytest.mark.parametrize(
    ("kind", "options"),
    [*((kind, ClientOptions) for kind in CLIENTS), *((kind, WorkerOptions) for kind in WORKERS)],
    ids=lambda value: f"{value.__module__}.{value.__qualname__}",
)
def test_every_class_takes_the_same_options(kind: type, options: type) -> None:
    """``**options`` is the declared set, and no option stands in the signature a second time."""
    assert get_type_hints(kind.__init__)["options"] == Unpack[options]
    assert not inspect.signature(kind).parameters.keys() & options.__annotations__.keys()


def test_every_option_of_a_worker_has_a_default_and_a_description() -> None:
    """The table of defaults and the docstring are complete."""
    assert WORKER_DEFAULTS.keys() == WorkerOptions.__annotations__.keys()
    for options in (ClientOptions, WorkerOptions):
        described = [
            line.split(":")[0].strip() for line in (options.__doc__ or "").splitlines() if ":" in line
        ]
        assert set(options.__annotations__) <= set(described)


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: DurableTaskWorker(FakeTransport(), **options),
        lambda **options: sync.DurableTaskWorker(FakeTransport(), **options),
        lambda **options: DurableTaskSchedulerWorker(
            host_address="localhost:1", taskhub="h", token_credential=None, **options
        ),
    ],
)
def test_an_unknown_option_is_a_type_error_with_the_nearest_name(make: Callable[..., object]) -> None:
    """A typo must not start a worker without its activities."""
    with pytest.raises(TypeError, match=r"Worker has no option 'activitys'\. Did you mean 'activities'\?"):
        make(activitys=[])


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("session_cache_size", "10", "session_cache_size must be an int, not str"),
        ("session_cache_events", -1, "session_cache_events must be at least 0, not -1"),
        ("session_cache_age", "1 h", "session_cache_age must be a timedelta or a number of seconds, not str"),
        ("drain_timeout", float("nan"), "drain_timeout must be finite, not nan"),
    ],
)
def test_a_wrong_value_is_an_error_by_name(option: str, value: object, message: str) -> None:
    """At the constructor, not when the first item is drained."""
    with pytest.raises((TypeError, ValueError), match=message):
        DurableTaskWorker(FakeTransport(), **{option: value})  # type: ignore[misc]


async def careless(ctx: object) -> None:
    import time

    time.sleep(1)  # noqa: ASYNC251 - what the linter finds


@pytest.mark.parametrize(
    ("option", "variable", "is_linted"),
    [
        (None, "", sys.flags.dev_mode),
        (None, "1", True),
        (None, "0", False),
        (True, "0", True),
        (False, "1", False),
    ],
)
async def test_the_linter_runs_where_it_is_wanted(
    option: bool | None,
    variable: str,
    is_linted: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The option decides, then the environment variable, then development mode."""
    monkeypatch.setenv(LINT_VARIABLE, variable)
    with caplog.at_level(logging.WARNING, "durabletask"):
        async with DurableTaskWorker(FakeTransport(), orchestrators=[careless], lint=option):
            pass

    assert ("DT1" in caplog.text) is is_linted


def _in_new_process(program: str) -> str:
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{program}"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


@pytest.mark.process
def test_importing_client_and_worker_imports_no_transport() -> None:
    """Programs on another transport do not pay for gRPC, and the linter is not loaded either."""
    program = (
        "from durabletask import DurableTaskClient, DurableTaskWorker\n"
        "import durabletask.sync\n"
        "print([name for name in ('grpc', 'google.protobuf', 'durabletask.grpc', 'durabletask.core.lint')"
        " if name in sys.modules])"
    )

    assert _in_new_process(program) == "[]"


@pytest.mark.process
def test_the_entry_point_of_a_scheme_imports_its_transport() -> None:
    """A client made before the event loop starts does not stop it for the import."""
    program = (
        "from durabletask import DurableTaskClient\n"
        "DurableTaskClient('Endpoint=http://localhost:1;Authentication=None', 'default')\n"
        "print('durabletask.grpc.remote' in sys.modules)"
    )

    assert _in_new_process(program) == "True"
