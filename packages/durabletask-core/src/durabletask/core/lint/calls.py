"""Where a call inside of a module leads."""

from __future__ import annotations

import ast

from .definitions import Root, is_static, method_of
from .names import definition_of
from .scopes import Scope, parameters

__all__ = ["called_function"]


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
        if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)) and not is_static(method):
            first = parameters(method)[0].arg
            return method_of(owner.node, owner.parent, function.attr) if first == function.value.id else None
    return None
