"""The code blocks of ``docs/clients.md`` run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
CODE = "\n\n".join(re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("name", re.findall(r"^async def (test_\w+)", CODE, re.MULTILINE))
async def test_a_test_of_the_page_passes(name: str) -> None:
    """With nothing but what the page defines."""
    namespace: dict[str, object] = {"__name__": "docs_clients"}
    exec(compile(CODE, str(PAGE), "exec"), namespace)

    await namespace[name]()  # type: ignore[operator]
