"""Which functions of a module are orchestrators, and where a call inside of one leads."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .names import definition_of, resolve_annotation
from .scopes import AnyFunction, Scope, parameters

__all__ = ["Root", "called_function", "find_orchestrators", "is_context_annotation", "method_of"]

_ORCHESTRATORS = frozenset({"orchestrators", "orchestrator"})
_OTHERS = frozenset({"activities", "activity", "entities", "entity"})
_ADD_ORCHESTRATOR = frozenset({"add_orchestrator", "add_named_orchestrator", "register_orchestrator"})
_ADD_OTHER = frozenset({"add_activity", "add_named_activity", "register_activity", "add_entity"})
_STARTS = frozenset({"schedule_new_orchestration", "call_sub_orchestrator"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_MAX_BASES = 8


@dataclass(frozen=True)
class Root:
    """A function to look at.

    Attributes:
        node: its definition.
        scope: the scope that holds the definition.
    """

    node: AnyFunction
    scope: Scope

    def own_parameters(self) -> list[ast.arg]:
        """The parameters that the caller fills: without ``self`` or ``cls``."""
        found = parameters(self.node)
        is_method = isinstance(self.scope.node, ast.ClassDef) and not _is_static(self.node)
        return found[1:] if is_method else found


def _is_static(node: AnyFunction) -> bool:
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return any(isinstance(item, ast.Name) and item.id == "staticmethod" for item in decorators)


def is_context_annotation(annotation: ast.expr | None, scope: Scope, name: str) -> bool:
    """Whether an annotation names the class ``name`` (``OrchestrationContext``), under any alias."""
    if annotation is None:
        return False
    path = resolve_annotation(annotation, scope)
    return path is not None and path.rpartition(".")[2] == name


def method_of(owner: ast.ClassDef, scope: Scope, name: str, depth: int = 0) -> Root | None:
    """The method ``name`` of a class, or of its base classes in the same module."""
    inner = scope.child(owner)
    for binding in inner.bindings.get(name, []):
        if isinstance(binding.definition, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return Root(binding.definition, inner)
    for base in owner.bases if depth < _MAX_BASES else []:
        found = definition_of(base, scope)
        if found is not None and isinstance(found[0], ast.ClassDef):
            method = method_of(found[0], found[1], name, depth + 1)
            if method is not None:
                return method
    return None


def _derives_from(owner: ast.ClassDef, scope: Scope, name: str, depth: int = 0) -> bool:
    for base in owner.bases if depth < _MAX_BASES else []:
        if is_context_annotation(base, scope, name):
            return True
        found = definition_of(base, scope)
        if (
            found is not None
            and isinstance(found[0], ast.ClassDef)
            and _derives_from(found[0], found[1], name, depth + 1)
        ):
            return True
    return False


def called_function(call: ast.Call, scope: Scope) -> Root | None:
    """The function of the same module that a call runs: ``helper(...)`` or ``self.helper(...)``."""
    function = call.func
    found = definition_of(function, scope)
    if found is not None and isinstance(found[0], (ast.FunctionDef, ast.AsyncFunctionDef)):
        return Root(found[0], found[1])
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        bound = scope.find(function.value.id)
        owner = bound[0].parent if bound is not None and bound[1][0].is_parameter else None
        if bound is None or owner is None or owner.parent is None or not isinstance(owner.node, ast.ClassDef):
            return None
        method = bound[0].node
        if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)) and not _is_static(method):
            first = parameters(method)[0].arg
            return method_of(owner.node, owner.parent, function.attr) if first == function.value.id else None
    return None


class _Registrations:
    """What the module itself says about roles: it wins over annotations and base classes."""

    def __init__(self) -> None:
        self.orchestrators: dict[ast.AST, Root] = {}
        self.others: set[ast.AST] = set()

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
                elif root is not None:
                    self.orchestrators.setdefault(root.node, root)


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
        case ast.Name(id=name) if depth < _MAX_BASES:
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


def find_orchestrators(module: Scope) -> list[Root]:
    """Every orchestrator that the source of a module shows, in the order of the source.

    A function is one when it is registered under ``orchestrators=`` (or ``add_orchestrator``, or started
    by name of the function), when it is the ``run`` of a `TaskOrchestrator`, or when its first parameter
    is annotated `OrchestrationContext`, unless it is registered for another role.
    """
    registrations = _Registrations()
    functions: list[Root] = []
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
        pending.extend((child, inner) for child in ast.iter_child_nodes(node))
    roots = dict(registrations.orchestrators)
    for root in functions:
        if root.node not in registrations.others and _looks_like_one(root):
            roots.setdefault(root.node, root)
    return sorted(roots.values(), key=lambda root: (root.node.lineno, root.node.col_offset))


def _looks_like_one(root: Root) -> bool:
    owner = root.scope.node
    if isinstance(owner, ast.ClassDef) and not isinstance(root.node, ast.Lambda) and root.node.name == "run":
        around = root.scope.parent or root.scope
        if _derives_from(owner, around, "TaskOrchestrator"):
            return True
        if _derives_from(owner, around, "TaskActivity"):
            return False
    own = root.own_parameters()
    inner = root.scope.child(root.node)
    return bool(own) and is_context_annotation(own[0].annotation, inner, "OrchestrationContext")
