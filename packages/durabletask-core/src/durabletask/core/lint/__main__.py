"""``python -m durabletask.core.lint PATH...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import RULES, lint

__all__ = ["main"]

_RULES_TEXT = "\n".join(f"  {code}  {title}" for code, title in RULES.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the findings of files and folders.

    Args:
        arguments: the command line without the program's name; ``None`` takes ``sys.argv``.

    Returns:
        0 without findings, 1 with findings, 2 when there is nothing at a path.
    """
    parser = argparse.ArgumentParser(
        prog="python -m durabletask.core.lint",
        description="Find what orchestrators do that a replay would not repeat.",
        epilog=f"rules:\n{_RULES_TEXT}\n\nA comment `# durable: ok` silences a line; "
        "`# durable: ok DT101` silences one rule on it.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a Python file, or a folder of them")
    paths = parser.parse_args(arguments).paths
    try:
        findings = [finding for path in paths for finding in lint(path)]
    except FileNotFoundError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.writelines(f"{finding}\n" for finding in findings)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
