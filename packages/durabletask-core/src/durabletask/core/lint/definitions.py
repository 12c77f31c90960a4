"""Functions and methods of a module, and the roles that their annotations give them."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from .names import annotated_classes, definition_of
from .scopes import AnyFunction, Scope, parameters

__all__ = ["Root", "derives_from", "method_of", "takes_activity_context", "takes_context"]

_MAX_BASES = 8


@dataclass(frozen=True)
class Root:
    """A function to look at.

    Attributes:
        node: its definition.
        scope: the scope that holds the definition.
        is_entry: a worker runs it as an orchestrator, so that what it returns is the result.
    """

    node: AnyFunction
    scope: Scope
    is_entry: bool = False

    @property
    def decorators(self) -> frozenset[str]:
        """The last names of its decorators; a decorator that is an odd expression is called ``?``."""
        if isinstance(self.node, ast.Lambda):
            return frozenset()
        return frozenset(map(_last_name, self.node.decorator_list))

    def own_parameters(self) -> list[ast.arg]:
        """The parameters that the caller fills: without ``self`` or ``cls``."""
        found = parameters(self.node)
        is_method = isinstance(self.scope.node, ast.ClassDef) and "staticmethod" not in self.decorators
        # A lambda in the body of a class is an ordinary function until it is looked up on an object.
        return found[1:] if is_method and not isinstance(self.node, ast.Lambda) else found


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=function):
            return _last_name(function)
        case _:
            return "?"


def takes_context(annotation: ast.expr | None, scope: Scope) -> bool:
    """Whether an annotation names `OrchestrationContext`, under any alias, alone or among others."""
    return "OrchestrationContext" in annotated_classes(annotation, scope)


def takes_activity_context(root: Root) -> bool:
    """Whether a function is annotated as an activity."""
    own = root.own_parameters()
    inner = root.scope.child(root.node)
    return bool(own) and annotated_classes(own[0].annotation, inner) == {"ActivityContext"}


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


def derives_from(owner: ast.ClassDef, scope: Scope, name: str, depth: int = 0) -> bool:
    """Whether a class has a base class called ``name``, directly or through classes of the same module."""
    for base in owner.bases if depth < _MAX_BASES else []:
        if name in annotated_classes(base, scope):
            return True
        found = definition_of(base, scope)
        if (
            found is not None
            and isinstance(found[0], ast.ClassDef)
            and derives_from(found[0], found[1], name, depth + 1)
        ):
            return True
    return False
