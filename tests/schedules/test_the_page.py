"""The code blocks of ``docs/schedules.md`` run as they stand, and its table lists every argument."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from durabletask.core.schedules.configuration import ScheduleArguments

PAGE = Path(__file__).parents[2] / "docs" / "schedules.md"
TEXT = PAGE.read_text("utf-8")
CODE = "\n\n".join(re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
TESTS = re.findall(r"^async def (test_\w+)", CODE, re.MULTILINE)


@pytest.mark.parametrize("name", TESTS)
async def test_a_test_of_the_page_passes(name: str) -> None:
    """With nothing but what the page defines."""
    namespace: dict[str, object] = {"__name__": "docs_schedules"}
    exec(compile(CODE, str(PAGE), "exec"), namespace)

    await namespace[name]()  # type: ignore[operator]


def test_the_table_has_every_argument() -> None:
    """In the order in which they are declared."""
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE) == list(ScheduleArguments.__annotations__)
