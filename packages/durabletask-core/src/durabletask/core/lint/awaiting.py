"""Tasks and coroutines that are made and then forgotten (DT111)."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from .scopes import Scope

__all__ = ["TASK_METHODS", "neglect"]

TASK_METHODS: frozenset[str] = frozenset({
    "call_activity",
    "call_entity",
    "call_sub_orchestrator",
    "create_timer",
    "lock_entities",
    "task_all",
    "task_any",
    "wait_for_external_event",
})  # fmt: skip
"""Methods of the context whose result must be awaited. The others only record what to do."""

_CONTAINERS = (ast.List, ast.Tuple, ast.Set, ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.Starred)
_TRANSPARENT = (*_CONTAINERS, ast.IfExp, ast.BoolOp)
# Identity and membership are questions about the task itself.
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_OPERATIONS = (ast.BinOp, ast.UnaryOp, ast.FormattedValue)


def neglect(call: ast.Call, path: Sequence[ast.AST], scope: Scope) -> str | None:
    """How a new task or coroutine is neglected, as the end of a sentence about it.

    Args:
        call: the call that makes it.
        path: the nodes around the call, outermost first.
        scope: the scope of the function that holds the call.

    Returns:
        The reproach, or ``None`` when it is awaited, handed on, returned, or kept for later.
    """
    node: ast.AST = call
    in_container = False
    for parent in reversed(path):
        if isinstance(parent, ast.Expr):
            return "is never awaited"
        if isinstance(parent, (ast.Assign, ast.AnnAssign)):
            return _neglected_variable(parent, scope, in_container)
        if not in_container and _takes_value(parent, node):
            return "is used as a value before it was awaited"
        if not isinstance(parent, _TRANSPARENT) or (isinstance(parent, ast.IfExp) and node is parent.test):
            return None
        in_container = in_container or isinstance(parent, _CONTAINERS)
        node = parent
    return None


def _takes_value(parent: ast.AST, node: ast.AST) -> bool:
    """Whether ``parent`` computes with ``node``, which makes no sense with a task."""
    match parent:
        case ast.Compare(ops=operators):
            return any(isinstance(item, _COMPARISONS) for item in operators)
        case ast.Subscript(value=value):
            return value is node
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) | ast.Assert(test=test):
            return test is node
        case ast.For(iter=iterated):
            return iterated is node
        case _:
            return isinstance(parent, _OPERATIONS)


def _neglected_variable(
    assignment: ast.Assign | ast.AnnAssign, scope: Scope, in_container: bool
) -> str | None:
    targets = assignment.targets if isinstance(assignment, ast.Assign) else [assignment.target]
    if len(targets) != 1 or not isinstance(targets[0], ast.Name):
        return None
    name = targets[0].id
    if name in scope.borrowed or not isinstance(scope.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return None
    uses = [
        (parent, node)
        for parent in ast.walk(scope.node)
        for node in ast.iter_child_nodes(parent)
        if isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Store)
    ]
    if not uses:
        return f"is kept in {name}, which is never awaited"
    if in_container or len(scope.bindings.get(name, [])) != 1:
        return None
    if all(_takes_value(parent, node) for parent, node in uses):
        return f"is kept in {name}, which is used as a value before it was awaited"
    return None
