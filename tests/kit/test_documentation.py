"""The code blocks of the documentation run as they stand."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from durabletask.testing.conformance import BASE_CAPABILITIES

DOCS = Path(__file__).parents[2] / "docs"


def code_of(page: str) -> str:
    return "\n\n".join(
        re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    )


def test_the_tests_of_the_testing_page_pass(request: pytest.FixtureRequest) -> None:
    """Every block runs, and every test in it passes with the fixtures it names."""
    namespace: dict[str, object] = {"__name__": "docs_testing"}
    exec(compile(code_of("testing.md"), str(DOCS / "testing.md"), "exec"), namespace)
    tests = {name: value for name, value in namespace.items() if name.startswith("test_")}
    assert len(tests) >= 7
    for test in tests.values():
        result = test(**{name: request.getfixturevalue(name) for name in inspect.signature(test).parameters})
        if inspect.iscoroutine(result):
            asyncio.run(result)


@pytest.mark.process
@pytest.mark.extended
def test_the_adoption_of_the_kit_works_as_written(tmp_path: Path) -> None:
    """The block of the transport page is a whole test module; its base passes."""
    (tmp_path / "test_mine.py").write_text(code_of("writing-a-transport.md"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "my transport: level BASE" in done.stdout


def test_the_table_of_the_base_is_complete() -> None:
    """docs/writing-a-transport.md lists every base capability with its meaning."""
    text = (DOCS / "writing-a-transport.md").read_text("utf-8")
    for name, meaning in BASE_CAPABILITIES.items():
        assert f"| {name} | {meaning} |" in text
