"""docs/conformance-report.md says what the transports of the project do; ``test_conformance.py`` proves every cell.

To write the page again: ``python tests/kit/test_conformance_page.py`` in the development environment.
"""

from __future__ import annotations

import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "conformance-report.md"
if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from conformance_hubs import LocalCapabilities, SqliteCapabilities, WireCapabilities, WireToFileCapabilities  # noqa: E402
from durabletask.testing.conformance import BASE_CAPABILITIES, optional_capabilities  # noqa: E402
from polling_hubs import PollingCapabilities  # noqa: E402

_COMMAND = "pytest tests/kit/test_conformance.py tests/kit/test_polling_transport.py --conformance-report=report.json"
COLUMNS = {
    "memory": LocalCapabilities(),
    "SQLite": SqliteCapabilities(),
    "gRPC to memory": WireCapabilities(),
    "gRPC to SQLite": WireToFileCapabilities(),
    "polling example": PollingCapabilities(),
}


def render() -> str:
    """The page, in Markdown."""
    rows = [
        f"| {name} | {meaning} | "
        + " | ".join("yes" if getattr(c, name) else "" for c in COLUMNS.values())
        + " |"
        for name, meaning in optional_capabilities().items()
    ]
    return "\n".join(
        [
            "# What our transports do",
            "",
            "All of them pass every test of the base: " + ", ".join(BASE_CAPABILITIES) + ".",
            "What they do beyond it, each `yes` proved by the tests of that capability:",
            "",
            "| capability | meaning | " + " | ".join(COLUMNS) + " |",
            "|---|---|" + "---|" * len(COLUMNS),
            *rows,
            "",
            f"To see the counts: `{_COMMAND}`.",
            "",
        ]
    )


def test_the_page_says_what_the_hubs_open() -> None:
    """A cell says "yes" exactly where the hub under test opens the capability."""
    assert PAGE.read_text("utf-8") == render()


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
