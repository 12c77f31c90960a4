"""The shape of the house: module sizes, explicit exports, one version, core's independence."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "packages"
LONGEST_MODULE = 600
LONGEST_FUNCTION = 60


def _sources() -> Iterator[Path]:
    for path in sorted(PACKAGES.glob("*/src/**/*.py")):
        if "_pb2" not in path.name:
            yield path


def _name(path: Path) -> str:
    return str(path.relative_to(PACKAGES))


@pytest.mark.parametrize("path", list(_sources()), ids=_name)
def test_a_module_stays_readable(path: Path) -> None:
    """No module is longer than 600 lines and no function longer than 60."""
    text = path.read_text()

    too_long = [
        f"{node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]

    assert len(text.splitlines()) <= LONGEST_MODULE
    assert too_long == []


REPLAY = sorted((PACKAGES / "durabletask-core/src/durabletask/core/replay").glob("*.py"))


@pytest.mark.parametrize("path", REPLAY, ids=_name)
def test_the_replay_engine_knows_its_types(path: Path) -> None:
    """No signature, attribute or alias of the engine says ``Any``; a local variable may."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        annotations: list[ast.expr | None] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            annotations = [node.returns, *(argument.annotation for argument in arguments if argument)]
        elif isinstance(node, ast.ClassDef | ast.Module):
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign):
                    annotations += [statement.annotation, statement.value]
        found += [
            ast.unparse(each)
            for each in annotations
            if each and any(isinstance(name, ast.Name) and name.id == "Any" for name in ast.walk(each))
        ]

    assert found == []


def _public_modules() -> Iterator[str]:
    durabletask = importlib.import_module("durabletask")
    for module in pkgutil.walk_packages(durabletask.__path__, "durabletask."):
        parts = module.name.split(".")
        if any(part.startswith("_") for part in parts) or "proto" in parts or "_pb2" in module.name:
            continue
        yield module.name


@pytest.mark.parametrize("name", list(_public_modules()))
def test_every_public_module_says_what_it_exports(name: str) -> None:
    """``__all__`` exists, is sorted within reason, and names only what is there."""
    module = importlib.import_module(name)

    exported = getattr(module, "__all__", None)
    assert exported is not None, f"{name} has no __all__"
    assert [entry for entry in exported if not hasattr(module, entry)] == []
    assert len(exported) == len(set(exported))


def test_all_distributions_share_one_version() -> None:
    """Siblings pin each other to the version they carry."""
    versions = set()
    for project in PACKAGES.glob("*/pyproject.toml"):
        text = project.read_text()
        versions |= set(re.findall(r'^version = "([^"]+)"', text, re.MULTILINE))
        versions |= set(re.findall(r'"durabletask[a-z-]*(?:\[[a-z]+\])?==([^"]+)"', text))

    assert len(versions) == 1


def test_only_core_ships_the_shared_package_file() -> None:
    """One wheel owns ``durabletask/__init__.py``; a second one would overwrite it."""
    owners = list(PACKAGES.glob("*/src/durabletask/__init__.py"))

    assert [path.relative_to(PACKAGES).parts[0] for path in owners] == ["durabletask-core"]


def test_every_distribution_is_marked_as_typed() -> None:
    """Type checkers read annotations only where ``py.typed`` is."""
    for name in ("core", "grpc", "azuremanaged", "testing"):
        assert (PACKAGES / f"durabletask-{name}/src/durabletask/{name}/py.typed").exists()
    assert (PACKAGES / "durabletask-core/src/durabletask/py.typed").exists()


def test_any_stays_rare() -> None:
    """Fewer than 3 uses of ``Any`` in 1,000 lines of hand-written code."""
    lines = uses = 0
    for path in _sources():
        text = path.read_text()
        lines += len(text.splitlines())
        uses += sum(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(ast.parse(text)))

    assert uses * 1000 < 3 * lines


def test_every_module_of_core_has_its_layer() -> None:
    """`lint-imports` runs on the wheels only; a module without a layer is found here, with the sources."""
    configuration = (
        (ROOT / "pyproject.toml").read_text("utf-8").partition('containers = ["durabletask.core"]')[2]
    )
    layers = re.findall(r'"([\w: ]+)"', configuration.partition("]\n")[0])
    core = PACKAGES / "durabletask-core/src/durabletask/core"
    modules = {path.stem for path in core.glob("*.py")} | {
        path.parent.name for path in core.glob("*/__init__.py")
    }

    assert sorted(name for layer in layers for name in layer.split(" : ")) == sorted(modules - {"__init__"})


TWINS = {
    "durabletask.sync",
    "durabletask.sync.entities",
    "durabletask.sync.handles",
    "durabletask.sync.orchestrations",
    "durabletask.sync.schedules",
    "durabletask.sync.exports",
    "durabletask.testing.sync",
    "durabletask.testing.sync_entities",
}


def test_no_public_class_name_exists_twice() -> None:
    """Reading a name, one knows the class. The blocking twins alone have the names of what they stand for."""
    homes: dict[str, set[str]] = {}
    for name in set(_public_modules()) - TWINS:
        for exported in importlib.import_module(name).__all__:
            value = getattr(importlib.import_module(name), exported)
            if isinstance(value, type) and value.__module__.startswith("durabletask."):
                homes.setdefault(value.__name__, set()).add(value.__module__)

    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}


FORBIDDEN_WORDS = re.compile(r"\b(nobody|somebody|whoever)\b", re.IGNORECASE)
RECORDED = {"recorded_orchestrators.py", "record_python.py"}
"""Programs whose recorded results have the word."""


def test_texts_are_about_the_code_and_not_about_people() -> None:
    """Sources, pages and tests say what acts: a caller, a worker, a hub."""
    found = {
        f"{path.relative_to(ROOT)}:{number}": line.strip()
        for folder in ("packages", "tests", "docs", "tools", "benchmarks", "examples", ".")
        for path in sorted((ROOT / folder).rglob("*") if folder != "." else ROOT.glob("*"))
        if path.suffix in {".py", ".md"} and path.name not in RECORDED and path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if FORBIDDEN_WORDS.search(line)
    }

    assert found == {}
