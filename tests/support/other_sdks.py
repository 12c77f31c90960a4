"""Other SDKs of the protocol, as published, in environments of their own.

They are installed once into the user's cache folder and reused; the environment variables
``DURABLETASK_PEER_PYTHON`` and ``DURABLETASK_PEER_NODE_MODULES`` name ready ones instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

PYTHON_REQUIREMENT = "durabletask==1.12.0"
JAVASCRIPT_REQUIREMENT = "@microsoft/durabletask-js@0.4.0"


def _cache(name: str) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "durabletask-interop" / name


@contextlib.contextmanager
def _alone(name: str) -> Iterator[Path]:
    """The cache folder, while no other process of the suite installs into it."""
    import fcntl

    base = _cache(name)
    base.parent.mkdir(parents=True, exist_ok=True)
    with base.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield base


def peer_python() -> Path:
    """The interpreter of an environment that has the other Python SDK and nothing of ours."""
    ready = os.environ.get("DURABLETASK_PEER_PYTHON")
    if ready:
        return Path(ready)
    with _alone(f"python-1.12.0-py{sys.version_info[0]}{sys.version_info[1]}") as home:
        python = home / "bin" / "python"
        marker = home / "complete"
        if not marker.exists():
            venv.create(home, with_pip=True, clear=True)
            subprocess.run(
                [python, "-m", "pip", "install", "--quiet", PYTHON_REQUIREMENT], check=True, timeout=300
            )
            marker.touch()
        return python


def node_modules() -> Path | None:
    """The folder that has the JavaScript SDK, or ``None`` where Node.js is not installed."""
    ready = os.environ.get("DURABLETASK_PEER_NODE_MODULES")
    if ready:
        return Path(ready)
    if shutil.which("node") is None or shutil.which("npm") is None:
        return None
    with _alone("javascript-0.4.0") as home:
        marker = home / "complete"
        if not marker.exists():
            home.mkdir(parents=True, exist_ok=True)
            command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home)]
            subprocess.run([*command, JAVASCRIPT_REQUIREMENT], check=True, timeout=300, capture_output=True)
            marker.touch()
        return home / "node_modules"


def run_suite(command: list[str], environment: dict[str, str] | None = None) -> dict[str, dict[str, object]]:
    """Run a suite program to its end; scenario name -> its line of the report."""
    run = subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    report: dict[str, dict[str, object]] = {}
    for line in run.stdout.splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            report[entry["name"]] = entry
    if not report:
        raise AssertionError(f"the suite reported nothing (exit {run.returncode}):\n{run.stderr[-3000:]}")
    return report
