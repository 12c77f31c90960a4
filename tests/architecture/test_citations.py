"""What comments cite exists: sections of the protocol, rows of the decisions, vectors. Public docstrings cite nothing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = (ROOT / "docs/protocol/protocol.md").read_text("utf-8")
DECISIONS = (ROOT / "docs/protocol/decisions.md").read_text("utf-8")
SECTIONS = set(re.findall(r"^#+ (\d+(?:\.\d+)?)\.? ", PROTOCOL, re.MULTILINE))
ROWS = set(re.findall(r"^\| (\d+) \|", DECISIONS, re.MULTILINE))
VECTORS = {path.name.partition("-")[0] for path in (ROOT / "tests").glob("**/vectors*/*.json")}

_KINDS = {"section": r"\d+(?:\.\d+)?", "row": r"\d+", "vector": r"\d{3}[a-z]?"}
_CITATION = re.compile(
    "|".join(
        rf"{word}(?P<{kind}>{number}(?:(?:, and |, | and | to |-){number})*)"
        for kind, number in _KINDS.items()
        for word in [rf"\b{kind}s? " if kind != "section" else r"(?:\bsections? |§)"]
    ),
    re.IGNORECASE,
)
_KNOWN = {"section": SECTIONS, "row": ROWS, "vector": VECTORS}


def _citations(text: str) -> Iterator[tuple[str, str]]:
    in_one_line = re.sub(r"\s*\n\s*(?:# )?", " ", text)
    for match in _CITATION.finditer(in_one_line):
        kind = str(match.lastgroup)
        for number in re.findall(_KINDS[kind], match[kind]):
            yield kind, number


def _unresolved(text: str) -> list[str]:
    return [f"{kind} {number}" for kind, number in _citations(text) if number not in _KNOWN[kind]]


def _texts() -> Iterator[Path]:
    for folder in ("packages", "tests", "docs", "tools", "benchmarks", "examples"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".md"} and not {"_generated", "node_modules"} & set(path.parts):
                yield path
    yield from sorted(ROOT.glob("*.md"))


def test_a_citation_is_found_wherever_the_line_ends() -> None:
    """Lists, ranges and citations across lines of a comment; numbers without such a word are none."""
    text = "# protocol sections 8.12,\n# 12.4 and 3, decisions\n# row 17, vectors 006 and 084d, 12 rows, §7.3"

    assert list(_citations(text)) == [
        *(("section", number) for number in ("8.12", "12.4", "3")),
        ("row", "17"),
        ("vector", "006"),
        ("vector", "084d"),
        ("section", "7.3"),
    ]
    assert _unresolved("section 99, row 999, vector 999") == ["section 99", "row 999", "vector 999"]


def test_every_citation_resolves() -> None:
    """Sections are headings of the protocol, rows stand in the decisions, vectors are files."""
    unresolved = {
        str(path.relative_to(ROOT)): found
        for path in _texts()
        if path != Path(__file__).resolve() and (found := _unresolved(path.read_text("utf-8")))
    }

    assert unresolved == {}


def test_the_decisions_name_vectors_that_exist() -> None:
    """The last column of the table holds vectors, alone or as ranges."""
    cells = [line.rpartition("| ")[2] for line in DECISIONS.splitlines() if re.match(r"\| \d+ \|", line)]
    named = {number for cell in cells for number in re.findall(r"\b\d{3}[a-z]?\b", cell)}

    assert len(named) > 20
    assert named - VECTORS == set()


def _public_docstrings(path: Path) -> Iterator[tuple[str, str]]:
    tree = ast.parse(path.read_text("utf-8"))
    exported = {
        name
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for name in ast.literal_eval(node.value)
    }
    inside = [node for node in tree.body if getattr(node, "name", None) in exported]
    while inside:
        node = inside.pop()
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield node.name, ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef):
            inside += [each for each in node.body if not getattr(each, "name", "_").startswith("_")]


@pytest.mark.parametrize("package", sorted(path.name for path in (ROOT / "packages").iterdir()))
def test_public_docstrings_explain_instead_of_citing(package: str) -> None:
    """A user has the docstring at hand, not the protocol: what matters stands in it. Comments may cite."""
    cited = [
        f"{path.name}: {name}"
        for path in sorted((ROOT / "packages" / package).glob("src/**/*.py"))
        for name, docstring in _public_docstrings(path)
        if list(_citations(docstring)) or "decisions.md" in docstring or "protocol.md" in docstring
    ]

    assert cited == []
