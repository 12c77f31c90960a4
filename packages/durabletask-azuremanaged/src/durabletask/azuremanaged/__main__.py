"""``python -m durabletask.azuremanaged check [CONNECTION_STRING]``.

Exit code: 0 when the task hub can be used, 1 when a check fails, 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import sys
from collections.abc import Callable, Sequence

from .doctor import Check, Doctor, Outcome

__all__ = ["main"]

_MARKS = {Outcome.OK: "OK", Outcome.FAILED: "FAILED", Outcome.SKIPPED: "-"}
_COLOURS = {Outcome.OK: "green", Outcome.FAILED: "bold red", Outcome.SKIPPED: "dim"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    options = _parser().parse_args(arguments)
    logging.getLogger("azure").setLevel(logging.CRITICAL)  # the findings contain what it would log
    logging.getLogger("durabletask").setLevel(logging.CRITICAL)
    findings: list[Check] = []
    write = findings.append if options.json else _writer()
    doctor = Doctor(options.connection_string, options.task_hub, timeout=options.timeout)
    try:
        is_well = asyncio.run(doctor.examine(write))
    except KeyboardInterrupt:
        return 130
    if options.json:
        rows = [
            {"check": f.name, "outcome": f.outcome.value, "detail": f.detail, "advice": f.advice}
            for f in findings
        ]
        print(json.dumps({"ok": is_well, "checks": rows}, indent=2))  # noqa: T201 - the command's output
    return 0 if is_well else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m durabletask.azuremanaged", description="Tools for the Durable Task Scheduler."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="check each step of the connection to a task hub")
    check.add_argument(
        "connection_string",
        nargs="?",
        metavar="CONNECTION_STRING",
        help="default: the environment variable DURABLETASK_CONNECTION_STRING",
    )
    check.add_argument("--task-hub", metavar="NAME", help="task hub, when the string does not name it")
    check.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="for each check (30)")
    check.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return parser


def _writer() -> Callable[[Check], None]:
    """How a finding is printed: by rich when it is installed and the output is a terminal, else as plain text."""
    try:
        console = importlib.import_module("rich.console").Console(highlight=False)
        table = importlib.import_module("rich.table").Table
        text = importlib.import_module("rich.text").Text
    except ImportError:
        return _write_plain
    if not console.is_terminal:
        return _write_plain

    def write(finding: Check) -> None:
        row = table.grid(padding=(0, 2))
        row.add_column(width=6, justify="right", style=_COLOURS[finding.outcome])
        row.add_column(width=17, style="bold")
        row.add_column(ratio=1, overflow="fold")
        row.add_row(_MARKS[finding.outcome], finding.name, text(finding.detail))
        if finding.advice:
            row.add_row("", "", text(f"-> {finding.advice}", style="yellow"))
        console.print(row)

    return write


def _write_plain(finding: Check) -> None:
    lines = [f"{_MARKS[finding.outcome]:>6}  {finding.name:<18}{finding.detail}"]
    if finding.advice:
        lines.append(f"{'':>6}  {'':<18}-> {finding.advice}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
