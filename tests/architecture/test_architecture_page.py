"""ARCHITECTURE.md names files and names that exist, so the walks through the code lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
SOURCES = [*ROOT.glob("packages/*/src/durabletask"), *ROOT.glob("packages/*/src"), ROOT]
PLACES = sorted(set(re.findall(r"`([\w./-]+/(?:[\w.-]+\.\w+)?)(?:::(\w+))?`", PAGE)))
MODULES = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", PAGE.partition("## Replay")[2], re.MULTILINE)


def _places(place: str) -> list[Path]:
    return [source / place for source in SOURCES if (source / place).exists()]


def _names(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize(("place", "name"), PLACES, ids=[f"{place}-{name}" for place, name in PLACES])
def test_a_place_that_is_named_exists(place: str, name: str) -> None:
    """Paths begin at the repository or at the import package; a name is one of the module."""
    found = _places(place)

    assert found, f"{place} is not there"
    assert not name or name in _names(ast.parse(found[0].read_text("utf-8")))


def test_the_rooms_of_replay_are_modules() -> None:
    """The table of owners names modules of ``core/replay``."""
    named = [module for row in MODULES for module in re.findall(r"`(\w+)`", row)]

    assert len(named) > 8
    assert [module for module in named if not _places(f"core/replay/{module}.py")] == []


def test_there_are_four_walks_of_five_steps() -> None:
    """Each walk has five numbered steps."""
    walks = re.split(r"^\*\*", PAGE.partition("## Four walks")[2].partition("\n## ")[0], flags=re.MULTILINE)[
        1:
    ]

    assert [re.findall(r"^(\d)\. ", walk, re.MULTILINE) for walk in walks] == [list("12345")] * 4
