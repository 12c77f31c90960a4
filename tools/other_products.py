"""Other products, as published, each in an environment of its own: for interop tests and benchmarks.

They are installed once into the user's cache folder and reused. An environment variable can name a ready one.
Without a package registry `NotInstallableError` is raised within seconds: installers try again once, not five times.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

__all__ = ["DBOS", "PEER", "NotInstallableError", "alone", "cache", "install", "python_of"]

PEER = "durabletask==1.12.0"
DBOS = "dbos>=3.4,<3.5"
_READY = {PEER: "DURABLETASK_PEER_PYTHON", DBOS: "DURABLETASK_DBOS_PYTHON"}


class NotInstallableError(RuntimeError):
    """A product is not in the cache, and its installer failed."""


_failed: dict[str, NotInstallableError] = {}


def install(command: list[str]) -> None:
    """Run an installer, once per process if it fails.

    Raises:
        NotInstallableError: it failed; the message has the last line that it wrote.
    """
    product = command[-1]
    if product in _failed:
        raise _failed[product]
    quickly = {"PIP_RETRIES": "1", "PIP_TIMEOUT": "20", "NPM_CONFIG_FETCH_RETRIES": "1"}
    run = subprocess.run(
        command,
        env={**quickly, **os.environ},
        check=False,
        timeout=300,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if run.returncode:
        reason = (run.stdout.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
        _failed[product] = NotInstallableError(f"{product} could not be installed: {reason}")
        raise _failed[product]


def cache(name: str) -> Path:
    """The folder of one product."""
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "durabletask-others" / name


@contextlib.contextmanager
def alone(name: str) -> Iterator[Path]:
    """The folder of one product, while no other process installs into it."""
    home = cache(name)
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_name(home.name + ".lock").open("w") as lock:
        if os.name == "posix":
            import fcntl  # noqa: PLC0415 - not everywhere

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield home


def python_of(requirement: str) -> Path:
    """The interpreter of an environment that has one product and nothing of ours.

    Args:
        requirement: ``PEER`` or ``DBOS``.
    """
    ready = os.environ.get(_READY[requirement])
    if ready:
        return Path(ready)
    name = "".join(letter if letter.isalnum() or letter == "." else "-" for letter in requirement)
    with alone(f"{name}-py{sys.version_info[0]}{sys.version_info[1]}") as home:
        python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        marker = home / "complete"
        if not marker.exists():
            venv.create(home, with_pip=True, clear=True)
            install([str(python), "-m", "pip", "install", "--quiet", requirement])
            marker.touch()
        return python
