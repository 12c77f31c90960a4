"""The public types, as mypy --strict and pyright see them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.process
@pytest.mark.parametrize(
    "program",
    ["typed_programs.py", "typed_entities.py", "typed_entity_tests.py", "typed_handles.py", "typed_calls.py"],
)
def test_right_programs_are_typed_and_wrong_ones_refused(program: str) -> None:
    """Every ``assert_type`` holds, every ``type: ignore`` is needed."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", str(Path(__file__).with_name(program))]

    found = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=100)

    assert found.stdout + found.stderr == ""


@pytest.mark.process
def test_pyright_sees_the_same_of_entities_and_handles() -> None:
    """In the environment that has pyright; the checks on built wheels run the same command."""
    pytest.importorskip("basedpyright")
    command = [sys.executable, "-m", "basedpyright", "--level", "error", "--pythonpath", sys.executable]
    command += ["--project", str(ROOT / "tools/pyright-entities.json")]

    found = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=100)

    assert "0 errors" in found.stdout, found.stdout + found.stderr
