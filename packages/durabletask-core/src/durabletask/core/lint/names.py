"""From an expression to the dotted path of what it names, as far as the source shows it."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Sequence

from .scopes import Binding, Function, Scope

__all__ = ["SET", "annotated_classes", "definition_of", "is_set", "resolve", "resolve_annotation"]

SET: str = "builtins.set()"
"""How `resolve` writes "a set object"."""

_BEING_RESOLVED = "?"
_BUILTINS = frozenset(dir(builtins))
_MAX_DEPTH = 12
_MAX_ALIASES = 4
_SET_TYPES = frozenset({
    "builtins.set()",
    "builtins.frozenset()",
    "typing.Set()",
    "typing.FrozenSet()",
    "typing.AbstractSet()",
    "typing.MutableSet()",
    "collections.abc.Set()",
    "collections.abc.MutableSet()",
})  # fmt: skip
_SET_METHODS = frozenset({"union", "intersection", "difference", "symmetric_difference", "copy"})
_SET_OPERATORS = (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)
# `Annotated[T, ...]` names its metadata along with the class, which does no harm.
_WRAPPERS = frozenset({"Annotated", "Optional", "Union"})
_STARRED_NAMES = frozenset({"Task", "task_all", "task_any"})
_DICT_VIEWS = frozenset({"keys", "items"})


def resolve(node: ast.AST | None, scope: Scope, depth: int = 0) -> str | None:
    """The dotted path that an expression stands for.

    Args:
        node: the expression.
        scope: the scope in which it stands.
        depth: how many names were followed so far.

    Returns:
        ``time.time`` for a name or attribute, ``pathlib.Path()`` for an instance of a class, or
        ``None`` when the source does not show it.
    """
    if depth > _MAX_DEPTH:
        return None
    match node:
        case ast.Name():
            return _name(node, scope, depth + 1)
        case ast.Attribute():
            base = resolve(node.value, scope, depth + 1)
            return None if base is None else f"{base}.{node.attr}"
        case ast.Call():
            return _call(node, scope, depth + 1)
        case ast.BinOp():
            return _operation(node, scope, depth + 1)
        case ast.IfExp():
            paths = {resolve(node.body, scope, depth + 1), resolve(node.orelse, scope, depth + 1)}
            return paths.pop() if len(paths) == 1 else None
        case ast.NamedExpr():
            return resolve(node.value, scope, depth + 1)
        case ast.Set() | ast.SetComp():
            return SET
        case _:
            return None


def _name(node: ast.Name, scope: Scope, depth: int) -> str | None:
    found = scope.find(node.id)
    if found is None:
        return f"builtins.{node.id}" if node.id in _BUILTINS else _starred(node.id, scope)
    owner, bindings = found
    if node.id not in owner.resolved:
        owner.resolved[node.id] = _BEING_RESOLVED
        paths = {_bound(binding, owner, depth) for binding in bindings if not _is_placeholder(binding)}
        # What the name contributes to its own value (`seen = seen | more`) adds nothing.
        known = {path for path in paths if path is None or _BEING_RESOLVED not in path}
        owner.resolved[node.id] = known.pop() if len(known) == 1 else None
    return owner.resolved[node.id]


def _starred(name: str, scope: Scope) -> str | None:
    """The path of a name that only ``from module import *`` can have brought."""
    while scope.parent is not None:
        scope = scope.parent
    stars = set(scope.stars)
    if len(stars) > 1:
        # One of several, and only of this package is it known what it brings.
        stars &= {"durabletask"} if name in _STARRED_NAMES else set()
    return f"{stars.pop()}.{name}" if stars else None


def _is_placeholder(binding: Binding) -> bool:
    """Whether a binding is ``name = None``, which leaves the kind of the value to the other bindings."""
    return isinstance(binding.value, ast.Constant) and binding.value.value is None


def _bound(binding: Binding, scope: Scope, depth: int) -> str | None:
    if binding.imported is not None:
        return binding.imported
    if binding.annotation is not None:
        annotated = resolve_annotation(binding.annotation, scope, depth)
        return None if annotated is None else f"{annotated}()"
    # Inside of a function the place of an alias is reported, so its uses need not be.
    if binding.value is not None and (
        scope.parent is None or not isinstance(binding.value, (ast.Name, ast.Attribute))
    ):
        return resolve(binding.value, scope, depth)
    return None


def resolve_annotation(node: ast.expr, scope: Scope, depth: int = 0) -> str | None:
    """The dotted path of the class that an annotation names, quoted or not, without its arguments."""
    if isinstance(node, ast.Subscript):
        return resolve_annotation(node.value, scope, depth)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return resolve_annotation(ast.parse(node.value, mode="eval").body, scope, depth)
        except (SyntaxError, ValueError):
            return None
    path = resolve(node, scope, depth)
    # A class of this module, or a name the module never binds: the bare name is enough.
    return path or (node.id if isinstance(node, ast.Name) else None)


def annotated_classes(node: ast.expr | None, scope: Scope, depth: int = 0) -> frozenset[str]:
    """The last names of the classes that an annotation allows, without ``None``."""
    match node:
        case None | ast.Constant(value=None):
            return frozenset()
        case ast.Constant(value=str(text)):
            try:
                return annotated_classes(ast.parse(text, mode="eval").body, scope, depth)
            except (SyntaxError, ValueError):
                return frozenset()
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _any_of((left, right), scope, depth)
        case ast.Tuple(elts=members):
            return _any_of(members, scope, depth)
        case ast.Name(id=alias) if depth < _MAX_ALIASES:
            owner, bindings = scope.find(alias) or (scope, [])
            values = [binding.value for binding in bindings if binding.value is not None]
            if values:
                return _any_of(values, owner, depth + 1)
        case _:
            pass
    name = (resolve_annotation(node, scope) or "").rpartition(".")[2]
    if name in _WRAPPERS and isinstance(node, ast.Subscript):
        return annotated_classes(node.slice, scope, depth)
    return frozenset({name})


def _any_of(nodes: Sequence[ast.expr], scope: Scope, depth: int) -> frozenset[str]:
    return frozenset().union(*(annotated_classes(node, scope, depth) for node in nodes))


def _call(node: ast.Call, scope: Scope, depth: int) -> str | None:
    function = resolve(node.func, scope, depth)
    if function is None:
        return None
    owner, _, method = function.rpartition(".")
    if method in _SET_METHODS and owner in _SET_TYPES:
        return SET
    if owner == "pathlib.Path" and method in {"cwd", "home"}:
        return "pathlib.Path()"
    return f"{function}()"


def _operation(node: ast.BinOp, scope: Scope, depth: int) -> str | None:
    if isinstance(node.op, ast.Div):
        left = resolve(node.left, scope, depth)
        return left if left == "pathlib.Path()" else None
    if isinstance(node.op, _SET_OPERATORS):
        sides = (node.left, node.right)
        paths = [resolve(side, scope, depth) for side in sides]
        if any(map(_is_view, sides)) or not _SET_TYPES.isdisjoint(paths):
            return SET
        if _BEING_RESOLVED in paths:
            return _BEING_RESOLVED
    return None


def _is_view(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _DICT_VIEWS
    )


def is_set(node: ast.AST, scope: Scope) -> bool:
    """Whether the source shows that an expression is a set or frozenset."""
    return resolve(node, scope) in _SET_TYPES


def definition_of(node: ast.AST, scope: Scope) -> tuple[Function | ast.ClassDef, Scope] | None:
    """The ``def`` or ``class`` statement that a name stands for, with the scope that holds it."""
    if not isinstance(node, ast.Name):
        return None
    found = scope.find(node.id)
    if found is None:
        return None
    owner, bindings = found
    if len(bindings) == 1 and bindings[0].definition is not None:
        return bindings[0].definition, owner
    return None
