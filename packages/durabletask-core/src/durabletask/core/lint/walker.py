"""The walk through an orchestrator and everything of its module that runs with it."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from .awaiting import GROUPS, TASK_METHODS, kind_of_result, neglect
from .calls import Callee, callee_of
from .definitions import Root, takes_activity_context, takes_context
from .findings import Finding, Silences
from .names import is_set, resolve
from .order import ordered_parts
from .rules import call_usage, reference_usage
from .scopes import AnyFunction, Scope

__all__ = ["Walker"]

_ORDER = "the order of a set differs between processes; iterate over sorted(...)"
_NOT_CHECKED = frozenset({"annotation", "returns", "type_comment", "type_params"})


class Walker:
    """Collects the findings of one file.

    Args:
        file: file name for the findings.
        silences: the lines on which findings are silenced.
        activities: the functions of the file that are registered as activities.
    """

    def __init__(self, file: str, silences: Silences, activities: frozenset[ast.AST] = frozenset()) -> None:
        self._activities = activities
        self._file = file
        self._silences = silences
        self._findings: dict[tuple[int, int, str], Finding] = {}
        self._seen: set[ast.AST] = set()
        self._entries: set[ast.AST] = set()
        self._contexts: set[tuple[Scope, str]] = set()
        self._path: list[ast.AST] = []

    def findings(self) -> list[Finding]:
        """What was found so far, in the order of the source."""
        return sorted(self._findings.values())

    def check(self, root: Root, contexts: Iterable[str] = ()) -> None:
        """Look at one function, and at what it calls in the same module.

        Args:
            root: the function.
            contexts: its parameters that are the orchestration's context, if not annotated so.
        """
        inner = root.scope.child(root.node)
        news = {(inner, name) for name in contexts} - self._contexts
        # A nested function is first seen where it is defined, and only its call shows what it takes.
        if root.node in self._seen and not news:
            return
        self._seen.add(root.node)
        self._contexts |= news
        if root.is_entry:
            self._entries.add(root.node)
        outer, self._path = self._path, []
        self._enter(root.node, root.scope)
        self._path = outer

    def _enter(self, node: AnyFunction, scope: Scope) -> None:
        inner = scope.child(node)
        self._path.append(node)
        for statement in [node.body] if isinstance(node, ast.Lambda) else node.body:
            self._visit(statement, inner)
        self._path.pop()

    def _visit(self, node: ast.AST, scope: Scope) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                self._nested(node, scope)
                return
            case ast.ClassDef():
                scope = scope.child(node)
            case ast.Call():
                self._call(node, scope)
            case ast.Name() | ast.Attribute():
                self._reference(node, scope)
            case ast.Global(names=names):
                self._report(
                    node,
                    scope,
                    "DT113",
                    f"global {', '.join(names)} is shared by all instances and changed again by every replay; "
                    "keep state in local variables, the input or an entity",
                )
            case _:
                pass
        self._iteration(node, scope)
        self._path.append(node)
        for name, value in ast.iter_fields(node):
            if name not in _NOT_CHECKED:
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST):
                        self._visit(child, scope)
        self._path.pop()

    def _nested(self, node: AnyFunction, scope: Scope) -> None:
        if takes_activity_context(Root(node, scope)):
            return
        self._seen.add(node)
        self._enter(node, scope)

    # Contexts

    def _is_context(self, node: ast.AST, scope: Scope, depth: int = 0) -> bool:
        if not isinstance(node, ast.Name) or depth > 4:
            return False
        found = scope.find(node.id)
        if found is None:
            return False
        owner, bindings = found
        if (owner, node.id) in self._contexts:
            return True
        only = bindings[0]
        if len(bindings) != 1:
            return False
        if takes_context(only.annotation, owner):
            return True
        return only.value is not None and self._is_context(only.value, owner, depth + 1)

    def _context_name(self, scope: Scope) -> str:
        current: Scope | None = scope
        while current is not None:
            for name, bindings in current.bindings.items():
                if bindings[0].is_parameter and self._is_context(ast.Name(name, ast.Load()), current):
                    return name
            current = current.parent
        return "context"

    # Rules

    def _call(self, node: ast.Call, scope: Scope) -> None:
        path = resolve(node.func, scope)
        usage = call_usage(path, len(node.args) + len(node.keywords)) if path is not None else None
        if usage is not None:
            message = usage.message(f"{_text(node.func)}()", self._context_name(scope))
            self._report(node, scope, usage.code, message)
        callee = callee_of(node, scope)
        if callee is not None:
            self._follow(node, callee, scope)
        self._neglected(node, path or "", callee, scope)

    def _follow(self, node: ast.Call, callee: Callee, scope: Scope) -> None:
        own = callee.root.own_parameters()
        named = {item.arg for item in own}
        contexts = [
            item.arg
            for item, value in zip(own, callee.arguments, strict=False)
            if self._is_context(value, scope)
        ]
        contexts += [
            keyword.arg
            for keyword in callee.keywords
            if keyword.arg is not None and keyword.arg in named and self._is_context(keyword.value, scope)
        ]
        is_activity = callee.root.node in self._activities and bool(contexts)
        if is_activity or takes_activity_context(callee.root):
            function, context = _text(node.func), self._context_name(scope)
            self._report(
                node,
                scope,
                "DT114",
                f"{function}() runs the activity here, again at every replay, and records nothing; "
                f"await {context}.call_activity({function}, ...)",
            )
        else:
            self.check(callee.root, contexts)

    def _neglected(self, node: ast.Call, path: str, callee: Callee | None, scope: Scope) -> None:
        function = node.func
        is_task = path.startswith("durabletask.") and path.endswith(GROUPS)
        if isinstance(function, ast.Attribute) and function.attr in TASK_METHODS:
            is_task = is_task or self._is_context(function.value, scope)
        made = "task" if is_task else "" if callee is None else kind_of_result(callee.root)
        if not made:
            return
        in_coroutine = isinstance(scope.node, ast.AsyncFunctionDef)
        is_result = scope.node in self._entries and (in_coroutine or scope.is_generator)
        reproach = neglect(node, self._path, scope, is_iterable=made == "generator", is_result=is_result)
        if reproach is None:
            return
        keyword = "await" if in_coroutine else "yield" if is_task else "yield from"
        self._report(
            node,
            scope,
            "DT111",
            f"the {made} of {_text(function)}() {reproach}; write {keyword} {_text(function)}(...)",
        )

    def _reference(self, node: ast.Name | ast.Attribute, scope: Scope) -> None:
        parent = self._path[-1] if self._path else None
        is_called = isinstance(parent, ast.Call) and parent.func is node
        if is_called or not isinstance(node.ctx, ast.Load):
            return
        path = resolve(node, scope)
        usage = reference_usage(path) if path is not None else None
        if usage is not None:
            self._report(node, scope, usage.code, usage.message(_text(node), self._context_name(scope)))

    def _iteration(self, node: ast.AST, scope: Scope) -> None:
        for iterated in ordered_parts(node, self._path, scope):
            if is_set(iterated, scope):
                self._report(iterated, scope, "DT110", _ORDER)

    # Findings

    def _report(self, node: ast.expr | ast.stmt, scope: Scope, code: str, message: str) -> None:
        if self._silences.cover(code, node.lineno, node.end_lineno or node.lineno):
            return
        column = node.col_offset + 1
        name = scope.qualified_name or "<module>"
        # The first look at a function names the context as the code around it does.
        self._findings.setdefault(
            (node.lineno, column, code), Finding(self._file, node.lineno, column, code, message, name)
        )


def _text(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else f"{text[:57]}..."
