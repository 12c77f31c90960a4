"""Other SDKs of the protocol, as published, in environments of their own; see ``tools/other_products.py``.

``DURABLETASK_PEER_PYTHON`` and ``DURABLETASK_PEER_NODE_MODULES`` name ready ones instead. Tests that use them are
marked `network`; ``tests/conftest.py`` skips them where a product is neither ready nor installable.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from other_products import PEER, alone, install, python_of

JAVASCRIPT_REQUIREMENT = "@microsoft/durabletask-js@0.4.0"


def peer_python() -> Path:
    """The interpreter of an environment that has the other Python SDK and nothing of ours."""
    return python_of(PEER)


def node_modules() -> Path | None:
    """The folder that has the JavaScript SDK, or ``None`` where Node.js is not installed."""
    ready = os.environ.get("DURABLETASK_PEER_NODE_MODULES")
    if ready:
        return Path(ready)
    if shutil.which("node") is None or shutil.which("npm") is None:
        return None
    with alone("javascript-0.4.0") as home:
        marker = home / "complete"
        if not marker.exists():
            home.mkdir(parents=True, exist_ok=True)
            command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home)]
            install([*command, JAVASCRIPT_REQUIREMENT])
            marker.touch()
        return home / "node_modules"


@contextmanager
def emulator(store: Path | None = None) -> Iterator[str]:
    """An emulator of ours as its own process; host:port."""
    command = [sys.executable, "-m", "durabletask.testing.emulator", "--port", "0"]
    if store is not None:
        command += ["--store", str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                found = re.search(r"127\.0\.0\.1:(\d+)", line)
                if found:
                    yield f"127.0.0.1:{found[1]}"
                    break
            else:
                raise AssertionError("the emulator did not say where it listens")
        finally:
            process.terminate()
            process.communicate(timeout=20)


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
