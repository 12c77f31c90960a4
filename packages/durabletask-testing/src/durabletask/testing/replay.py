"""``python -m durabletask.testing.replay FILES --app module``: do these histories still replay?

Exit code 0 when all do, 1 when one does not or cannot be read, 2 when there is no code or no file to check.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Sequence
from types import ModuleType

from durabletask.core.errors import RegistrationError
from durabletask.core.registry import name_of

from .replay_check import check_file, history_files

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m durabletask.testing.replay",
        description="Replay saved histories with today's code and report where they part.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="history file, or a folder of them")
    parser.add_argument(
        "--app",
        required=True,
        metavar="MODULE[:NAME]",
        help="module with the orchestrators; NAME is a mapping or list of them, else every function of the module counts",
    )
    options = parser.parse_args(arguments)
    try:
        orchestrators = _orchestrators(options.app)
        paths = history_files(options.files)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - this is a command
        return 2
    except Exception as error:  # noqa: BLE001 - importing a module runs its code
        message = f"error: {options.app} cannot be imported: {type(error).__name__}: {error}"
        print(message, file=sys.stderr)  # noqa: T201
        return 2
    reports = [check_file(path, orchestrators) for path in paths]
    for report in reports:
        print(report)  # noqa: T201
    failed = sum(not report.is_ok for report in reports)
    print(f"{len(reports) - failed} of {len(reports)} histories replay.")  # noqa: T201
    return 1 if failed or not reports else 0


def _orchestrators(app: str) -> dict[str, object]:
    """Names and code of a module; the working directory counts as a place to import from."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    module_name, _, attribute = app.partition(":")
    module = importlib.import_module(module_name)
    if not attribute:
        return _everything_in(module)
    given: object = getattr(module, attribute)
    if isinstance(given, dict):
        return {str(name): target for name, target in given.items()}
    targets = given if isinstance(given, (list, tuple, set)) else [given]
    return {name_of(target): target for target in targets}


def _everything_in(module: ModuleType) -> dict[str, object]:
    """Functions and classes with a ``run`` method. One that is no orchestrator does no harm: it is never called."""
    found: dict[str, object] = {}
    for name, value in vars(module).items():
        is_class = inspect.isclass(value) and callable(getattr(value, "run", None))
        if name.startswith("_") or not (inspect.isfunction(value) or is_class):
            continue
        try:
            if _fits(value):
                found.setdefault(name_of(value), value)
        except RegistrationError:
            continue
    return found


def _fits(value: object) -> bool:
    from durabletask.core.registry import Registry  # noqa: PLC0415 - to try a registration

    Registry(orchestrators={name_of(value): value})
    return True


if __name__ == "__main__":
    sys.exit(main())
