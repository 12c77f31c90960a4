"""What a call inside of a module runs."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from .definitions import Root, method_of
from .names import definition_of, resolve
from .scopes import Scope, parameters

__all__ = ["Callee", "callee_of"]

_MAX_DEPTH = 8


@dataclass(frozen=True)
class Callee:
    """A function of the module, and what it is called with.

    Attributes:
        root: the function.
        arguments: values for its own parameters, in their order.
        keywords: values by name of the parameter.
        is_unbound: a method taken from its class, so that the object comes first.
    """

    root: Root
    arguments: tuple[ast.expr, ...] = ()
    keywords: tuple[ast.keyword, ...] = ()
    is_unbound: bool = False

    def given(self, call: ast.Call, skipped: int = 0) -> Callee:
        """The same with the arguments of a call after those that it has."""
        arguments = (*self.arguments, *call.args[skipped:])
        if self.is_unbound and arguments:
            return Callee(self.root, arguments[1:], (*self.keywords, *call.keywords))
        return replace(self, arguments=arguments, keywords=(*self.keywords, *call.keywords))


def callee_of(call: ast.Call, scope: Scope) -> Callee | None:
    """The function of the same module that a call runs, as far as the source shows it.

    That is a function, lambda or `functools.partial` under a name, and a method of a class, of a new
    object, of a variable that holds one, of ``self``, ``cls`` or ``super()``.
    """
    found = _value(call.func, scope, 0)
    return None if found is None else found.given(call)


def _value(node: ast.AST, scope: Scope, depth: int) -> Callee | None:
    """The function that an expression stands for."""
    if depth > _MAX_DEPTH:
        return None
    match node:
        case ast.Lambda():
            return Callee(Root(node, scope))
        case ast.Name(id=name):
            owner, bindings = scope.find(name) or (scope, [])
            if len(bindings) != 1:
                return None
            definition, value = bindings[0].definition, bindings[0].value
            if isinstance(definition, (ast.FunctionDef, ast.AsyncFunctionDef)):
                return Callee(Root(definition, owner))
            return None if value is None else _value(value, owner, depth + 1)
        case ast.Call(args=[function, *_]) if resolve(node.func, scope) == "functools.partial":
            found = _value(function, scope, depth + 1)
            return None if found is None else found.given(node, skipped=1)
        case ast.Attribute():
            return _method(node, scope)
        case _:
            return None


def _method(node: ast.Attribute, scope: Scope) -> Callee | None:
    found = _class_of(node.value, scope)
    if found is None:
        return None
    owner, holder, is_object = found
    method = method_of(owner, holder, node.attr)
    if method is None:
        return None
    takes_object = not {"staticmethod", "classmethod"} & method.decorators
    return Callee(method, is_unbound=takes_object and not is_object)


def _class_of(node: ast.AST, scope: Scope, depth: int = 0) -> tuple[ast.ClassDef, Scope, bool] | None:
    """The class behind an expression, the scope that holds it, and whether the expression is an object."""
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id == "super":
            return _base_class(scope)
        named = definition_of(node.func, scope)
        return (named[0], named[1], True) if named and isinstance(named[0], ast.ClassDef) else None
    if not isinstance(node, ast.Name) or depth > _MAX_DEPTH:
        return None
    owner, bindings = scope.find(node.id) or (scope, [])
    if len(bindings) != 1:
        return None
    only = bindings[0]
    if isinstance(only.definition, ast.ClassDef):
        return only.definition, owner, False
    if only.value is not None:
        return _class_of(only.value, owner, depth + 1)
    return _own_class(owner, node.id) if only.is_parameter else None


def _own_class(scope: Scope, name: str) -> tuple[ast.ClassDef, Scope, bool] | None:
    """The class of ``self`` or ``cls``, when ``name`` is that in the method that ``scope`` belongs to."""
    method, around = scope.node, scope.parent
    if around is None or around.parent is None or not isinstance(around.node, ast.ClassDef):
        return None
    if not isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return None
    root = Root(method, around)
    first = parameters(method)[0].arg
    if name != first or "staticmethod" in root.decorators:
        return None
    return around.node, around.parent, "classmethod" not in root.decorators


def _base_class(scope: Scope) -> tuple[ast.ClassDef, Scope, bool] | None:
    """The first base class of the same module, for ``super()`` in a method."""
    current: Scope | None = scope
    while current is not None and not isinstance(current.node, ast.ClassDef):
        current = current.parent
    if current is None or current.parent is None or not isinstance(current.node, ast.ClassDef):
        return None
    for base in current.node.bases:
        named = definition_of(base, current.parent)
        if named is not None and isinstance(named[0], ast.ClassDef):
            return named[0], named[1], True
    return None
