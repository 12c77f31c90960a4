"""Which names a function, class or module binds, and to what."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["AnyFunction", "Binding", "Function", "Scope", "parameters"]

Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"
AnyFunction: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda"


@dataclass(frozen=True)
class Binding:
    """One way in which a scope gives a name its value; at most one of the fields is set.

    Attributes:
        imported: dotted path of what an import statement binds.
        definition: the ``def`` or ``class`` statement.
        value: the assigned expression, for plain assignments to one name.
        annotation: the annotation of a parameter or variable.
        is_parameter: bound by the caller of the function.
    """

    imported: str | None = None
    definition: Function | ast.ClassDef | None = None
    value: ast.expr | None = None
    annotation: ast.expr | None = None
    is_parameter: bool = False


@dataclass(eq=False)
class Scope:
    """The names of one module, class or function, and the scope around it.

    Attributes:
        node: the module, class, function or lambda.
        parent: the scope around it.
        bindings: name -> everything that gives it a value here.
        is_generator: a function whose body yields.
        borrowed: names declared ``global`` or ``nonlocal``.
        stars: modules of ``from module import *``.
        children: scopes directly in this one, as far as they were asked for.
        resolved: name -> dotted path, a memo of `names.resolve`.
    """

    node: ast.AST
    parent: Scope | None = None
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    is_generator: bool = False
    borrowed: set[str] = field(default_factory=set)
    stars: list[str] = field(default_factory=list)
    children: dict[ast.AST, Scope] = field(default_factory=dict)
    resolved: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            for argument in parameters(self.node):
                self.bind(argument.arg, Binding(annotation=argument.annotation, is_parameter=True))
        _Collector(self).collect()

    def bind(self, name: str, binding: Binding) -> None:
        """Record one more way in which ``name`` gets its value."""
        self.bindings.setdefault(name, []).append(binding)

    def child(self, node: ast.AST) -> Scope:
        """The scope of a function, lambda or class that stands directly in this one."""
        scope = self.children.get(node)
        if scope is None:
            scope = self.children[node] = Scope(node, self)
        return scope

    def find(self, name: str) -> tuple[Scope, list[Binding]] | None:
        """Where a name used in this scope gets its value; ``None`` for builtins and unknown names."""
        scope: Scope | None = self
        while scope is not None:
            # The body of a class is not around the bodies of its methods.
            visible = scope is self or not isinstance(scope.node, ast.ClassDef)
            if visible and name not in scope.borrowed and name in scope.bindings:
                return scope, scope.bindings[name]
            scope = scope.parent
        return None

    @property
    def qualified_name(self) -> str:
        """Names of the definitions around and including this one, joined by dots."""
        own = "<lambda>" if isinstance(self.node, ast.Lambda) else getattr(self.node, "name", "")
        outer = self.parent.qualified_name if self.parent is not None else ""
        return ".".join(part for part in (outer, own) if part)


def parameters(node: AnyFunction) -> list[ast.arg]:
    """Every parameter in the order of the signature."""
    arguments = node.args
    found = [*arguments.posonlyargs, *arguments.args]
    found += [arguments.vararg] if arguments.vararg else []
    found += arguments.kwonlyargs
    found += [arguments.kwarg] if arguments.kwarg else []
    return found


class _Collector(ast.NodeVisitor):
    """Fills a scope from the statements of its node, without entering nested scopes."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def collect(self) -> None:
        node = self._scope.node
        if isinstance(node, ast.Lambda):
            self.visit(node.body)
        for statement in [] if isinstance(node, ast.Lambda) else getattr(node, "body", []):
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.asname:
                self._scope.bind(alias.asname, Binding(imported=alias.name))
            else:
                root = alias.name.partition(".")[0]
                self._scope.bind(root, Binding(imported=root))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = "." * node.level + (node.module or "")
        separator = "" if source.endswith(".") else "."
        for alias in node.names:
            if alias.name == "*":
                self._scope.stars.append(source)
            else:
                path = f"{source}{separator}{alias.name}"
                self._scope.bind(alias.asname or alias.name, Binding(imported=path))

    def _define(self, node: Function | ast.ClassDef) -> None:
        self._scope.bind(node.name, Binding(definition=node))

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _define  # noqa: N815 - names of NodeVisitor

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """A scope of its own."""

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self._scope.bind(node.id, Binding())

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._scope.bind(target.id, Binding(value=node.value))
            else:
                self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._scope.bind(node.target.id, Binding(value=node.value, annotation=node.annotation))
        if node.value is not None:
            self.visit(node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._scope.bind(node.target.id, Binding(value=node.value))
        self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        # `total |= other` keeps the kind of value that the name already has.
        self.visit(node.value)

    def _bind_name(self, node: ast.ExceptHandler | ast.MatchAs | ast.MatchStar) -> None:
        if node.name is not None:
            self._scope.bind(node.name, Binding())
        self.generic_visit(node)

    visit_ExceptHandler = visit_MatchAs = visit_MatchStar = _bind_name  # noqa: N815 - names of NodeVisitor

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest is not None:
            self._scope.bind(node.rest, Binding())
        self.generic_visit(node)

    def _yield(self, node: ast.Yield | ast.YieldFrom) -> None:
        self._scope.is_generator = True
        self.generic_visit(node)

    visit_Yield = visit_YieldFrom = _yield  # noqa: N815 - names of NodeVisitor

    def _declare(self, node: ast.Global | ast.Nonlocal) -> None:
        self._scope.borrowed.update(node.names)

    visit_Global = visit_Nonlocal = _declare  # noqa: N815 - names of NodeVisitor
