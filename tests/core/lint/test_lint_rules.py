"""What the determinism lint finds, and what it leaves alone: one table, snippet by snippet."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from durabletask.core.lint import RULES, lint
from lint_clean import CLEAN
from lint_findings import FINDINGS


def _module(snippet: str, folder: Path) -> tuple[Path, list[tuple[int, str]]]:
    text = dedent(snippet)
    expected = [
        (number, code)
        for number, line in enumerate(text.splitlines(), 1)
        for code in line.partition("#! ")[2].split()
    ]
    file = folder / "snippet.py"
    file.write_text("\n".join(line.partition("#! ")[0] for line in text.splitlines()))
    return file, expected


@pytest.mark.parametrize("name", [*FINDINGS, *CLEAN])
def test_a_snippet_has_exactly_the_expected_findings(name: str, tmp_path: Path) -> None:
    """Line and code of every finding are as marked in the table, and nothing else is found."""
    file, expected = _module((FINDINGS | CLEAN)[name], tmp_path)

    found = lint(file)

    assert sorted((item.line, item.code) for item in found) == sorted(expected), "\n".join(map(str, found))
    assert bool(expected) is (name in FINDINGS)


def test_every_rule_is_in_the_table() -> None:
    """No rule is without a snippet that triggers it."""
    shown = {code for snippet in FINDINGS.values() for code in RULES if f"{code}" in snippet}

    assert shown == set(RULES) - {"DT100"}


@pytest.mark.parametrize("name", FINDINGS)
def test_a_message_names_what_was_found_and_what_to_write(name: str, tmp_path: Path) -> None:
    """Every message ends in a replacement and speaks of the context under the name the code gives it."""
    file, _ = _module(FINDINGS[name].replace("ctx", "flow"), tmp_path)

    findings = list(lint(file))
    assert findings
    for finding in findings:
        assert "; " in finding.message
        assert "{ctx}" not in finding.message
        assert "ctx." not in finding.message
        assert finding.function
