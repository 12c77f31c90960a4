"""Where the order of what is iterated over decides what an orchestrator does (DT110)."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from .awaiting import GROUPS, TASK_METHODS
from .names import resolve
from .scopes import Scope

__all__ = ["ordered_parts"]


def _builtins(names: str) -> frozenset[str]:
    return frozenset(f"builtins.{name}" for name in names.split())


_ORDER_FREE = _builtins("sorted set frozenset len sum min max any all")
# What leaves the members as they are, so that the code that takes the result decides whether the order counts.
_KEEPING = _builtins("list tuple map filter iter reversed dict.fromkeys") | {
    "collections.deque",
    "itertools.chain",
}
_ORDERED = _KEEPING | _builtins("enumerate next zip") | {"functools.reduce"}
_GROUP_METHODS = frozenset({"task_all", "task_any"})
_ACTIONS = TASK_METHODS | {"send_event", "signal_entity"}


def ordered_parts(node: ast.AST, path: Sequence[ast.AST], scope: Scope) -> Sequence[ast.expr]:
    """What a node takes apart in an order that counts.

    Args:
        node: the node.
        path: the nodes around it, outermost first.
        scope: the scope in which it stands.
    """
    match node:
        case ast.For(iter=iterated) | ast.AsyncFor(iter=iterated):
            return [iterated]
        case (
            ast.ListComp(generators=parts)
            | ast.DictComp(generators=parts)
            | ast.GeneratorExp(generators=parts)
        ):
            return [] if _is_order_free(node, path, scope) else [part.iter for part in parts]
        case ast.SetComp(generators=parts):
            return [part.iter for part in parts] if _acts(node) else []
        case ast.Starred(value=value, ctx=ast.Load()):
            return [] if _is_order_free(node, path, scope) else [value]
        case ast.YieldFrom(value=value):
            return [value]
        case ast.Assign(targets=targets, value=value):
            return [value] if any(isinstance(item, (ast.Tuple, ast.List)) for item in targets) else []
        case ast.Call():
            return _consumed(node, path, scope)
        case _:
            return []


def _consumed(node: ast.Call, path: Sequence[ast.AST], scope: Scope) -> Sequence[ast.expr]:
    name = resolve(node.func, scope) or ""
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if isinstance(node.func, ast.Attribute) and method == "pop" and not node.args:
        return [node.func.value]
    if name in _ORDERED and not (name in _KEEPING and _is_order_free(node, path, scope)):
        return node.args
    if method == "join" or method in _GROUP_METHODS or name.endswith(GROUPS):
        return node.args[:1]
    return []


def _is_order_free(node: ast.AST, path: Sequence[ast.AST], scope: Scope) -> bool:
    """Whether ``node`` goes into ``sorted(...)`` or the like, straight or through what keeps its members."""
    for parent in reversed(path):
        match parent:
            case ast.Set():
                return not _acts(node)
            case ast.Compare(ops=[*_, ast.In() | ast.NotIn()], comparators=[*_, last]):
                return last is node and not _acts(node)
            case ast.Call():
                name = resolve(parent.func, scope)
                if name in _ORDER_FREE:
                    return not _acts(node)
                if name not in _KEEPING:
                    return False
            case ast.List() | ast.Tuple():
                if not isinstance(node, ast.Starred):
                    return False
            case ast.ListComp() | ast.GeneratorExp():
                if not isinstance(node, ast.comprehension):
                    return False
            case ast.Starred() | ast.comprehension():
                pass
            case _:
                return False
        node = parent
    return False


def _acts(node: ast.AST) -> bool:
    """Whether something is asked of the context for each member: then the order counts for the history."""
    for part in _repeated(node):
        for item in ast.walk(part):
            if isinstance(item, (ast.Await, ast.Yield, ast.YieldFrom)):
                return True
            if isinstance(item, ast.Attribute) and item.attr in _ACTIONS:
                return True
    return False


def _repeated(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of an expression that run for each member, and not once."""
    for item in ast.walk(node):
        match item:
            case ast.Lambda(body=body):
                yield body
            case (
                ast.ListComp(elt=element, generators=parts)
                | ast.SetComp(elt=element, generators=parts)
                | ast.GeneratorExp(elt=element, generators=parts)
            ):
                yield element
                yield from (test for part in parts for test in part.ifs)
                yield from (part.iter for part in parts[1:])
            case ast.DictComp(key=key, value=value):
                yield from (key, value)
            case _:
                pass
