"""The linter: finds what in an orchestrator would not come out the same in a replay.

    >>> from durabletask.core.lint import lint
    >>> for finding in lint("src/"):
    ...     print(finding)

``python -m durabletask.core.lint PATH...`` does the same on the command line. The linter reads source, it
runs nothing. It looks at orchestrators and at the functions of the same module that they call. A comment
``# durable: ok`` silences a line, ``# durable: ok DT101`` one rule on it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import CodeType, FunctionType

from .findings import Finding
from .orchestrators import find_activities, find_orchestrators
from .rules import RULES
from .source import code_of, module_source, parse, root_of
from .walker import Walker

__all__ = ["RULES", "Finding", "lint"]

_MAX_KNOWN = 1024
# Workers of one process register the same orchestrators again and again.
_KNOWN: dict[tuple[CodeType, str], tuple[Finding, ...]] = {}
_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages"})


def lint(callable_or_path: object, /) -> list[Finding]:
    """Find what an orchestrator does that a replay would not repeat.

    Args:
        callable_or_path: an orchestrator as it is registered (a function, or an object or class with a
            ``run`` method), or the path of a Python file or of a folder of them, as text or path object.

    Returns:
        The findings in the order of the source. A callable whose source is not at hand has none.

    Raises:
        FileNotFoundError: there is nothing at the path.
    """
    if isinstance(callable_or_path, (str, os.PathLike)):
        return _lint_path(Path(callable_or_path))
    found = code_of(callable_or_path)
    if found is None:
        return []
    code, function = found
    key = (code, code.co_filename)
    if key not in _KNOWN:
        if len(_KNOWN) >= _MAX_KNOWN:
            _KNOWN.clear()
        _KNOWN[key] = _lint_code(code, function)
    return list(_KNOWN[key])


def _lint_code(code: CodeType, function: FunctionType) -> tuple[Finding, ...]:
    try:
        module = parse(module_source(code, function))
        root = root_of(code, module.scope)
        if root is None:
            return ()
        walker = Walker(code.co_filename, module.silences, find_activities(module.scope))
        walker.check(replace(root, is_entry=True), [item.arg for item in root.own_parameters()[:1]])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return tuple(walker.findings())


def _lint_path(path: Path) -> list[Finding]:
    if not path.exists():
        raise FileNotFoundError(
            f"No file or folder at {path}. The lint takes Python files and folders of them."
        )
    return [finding for file in _python_files(path) for finding in _lint_file(file)]


def _python_files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.rglob("*.py")):
        folders = file.relative_to(path).parts[:-1]
        if not any(name in _SKIPPED_FOLDERS or name.startswith(".") for name in folders):
            yield file


def _lint_file(file: Path) -> list[Finding]:
    import tokenize  # noqa: PLC0415 - registrations never read a file by its path

    try:
        with tokenize.open(file) as stream:
            module = parse(stream.read())
        walker = Walker(str(file), module.silences, find_activities(module.scope))
        for root in find_orchestrators(module.scope):
            walker.check(root, [item.arg for item in root.own_parameters()[:1]])
    except (SyntaxError, ValueError, RecursionError, OSError) as error:
        line = (error.lineno or 1) if isinstance(error, SyntaxError) else 1
        reason = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        return [
            Finding(str(file), line, 1, "DT100", f"the file cannot be read as Python: {reason}", "<module>")
        ]
    return walker.findings()
