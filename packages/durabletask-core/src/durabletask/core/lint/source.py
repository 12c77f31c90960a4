"""From a callable or a file to the syntax tree of its module."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
from types import CodeType, FunctionType

from .definitions import Root
from .findings import Silences
from .scopes import Scope, parameters

__all__ = ["Module", "code_of", "module_source", "parse", "root_of"]


class Module:
    """A parsed module: its scope and its silencing comments."""

    def __init__(self, source: str) -> None:
        tree = ast.parse(source)
        self.scope: Scope = Scope(tree)
        self.silences: Silences = Silences(source)


# A registration asks for the functions of a few modules one after the other; trees are large.
@functools.lru_cache(maxsize=4)
def parse(source: str) -> Module:
    """The module of a source text.

    Raises:
        SyntaxError: the text is not Python.
        ValueError: the text holds null bytes.
    """
    return Module(source)


def code_of(target: object) -> tuple[CodeType, FunctionType] | None:
    """The code that runs when ``target`` is used as an orchestrator, with the function that owns it."""
    for _ in range(16):
        if isinstance(target, functools.partial):
            target = target.func
        elif inspect.ismethod(target):
            target = target.__func__
        elif inspect.isfunction(target):
            if not hasattr(target, "__wrapped__"):
                return target.__code__, target
            target = target.__wrapped__
        else:
            owner = target if isinstance(target, type) else type(target)
            target = getattr(owner, "run", None) or (None if isinstance(target, type) else owner.__call__)
    return None


def module_source(code: CodeType, function: FunctionType) -> str:
    """The source of the module that holds a function; empty when it is not at hand."""
    return "".join(linecache.getlines(code.co_filename, function.__globals__))


def root_of(code: CodeType, scope: Scope) -> Root | None:
    """The definition in a module from which a code object was compiled."""
    pending: list[tuple[ast.AST, Scope]] = [(scope.node, scope)]
    while pending:
        node, holder = pending.pop()
        inner = holder
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            if _compiles_to(node, code):
                return Root(node, holder)
            inner = holder.child(node)
        elif isinstance(node, ast.ClassDef):
            inner = holder.child(node)
        pending.extend(
            (child, inner) for child in ast.iter_child_nodes(node) if _may_hold(child, code.co_firstlineno)
        )
    return None


def _first_line(node: ast.AST) -> int:
    decorators = getattr(node, "decorator_list", [])
    first = decorators[0] if decorators else node
    return int(getattr(first, "lineno", 0))


def _may_hold(node: ast.AST, line: int) -> bool:
    # Nodes without a position (arguments, comprehensions, match cases) are entered.
    end = getattr(node, "end_lineno", None)
    return end is None or _first_line(node) <= line <= end


def _compiles_to(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, code: CodeType) -> bool:
    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return (
        code.co_name == name
        and code.co_firstlineno == _first_line(node)
        and {item.arg for item in parameters(node)} == set(code.co_varnames[:count])
    )
