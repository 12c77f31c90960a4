"""The page that says which test shows which row of the protocol does not rot."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "protocol-coverage.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("|") and "---" not in line]
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


def _tests_in(path: Path) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, functions)}


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[test for _, test in NAMED])
def test_a_test_that_is_named_exists(file: str, test: str) -> None:
    """File and function are there, under these names."""
    assert test in _tests_in(ROOT / file)


def test_every_row_names_a_test() -> None:
    """No row goes without proof."""
    bare = [row for row in ROWS if "::test_" not in row and not row.startswith("| protocol |")]

    assert bare == []


@pytest.mark.parametrize("section", [f"12.{number}" for number in range(1, 11)])
def test_every_client_operation_has_a_row(section: str) -> None:
    """Sections 12.1 to 12.10 of the protocol are all on the page."""
    assert any(row.startswith(f"| {section} ") for row in ROWS)
