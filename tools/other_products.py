"""Other products, as published, each in an environment of its own: for interop tests and benchmarks.

They are installed once into the user's cache folder and reused. An environment variable can name a ready one.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

__all__ = ["DBOS", "PEER", "alone", "cache", "python_of"]

PEER = "durabletask==1.12.0"
DBOS = "dbos>=3.4,<3.5"
_READY = {PEER: "DURABLETASK_PEER_PYTHON", DBOS: "DURABLETASK_DBOS_PYTHON"}


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
            subprocess.run(
                [python, "-m", "pip", "install", "--quiet", requirement],
                check=True,
                timeout=300,
                stdout=sys.stderr,
            )
            marker.touch()
        return python
