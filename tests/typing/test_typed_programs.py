"""The public types, as mypy --strict sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.process
def test_right_programs_are_typed_and_wrong_ones_refused() -> None:
    """Every ``assert_type`` holds, every ``type: ignore`` is needed."""
    pytest.importorskip("mypy")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--no-error-summary",
        str(Path(__file__).with_name("typed_programs.py")),
    ]

    found = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=100)

    assert found.stdout + found.stderr == ""
