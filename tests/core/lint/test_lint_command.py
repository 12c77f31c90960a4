"""``python -m durabletask.core.lint PATH...``: output, exit codes, which files are read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from durabletask.core.lint import lint
from durabletask.core.lint.__main__ import main

BAD = "import time\nasync def orch(ctx: OrchestrationContext):\n    return time.time()\n"
GOOD = "async def orch(ctx: OrchestrationContext):\n    return ctx.current_utc_datetime\n"


def test_findings_are_printed_one_a_line_and_give_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line is ``file:line code message``."""
    file = tmp_path / "bad.py"
    file.write_text(BAD)

    assert main([str(file)]) == 1

    out, err = capsys.readouterr()
    assert out.startswith(f"{file}:3 DT101 time.time() reads the wall clock")
    assert out.count("\n") == 1
    assert not err


def test_no_findings_give_exit_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A clean file prints nothing."""
    (tmp_path / "good.py").write_text(GOOD)

    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_path_that_does_not_exist_gives_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the path."""
    missing = tmp_path / "nowhere.py"

    assert main([str(missing)]) == 2
    assert str(missing) in capsys.readouterr().err


def test_folders_are_read_without_caches_and_environments(tmp_path: Path) -> None:
    """Hidden folders, caches and installed packages are skipped; files come in the order of their names."""
    for folder in ("b", "a", ".venv/lib", "__pycache__", "x/site-packages"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "bad.py").write_text(BAD)

    assert [finding.file for finding in lint(tmp_path)] == [
        str(tmp_path / "a" / "bad.py"),
        str(tmp_path / "b" / "bad.py"),
    ]


@pytest.mark.parametrize("content", [b"def f(:\n", b"\x00", b"# coding: nonsense\n", b"\xff\xfe"])
def test_a_file_that_is_not_python_is_a_finding(tmp_path: Path, content: bytes) -> None:
    """The other files are still read."""
    (tmp_path / "a.py").write_bytes(content)
    (tmp_path / "b.py").write_text(BAD)

    assert [finding.code for finding in lint(str(tmp_path))] == ["DT100", "DT101"]


@pytest.mark.process
def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    """``python -m`` gives the same exit codes."""
    (tmp_path / "bad.py").write_text(BAD)

    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "durabletask.core.lint", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 1
    assert "DT101" in done.stdout
    assert not done.stderr
