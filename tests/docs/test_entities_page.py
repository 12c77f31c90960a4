"""The code blocks of ``docs/entities.md`` are one program, which runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs/entities.md").read_text("utf-8")


@pytest.mark.process
def test_the_program_prints_what_its_comments_say(tmp_path: Path) -> None:
    """Every ``print`` of the page has a comment with its output."""
    program = "\n\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    script = tmp_path / "entities.py"
    script.write_text(program)

    run = subprocess.run(
        [sys.executable, "-W", "error", str(script)], capture_output=True, text=True, timeout=100, check=False
    )

    assert run.stdout.splitlines() == re.findall(r"print\(.*\)  # (.*)", program), run.stderr
