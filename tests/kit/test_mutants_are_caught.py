"""Every deliberately broken transport fails the spec test that is named for it."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest
from conformance_hubs import MemoryHub
from durabletask.core.errors import TransportError
from durabletask.core.transport import Transport
from durabletask.testing import conformance
from durabletask.testing.wrapping import WrappedTransport
from transport_mutants import MUTANTS, Mutant

TABLE = Path(__file__).parents[2] / "docs" / "conformance-mutants.md"


class WrappedHub(MemoryHub):
    """The in-memory hub behind a wrapper; impatient, because mutants keep a test waiting."""

    name = "wrapped"
    patience = 0.15

    def __init__(self, wrapper: type[WrappedTransport]) -> None:
        super().__init__()
        self.wrapper = wrapper

    async def open(self) -> Transport:
        return self.wrapper(await super().open())


def run(wrapper: type[WrappedTransport], test: str) -> None:
    """Run one spec test, named ``Class.test``, on a wrapped hub."""
    class_name, _, test_name = test.partition(".")
    spec_class = getattr(conformance, class_name)
    conformance.run_spec(inspect.unwrap(getattr(spec_class, test_name)), spec_class(), WrappedHub(wrapper))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_mutant_is_caught_and_only_the_mutant(mutant: type[Mutant]) -> None:
    """The named test fails on the mutant and passes on the same wrapper without the mutation."""
    run(WrappedTransport, mutant.caught_by)
    with pytest.raises((AssertionError, TransportError, asyncio.TimeoutError)):
        run(mutant, mutant.caught_by)


def test_there_are_many_mutants() -> None:
    """The kit is shown to notice at least 25 broken behaviours, each told in one sentence."""
    assert len(MUTANTS) >= 25
    assert all(mutant.__doc__ for mutant in MUTANTS)


def test_the_documented_table_is_the_tested_one() -> None:
    """docs/conformance-mutants.md lists exactly these mutants."""
    assert TABLE.read_text(encoding="utf-8") == render()


def render() -> str:
    """The page of the mutants, in Markdown."""
    rows = [f"| {_sentence(m)} | `{m.caught_by}` |" for m in MUTANTS]
    return "\n".join(
        [
            "# What the conformance kit catches",
            "",
            "Each row is a transport that is broken on purpose, and the spec test that fails on it. A test",
            "(`tests/kit/test_mutants_are_caught.py`) runs them all and compares this page.",
            "",
            "| The transport ... | is caught by |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def _sentence(mutant: type[Mutant]) -> str:
    text = (mutant.__doc__ or "").rstrip(".")
    return text[0].lower() + text[1:]
