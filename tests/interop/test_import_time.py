"""Importing the package is quick: command lines and short-lived functions pay for it at every start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from other_sdks import peer_python

_CUMULATIVE = re.compile(r"import time:\s+\d+ \|\s+(\d+) \|( *)\S")


def _import_time(python: Path, module: str) -> float:
    """Microseconds of one fresh import, dependencies included; what the interpreter itself imports is not counted."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_"))
    }
    run = subprocess.run(
        [python, "-X", "importtime", "-c", f"import {module}"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        timeout=100,
    )
    lines = run.stderr.splitlines()
    # Modules of the first level come after what they import; those of the interpreter end with ``site``.
    start = max((index for index, line in enumerate(lines) if line.endswith("| site")), default=-1)
    found = [_CUMULATIVE.match(line) for line in lines[start + 1 :]]
    return float(sum(int(match[1]) for match in found if match and len(match[2]) == 1))


@pytest.mark.process
@pytest.mark.network
@pytest.mark.timeout(400)
def test_our_import_takes_less_than_three_fifths_of_the_other_sdk() -> None:
    """The best of five, taken alternately: other programs of the machine only ever add to a time."""
    peer = peer_python()
    _import_time(peer, "durabletask.client")  # both write their compiled files first
    _import_time(Path(sys.executable), "durabletask")
    theirs, ours = [], []

    for _ in range(5):
        theirs.append(_import_time(peer, "durabletask.client"))
        ours.append(_import_time(Path(sys.executable), "durabletask"))

    assert min(ours) < 0.6 * min(theirs), (ours, theirs)
