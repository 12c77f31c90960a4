"""Linting what is handed to a worker: functions, objects, classes, and things without source."""

from __future__ import annotations

import functools
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from durabletask.core.lint import Finding, lint

THIS_FILE = __file__


def reads_the_clock(flow: Any) -> float:
    return time.time()


def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


@decorator
def decorated(flow: Any) -> float:
    return time.time()


class Approval:
    def run(self, flow: Any, order: str) -> None:
        self._later(flow)

    def _later(self, c: Any) -> None:
        c.create_timer(random.random())


class CallableObject:
    def __call__(self, flow: Any) -> float:
        return time.time()


def codes(target: object) -> list[str]:
    return [finding.code for finding in lint(target)]


@pytest.mark.parametrize(
    "target",
    [
        reads_the_clock,
        decorated,
        functools.partial(reads_the_clock),
        CallableObject(),
        lambda flow: time.time(),
    ],
)
def test_every_form_of_callable_is_looked_through(target: object) -> None:
    """Decorators that keep ``__wrapped__``, partial objects, callable objects and lambdas are linted."""
    assert codes(target) == ["DT101"]


@pytest.mark.parametrize("target", [Approval, Approval(), Approval().run])
def test_classes_and_their_objects_are_linted_from_run(target: object) -> None:
    """The ``run`` method and the methods that it calls on ``self`` are the orchestrator."""
    assert sorted(codes(target)) == ["DT102", "DT111"]


def test_a_nested_function_sees_the_names_around_it() -> None:
    """Aliases and helpers of the enclosing function are resolved."""
    clock = time

    def helper(c: Any) -> None:
        c.call_activity("x")

    async def orchestrator(c: Any) -> float:
        import random as dice

        helper(c)
        return dice.random()

    assert clock is time
    assert codes(orchestrator) == ["DT111", "DT102"]


def test_a_finding_says_where_and_what() -> None:
    """File, line, column, code, message and function are those of the source."""
    line = reads_the_clock.__code__.co_firstlineno + 1

    found = lint(reads_the_clock)

    expected = Finding(
        file=THIS_FILE,
        line=line,
        column=12,
        code="DT101",
        message="time.time() reads the wall clock, which a replay reads again; use flow.current_utc_datetime",
        function="reads_the_clock",
    )
    assert found == [expected]
    assert str(found[0]) == f"{THIS_FILE}:{line} DT101 {expected.message}"


def test_callables_without_source_have_no_findings() -> None:
    """Functions made at run time, builtins and odd objects give an empty list and no error."""
    namespace: dict[str, Any] = {}
    exec("import time\ndef f(ctx):\n    return time.time()", namespace)

    for target in (namespace["f"], print, len, object(), int, None, 3, functools.partial(print)):
        assert lint(target) == []


def test_a_changed_file_does_not_blame_another_function() -> None:
    """Where the source on disk no longer fits the code, nothing is reported."""
    code = reads_the_clock.__code__.replace(co_firstlineno=1)
    moved = type(reads_the_clock)(code, globals())

    assert lint(moved) == []


def test_source_in_the_line_cache_counts() -> None:
    """Notebooks put their cells there."""
    import linecache

    source = "import time\ndef f(ctx):\n    return time.time()\n"
    name = "<cell 1 of the lint test>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {}
    try:
        exec(compile(source, name, "exec"), namespace)
        assert codes(namespace["f"]) == ["DT101"]
    finally:
        del linecache.cache[name]


def test_deep_expressions_do_not_break_a_registration() -> None:
    """Source that is too deep to walk gives no findings instead of an error."""
    import linecache

    source = "def f(ctx):\n    return " + "+".join(["ctx"] * 3 * sys.getrecursionlimit()) + "\n"
    name = "<deep source of the lint test>"
    code = compile("def f(ctx):\n    return 1\n", name, "exec")
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        assert lint(namespace["f"]) == []
    finally:
        del linecache.cache[name]


def test_the_second_look_is_free() -> None:
    """The findings of one code object are computed once."""
    from durabletask.core.lint import source

    lint(reads_the_clock)
    before = source.parse.cache_info()
    lint(reads_the_clock)

    assert source.parse.cache_info() == before
