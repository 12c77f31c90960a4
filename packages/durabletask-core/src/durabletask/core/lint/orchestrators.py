"""Which functions of a module are orchestrators."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import replace

from .awaiting import TASK_METHODS
from .calls import callee_of
from .definitions import Root, derives_from, method_of, takes_context
from .names import annotated_classes
from .scopes import Scope, parameters

__all__ = ["find_activities", "find_orchestrators"]

_ORCHESTRATORS = frozenset({"orchestrators", "orchestrator"})
_ACTIVITIES = frozenset({"activities", "activity", "add_activity", "add_named_activity", "register_activity"})
_OTHERS = frozenset({"activities", "activity", "entities", "entity"})
_ADD_ORCHESTRATOR = frozenset({"add_orchestrator", "add_named_orchestrator", "register_orchestrator"})
_ADD_OTHER = frozenset({"add_activity", "add_named_activity", "register_activity", "add_entity"})
_STARTS = frozenset({"schedule_new_orchestration", "call_sub_orchestrator"})
# `create_timer` and the like are also methods of other libraries' objects, so they need a usual name.
_TELLING_NAMES = frozenset({"ctx", "context"})
_TELLING_METHODS = (TASK_METHODS - {"create_timer"}) | {"continue_as_new", "set_custom_status"}
_TELLING_VALUES = frozenset({"current_utc_datetime", "is_replaying"})
_SAYS_NOTHING = frozenset({"Any", "object"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_MAX_VARIABLES = 8


class _Registrations:
    """Roles that calls in the module assign; they win over annotations and base classes."""

    def __init__(self) -> None:
        self.orchestrators: dict[ast.AST, Root] = {}
        self.others: set[ast.AST] = set()
        self.activities: set[ast.AST] = set()

    def read(self, call: ast.Call, scope: Scope) -> None:
        for keyword in call.keywords:
            self._note(keyword.arg or "", [keyword.value], scope, _ORCHESTRATORS, _OTHERS)
        function = call.func
        name = function.attr if isinstance(function, ast.Attribute) else ""
        self._note(name, call.args, scope, _ADD_ORCHESTRATOR, _ADD_OTHER)
        if name in _STARTS:
            arguments = [item for item in call.args[:1] if isinstance(item, ast.Name)]
            self._note("orchestrators", arguments, scope, _ORCHESTRATORS, frozenset())

    def _note(
        self,
        name: str,
        values: Iterable[ast.expr],
        scope: Scope,
        orchestrators: frozenset[str],
        others: frozenset[str],
    ) -> None:
        if name not in orchestrators and name not in others:
            return
        for value in values:
            for node, holder in _registered(value, scope):
                root = _entry(node, holder)
                if name in others:
                    self.others.add(node if root is None else root.node)
                    if name in _ACTIVITIES and root is not None:
                        self.activities.add(root.node)
                elif root is not None:
                    self.orchestrators.setdefault(root.node, replace(root, is_entry=True))


def _registered(value: ast.expr, scope: Scope, depth: int = 0) -> Iterator[tuple[ast.AST, Scope]]:
    """The definitions that a registration names: itself, in a collection, or through a variable."""
    match value:
        case ast.Dict(values=items) | ast.List(elts=items) | ast.Tuple(elts=items):
            for item in items:
                yield from _registered(item, scope, depth + 1)
        case ast.Call(func=function):
            yield from _registered(function, scope, depth + 1)
        case ast.Lambda():
            yield value, scope
        case ast.Name(id=name) if depth < _MAX_VARIABLES:
            owner, bindings = scope.find(name) or (scope, [])
            for binding in bindings:
                if binding.definition is not None:
                    yield binding.definition, owner
                elif binding.value is not None:
                    yield from _registered(binding.value, owner, depth + 1)
        case _:
            return


def _entry(node: ast.AST, scope: Scope) -> Root | None:
    if isinstance(node, _FUNCTIONS):
        return Root(node, scope)
    return method_of(node, scope, "run") if isinstance(node, ast.ClassDef) else None


def find_activities(module: Scope) -> frozenset[ast.AST]:
    """The functions that the source of a module registers as activities."""
    registrations = _Registrations()
    pending: list[tuple[ast.AST, Scope]] = [(module.node, module)]
    while pending:
        node, scope = pending.pop()
        inner = scope
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            inner = scope.child(node)
        elif isinstance(node, ast.Call):
            registrations.read(node, scope)
        pending.extend((child, inner) for child in ast.iter_child_nodes(node))
    return frozenset(registrations.activities - registrations.orchestrators.keys())


def find_orchestrators(module: Scope) -> list[Root]:
    """Every orchestrator that the source of a module shows, in the order of the source.

    A function is one when it is registered under ``orchestrators=`` (or ``add_orchestrator``, or started
    by name of the function), when it is the ``run`` of a `TaskOrchestrator`, or when its first parameter
    is annotated `OrchestrationContext` or used as only that can be, unless it is registered for another
    role. Helpers that take the context look the same; a function that the module itself calls is one.
    """
    registrations = _Registrations()
    functions: list[Root] = []
    helpers: set[ast.AST] = set()
    pending: list[tuple[ast.AST, Scope]] = [(module.node, module)]
    while pending:
        node, scope = pending.pop()
        inner = scope
        if isinstance(node, _FUNCTIONS):
            functions.append(Root(node, scope))
            inner = scope.child(node)
        elif isinstance(node, ast.ClassDef):
            inner = scope.child(node)
        elif isinstance(node, ast.Call):
            registrations.read(node, scope)
            callee = callee_of(node, scope)
            helpers |= {callee.root.node} if callee is not None else set()
        pending.extend((child, inner) for child in ast.iter_child_nodes(node))
    roots = dict(registrations.orchestrators)
    for root in functions:
        if root.node not in registrations.others and _looks_like_one(root):
            roots.setdefault(root.node, replace(root, is_entry=root.node not in helpers))
    return sorted(roots.values(), key=lambda root: (root.node.lineno, root.node.col_offset))


def _looks_like_one(root: Root) -> bool:
    owner = root.scope.node
    if isinstance(owner, ast.ClassDef) and not isinstance(root.node, ast.Lambda) and root.node.name == "run":
        around = root.scope.parent or root.scope
        if derives_from(owner, around, "TaskOrchestrator"):
            return True
        if derives_from(owner, around, "TaskActivity"):
            return False
    own = root.own_parameters()
    if not own:
        return False
    inner = root.scope.child(root.node)
    if takes_context(own[0].annotation, inner):
        return True
    return annotated_classes(own[0].annotation, inner) <= _SAYS_NOTHING and _uses_context(root, own[0].arg)


def _uses_context(root: Root, name: str) -> bool:
    """Whether a function uses its parameter ``name`` as one uses the context of an orchestration."""
    if isinstance(root.node, ast.Lambda) or root.node.name.startswith("test_"):
        return False  # a test may be handed a context of its own making
    if len(root.scope.child(root.node).bindings[name]) != 1:
        return False
    pending: list[ast.AST] = [*root.node.body]
    while pending:
        node = pending.pop()
        if isinstance(node, _FUNCTIONS) and any(item.arg == name for item in parameters(node)):
            continue
        if _is_telling(node, name):
            return True
        pending.extend(ast.iter_child_nodes(node))
    return False


def _is_telling(node: ast.AST, name: str) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=used), attr=method)) if used == name:
            return method in _TELLING_METHODS or (method == "create_timer" and name in _TELLING_NAMES)
        case ast.Attribute(value=ast.Name(id=used), attr=attribute, ctx=ast.Load()) if used == name:
            return attribute in _TELLING_VALUES
        case _:
            return False
