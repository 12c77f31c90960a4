"""Tasks and coroutines that are made and then forgotten (DT111)."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from .definitions import Root
from .scopes import Scope

__all__ = ["GROUPS", "TASK_METHODS", "kind_of_result", "neglect"]

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

GROUPS: tuple[str, ...] = (".task_all", ".task_any", ".Task.all", ".Task.any")
"""How the paths of the functions end that make one task of many."""

_CONTAINERS = (ast.List, ast.Tuple, ast.Set, ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.Starred)
_TRANSPARENT = (*_CONTAINERS, ast.IfExp, ast.BoolOp, ast.withitem)
# Identity and membership are questions about the task itself.
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_OPERATIONS = (ast.BinOp, ast.UnaryOp, ast.FormattedValue)
# Any other decorator may turn a coroutine or generator into something else (`@contextmanager`).
_PLAIN_DECORATORS = frozenset({"staticmethod", "classmethod"})
# Methods that write what they are given into the history.
_SERIALIZING = frozenset({
    "call_activity",
    "call_entity",
    "call_sub_orchestrator",
    "continue_as_new",
    "send_event",
    "set_custom_status",
    "signal_entity",
})  # fmt: skip
_AS_VALUE = "is used as a value before it was awaited"


def kind_of_result(root: Root) -> str:
    """What a call of a function makes: a ``coroutine``, a ``generator``, or something else (empty)."""
    if root.decorators - _PLAIN_DECORATORS:
        return ""
    if root.scope.child(root.node).is_generator:
        return "generator"
    return "coroutine" if isinstance(root.node, ast.AsyncFunctionDef) else ""


def neglect(
    call: ast.Call, path: Sequence[ast.AST], scope: Scope, *, is_iterable: bool, is_result: bool
) -> str | None:
    """How a new task, coroutine or generator is neglected, as the end of a sentence about it.

    Args:
        call: the call that makes it.
        path: the nodes around the call, outermost first.
        scope: the scope of the function that holds the call.
        is_iterable: it may be iterated over.
        is_result: what the function returns is the result of the orchestration.

    Returns:
        The neglect, or ``None`` when it is awaited, passed on, returned, or stored.
    """
    node: ast.AST = call
    in_container = False
    for parent in reversed(path):
        if isinstance(parent, ast.Expr):
            return "is never awaited"
        if isinstance(parent, (ast.Assign, ast.AnnAssign)):
            return _neglected_variable(parent, scope, in_container, is_iterable, is_result)
        if isinstance(parent, ast.Return):
            return "is returned before it was awaited" if is_result else None
        if not in_container and _takes_value(parent, node, is_iterable):
            return _AS_VALUE
        if not isinstance(parent, _TRANSPARENT) or (isinstance(parent, ast.IfExp) and node is parent.test):
            return None
        in_container = in_container or isinstance(parent, _CONTAINERS)
        node = parent
    return None


def _takes_value(parent: ast.AST, node: ast.AST, is_iterable: bool) -> bool:
    """Whether ``parent`` computes with ``node``, which makes no sense with a task."""
    match parent:
        case ast.Compare(ops=operators):
            return any(isinstance(item, _COMPARISONS) for item in operators)
        case ast.Subscript(value=value):
            return value is node
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) | ast.Assert(test=test):
            return test is node
        case ast.comprehension(ifs=tests) if node in tests:
            return True
        case (
            ast.For(iter=iterated)
            | ast.AsyncFor(iter=iterated)
            | ast.comprehension(iter=iterated)
            | ast.Starred(value=iterated)
        ):
            return iterated is node and not is_iterable
        case ast.Call(func=ast.Attribute(attr=method), args=arguments) if method in _SERIALIZING:
            return node in arguments and not is_iterable
        case ast.With(items=items):
            return any(node in (item, item.context_expr) for item in items)
        case _:
            return isinstance(parent, _OPERATIONS)


def _neglected_variable(
    assignment: ast.Assign | ast.AnnAssign,
    scope: Scope,
    in_container: bool,
    is_iterable: bool,
    is_result: bool,
) -> str | None:
    targets = assignment.targets if isinstance(assignment, ast.Assign) else [assignment.target]
    if len(targets) != 1 or not isinstance(targets[0], ast.Name):
        return None
    name = targets[0].id
    if name in scope.borrowed or not isinstance(scope.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return None
    uses = list(_uses(name, scope.node))
    if not uses:
        return f"is kept in {name}, which is never awaited"
    if in_container or len(scope.bindings.get(name, [])) != 1:
        return None
    returns = [isinstance(parent, ast.Return) for parent, _ in uses]
    if is_result and all(returns):
        return f"is kept in {name}, which is returned before it was awaited"
    if all(_takes_value(parent, node, is_iterable) for parent, node in uses):
        return f"is kept in {name}, which {_AS_VALUE}"
    return None


def _uses(name: str, function: ast.AST) -> Iterator[tuple[ast.AST, ast.expr]]:
    """Where a function reads a variable, each with the node around it; for ``with`` that is the statement."""
    for parent in ast.walk(function):
        if isinstance(parent, ast.withitem):
            continue
        within = (
            [item.context_expr for item in parent.items]
            if isinstance(parent, (ast.With, ast.AsyncWith))
            else []
        )
        for node in (*within, *ast.iter_child_nodes(parent)):
            if isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Store):
                yield parent, node
