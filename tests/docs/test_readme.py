"""What the README shows is run as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.process
def test_the_twenty_lines_run_without_a_warning(tmp_path: Path) -> None:
    """The program of the README prints what its comment says."""
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = tmp_path / "readme.py"
    script.write_text(program)

    run = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", str(script)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    promised = re.search(r"# (COMPLETED .*)", program)
    assert promised is not None
    assert run.stdout.strip() == promised[1], run.stderr


@pytest.mark.process
def test_the_twenty_lines_type_check_strictly(tmp_path: Path) -> None:
    """Nothing is ``Any`` or optional where the program does not expect it."""
    pytest.importorskip("mypy")
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = tmp_path / "readme.py"
    script.write_text(program)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(script)]

    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)

    assert run.stdout + run.stderr == ""


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_of_the_readme_leads_somewhere(target: str) -> None:
    """A relative link names a file or folder of the repository."""
    assert target.startswith("https://") or (ROOT / target).exists()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"python3 dev\.py (\w+)", README))))
def test_every_command_of_the_readme_exists(command: str) -> None:
    """``dev.py`` knows what the README tells people to type."""
    assert f"dev.py {command}" in (ROOT / "dev.py").read_text()
