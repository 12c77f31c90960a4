"""The generated methods of the blocking twins follow from the async classes."""

from __future__ import annotations

import ast
from pathlib import Path

import generate_sync
import pytest


@pytest.mark.parametrize("path", generate_sync.MODULES, ids=lambda path: path.name)
def test_a_module_is_what_the_generator_would_write(path: Path) -> None:
    """After a change of an async signature or docstring, run ``python tools/generate_sync.py``."""
    assert path.read_text() == generate_sync.generated(path)


@pytest.mark.parametrize("path", generate_sync.MODULES, ids=lambda path: path.name)
def test_every_public_method_has_a_docstring(path: Path) -> None:
    """The docstring of the async method is copied as a whole."""
    missing = [
        f"{owner.name}.{node.name}"
        for owner in ast.parse(path.read_text()).body
        if isinstance(owner, ast.ClassDef)
        for node in owner.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        if not any(ast.unparse(each) == "overload" for each in node.decorator_list)
        if not ast.get_docstring(node)
    ]

    assert missing == []


SOURCE = '''
class Thing:
    def __init__(self) -> None: ...
    @property
    def name(self) -> str:
        """Its name."""
    def rename(self, name: str) -> Command:
        """Rename it: ``await thing.rename(name)``."""
    def items(self, *, size: int = 3) -> AsyncPages[int]:
        """Its items."""
    async def close(self) -> None:
        """Close it."""
    async def start(self, *given: str, **options: int) -> OrchestrationRun:
        """Start it."""
'''

TWIN = '''@property
def name(self) -> str:
    """Its name."""
    return self._inner.name

def rename(self, name: str) -> None:
    """Rename it: ``thing.rename(name)``."""
    self._call(lambda: self._inner.rename(name))

def items(self, *, size: int=3) -> Pages[int]:
    """Its items."""
    return Pages(self._inner.items(size=size), self._call)

def start(self, *given: str, **options: int) -> OrchestrationRun:
    """Start it."""
    return OrchestrationRun(self._call(lambda: self._inner.start(*given, **options)), self._call)
'''


def test_each_kind_of_member_has_a_rule() -> None:
    """Properties, plain methods, coroutines, commands, and results that have a twin; ``close`` is by hand."""
    members = generate_sync.members(SOURCE, "Thing", skipped={"close"})

    assert "\n".join(members) == TWIN
