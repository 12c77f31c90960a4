"""The page about orchestrators describes the linter as it is."""

from __future__ import annotations

import re
from pathlib import Path

from durabletask.core.lint import RULES, lint

PAGE = (Path(__file__).parents[3] / "docs" / "orchestrators.md").read_text()
ROW = re.compile(r"^\| (DT\d{3}) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def test_the_table_of_rules_is_complete_and_in_order() -> None:
    """Codes and titles on the page are those of the rules."""
    assert [(code, title) for code, title, _ in ROW.findall(PAGE)] == list(RULES.items())


def test_the_instances_in_the_table_are_found_by_their_rule(tmp_path: Path) -> None:
    """Each piece of code in the table has a finding of the code in its row."""
    imports = "asyncio, httpx, os, platform, random, requests, secrets, socket, sqlite3, subprocess, sys"
    for code, _, instances in ROW.findall(PAGE):
        for number, snippet in enumerate(re.findall(r"`([^`]+)`", instances)):
            statement = f"{snippet}: pass" if snippet.startswith("for ") else snippet
            file = tmp_path / f"{code}_{number}.py"
            file.write_text(
                f"import {imports}, threading, time, uuid\nfrom datetime import datetime\nfrom pathlib import Path\n"
                "async def greet(ctx: ActivityContext, names): ...\n"
                f"async def orchestrator(ctx: OrchestrationContext, names, text, value):\n    {statement}\n"
            )

            assert [finding.code for finding in lint(file)] == [code], snippet
