"""Writes the blocking twins of the async classes: ``python tools/generate_sync.py [--check]``.

A twin holds the async object as ``self._inner`` and an event loop that runs elsewhere. Each of its methods hands
the call to that loop and waits for the result, so the code of all of them follows from the async signature. This
script writes that code between two comments in the class of the twin:

    class DurableTaskClient:
        ...                                                        # written by hand
        # <generated from durabletask.core.client.DurableTaskClient>
        ...                                                        # written by this script
        # </generated>

To add a module: write its imports, and for each class the docstring, ``__init__``, ``_call`` and whatever differs
from the rules below; put the two comments at the end of the class; name the file in ``MODULES``; run the script. A
name that the hand-written part of the class defines is not generated.

The rules, by the kind of the async member:

* property: the property of ``self._inner``;
* ``def``: the same call of ``self._inner``;
* ``async def``: ``self._call(lambda: self._inner.name(...))``, where ``_call`` has the type ``core.portal.Call``;
* a ``def`` that returns one of ``AWAITABLES``: the same, and the twin returns ``None``;
* a result of one of ``TWINS``: the twin of it, made as ``Twin(result, self._call)``.

Signatures and docstrings are copied; ``WORDS`` lists what is replaced in them. Names with a leading underscore are
left out, also ``__aenter__`` and ``__aexit__``. ``tests/core/sync/test_generated.py`` fails when a file is not what
this script would write.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [ROOT / "packages" / f"durabletask-{name}/src" for name in ("core", "testing")]

MODULES = (
    ROOT / "packages/durabletask-core/src/durabletask/sync/__init__.py",
    ROOT / "packages/durabletask-core/src/durabletask/sync/entities.py",
    ROOT / "packages/durabletask-core/src/durabletask/sync/handles.py",
    ROOT / "packages/durabletask-core/src/durabletask/sync/orchestrations.py",
    ROOT / "packages/durabletask-core/src/durabletask/sync/schedules.py",
    ROOT / "packages/durabletask-core/src/durabletask/sync/exports.py",
    ROOT / "packages/durabletask-testing/src/durabletask/testing/sync.py",
    ROOT / "packages/durabletask-testing/src/durabletask/testing/sync_entities.py",
)

TWINS = {
    "AsyncPages": "Pages",
    "Exports": "Exports",
    "Schedules": "Schedules",
    "OrchestrationHandle": "OrchestrationHandle",
    "OrchestrationRun": "OrchestrationRun",
}
"""Class of a result -> class of its twin in the generated module."""

AWAITABLES = frozenset({"Command"})
"""Classes whose objects may be awaited or not; the twin always waits for them."""

LEFT_OUT = frozenset({"client", "hub"})
"""Members that return an object for async code, which the twin does not offer."""

WORDS = (("AsyncPages", "Pages"), ("``async for", "``for"), ("``async with", "``with"), ("``await ", "``"))

_REGION = re.compile(
    r"(?P<open> +# <generated from (?P<path>[\w.]+)>\n)(?P<body>.*?)(?P<close> +# </generated>\n)", re.DOTALL
)


def generated(path: Path) -> str:
    """What a module should contain."""
    text = path.read_text()
    by_hand = {
        (node.name, name)
        for node in ast.parse(_REGION.sub("", text)).body
        if isinstance(node, ast.ClassDef)
        for name in _names(node)
    }

    def region(match: re.Match[str]) -> str:
        module, _, name = match["path"].rpartition(".")
        source = _source_of(module)
        owner = re.findall(r"^class (\w+)", text[: match.start()], re.MULTILINE)[-1]
        written = [
            textwrap.indent(member, "    ")
            for member in members(source, name, skipped={each for twin, each in by_hand if twin == owner})
        ]
        return match["open"] + "\n" + "\n".join(written) + "\n" + match["close"]

    return _formatted(_REGION.sub(region, text), path)


def _names(node: ast.ClassDef) -> list[str]:
    return [each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]


def _source_of(module: str) -> str:
    relative = Path(*module.split(".")).with_suffix(".py")
    return next(folder / relative for folder in SOURCES if (folder / relative).exists()).read_text()


def _replaced(text: str) -> str:
    for old, new in WORDS:
        text = text.replace(old, new)
    return text


def members(source: str, name: str, skipped: set[str]) -> Iterator[str]:
    """The generated members of the twin of one class, without indentation."""
    tree = ast.parse(source)
    owner = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    overloaded: set[str] = set()
    for node in owner.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") or node.name in skipped | LEFT_OUT:
            continue
        decorators = [ast.unparse(each) for each in node.decorator_list]
        head = "".join(f"@{each}\n" for each in decorators)
        head += f"def {node.name}({ast.unparse(node.args)}) -> {_result(node)}:\n"
        if "overload" in decorators:
            overloaded.add(node.name)
            yield _replaced(f"{head}    ...\n")
            continue
        docstring = ast.get_docstring(node, clean=True)
        assert docstring, f"{name}.{node.name} has no docstring"
        closing = "\n" if "\n" in docstring else ""
        text = textwrap.indent(f'"""{docstring}{closing}"""\n', "    ")
        body = _body(node, is_property="property" in decorators, is_overloaded=node.name in overloaded)
        yield _replaced(f"{head}{text}    {body}\n")


def _result(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    assert node.returns is not None, f"{node.name} has no annotation of its result"
    return "None" if _class_of(node.returns) in AWAITABLES else ast.unparse(node.returns)


def _class_of(annotation: ast.expr) -> str:
    outer = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return ast.unparse(outer)


def _body(node: ast.FunctionDef | ast.AsyncFunctionDef, *, is_property: bool, is_overloaded: bool) -> str:
    assert node.returns is not None
    kind = _class_of(node.returns)
    call, prelude = f"self._inner.{node.name}", ""
    arguments = list(_arguments(node.args))
    if is_overloaded:  # the implementation takes 'object', which no overload does
        for each in _objects(node.args):
            prelude += f"any_{each}: Any = {each}  # checked by the overloads\n    "
            arguments = [re.sub(rf"\b{each}$", f"any_{each}", argument) for argument in arguments]
    if isinstance(node, ast.AsyncFunctionDef) or kind in AWAITABLES:
        action = f"lambda: {call}({', '.join(arguments)})" if arguments else call
        call = f"self._call({action})"
    elif not is_property:
        call += f"({', '.join(arguments)})"
    if kind in TWINS:
        call = f"{TWINS[kind]}({call}, self._call)"
    return prelude + (call if _result(node) == "None" else f"return {call}")


def _arguments(given: ast.arguments) -> Iterator[str]:
    for each in (*given.posonlyargs, *given.args)[1:]:
        yield each.arg
    if given.vararg is not None:
        yield f"*{given.vararg.arg}"
    for each in given.kwonlyargs:
        yield f"{each.arg}={each.arg}"
    if given.kwarg is not None:
        yield f"**{given.kwarg.arg}"


def _objects(given: ast.arguments) -> list[str]:
    """Arguments of any type, inputs aside, which some overload takes as they are."""
    return [
        each.arg
        for each in (*given.args, *given.kwonlyargs)
        if each.annotation is not None and ast.unparse(each.annotation) == "object" and each.arg != "input"
    ]


def _formatted(text: str, path: Path) -> str:
    spec = importlib.util.find_spec("ruff")
    assert spec is not None, "the development environment has ruff"
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(path), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def main(arguments: list[str]) -> int:
    """Write the modules, or with ``--check`` say which ones are not up to date."""
    stale = [path for path in MODULES if path.read_text() != generated(path)]
    for path in stale:
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} is out of date. Run: python tools/generate_sync.py")
        else:
            path.write_text(generated(path))
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
