"""``from durabletask import ...``: the names that programs use."""

from __future__ import annotations

import ast
import inspect
import pydoc
from pathlib import Path

import durabletask
import pytest
from durabletask.core import errors

SOURCE = Path(inspect.getsourcefile(durabletask) or "")

CONTRACT = [
    "DurableTaskClient",
    "DurableTaskWorker",
    "OrchestrationContext",
    "ActivityContext",
    "EntityContext",
    "Task",
    "TaskActivity",
    "TaskOrchestrator",
    "TaskEntity",
    "EntityId",
    "RetryPolicy",
    "RetryAfter",
    "NonRetryableError",
    "OrchestrationStatus",
    "OrchestrationState",
    "FailureDetails",
    "TaskFailedError",
    "TaskFailedException",
    "TaskCancelledError",
    "task_all",
    "task_any",
    "Transport",
    "ConnectionString",
    "VersioningOptions",
    "ReusePolicy",
    "ConcurrencyOptions",
    "DataConverter",
    "JsonDataConverter",
    "WorkerMetrics",
]


def test_the_contract_is_there() -> None:
    """What the documentation and the examples import."""
    assert set(CONTRACT) <= set(durabletask.__all__)
    assert durabletask.TaskFailedException is durabletask.TaskFailedError


def test_checkers_and_programs_see_the_same_names() -> None:
    """The names are written in two places: for checkers, and for the import at the first use."""
    typed = {
        alias.name
        for node in ast.walk(ast.parse(SOURCE.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
        if alias.asname  # a plain import is no re-export
    }

    assert typed == set(durabletask.__all__)
    assert set(durabletask.__all__) <= set(dir(durabletask))


@pytest.mark.parametrize("name", durabletask.__all__)
def test_every_name_can_be_imported_and_explains_itself(name: str) -> None:
    """It and every public method has a text for ``help``."""
    found = getattr(durabletask, name)

    assert inspect.getdoc(found)
    for member, value in vars(found).items() if inspect.isclass(found) else ():
        if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            assert inspect.getdoc(value), f"{name}.{member}"
    assert found.__name__ in pydoc.render_doc(found, renderer=pydoc.plaintext)


def test_every_error_that_a_call_can_end_in_can_be_imported_from_the_top() -> None:
    """Errors of one backend alone, and those that only end orchestrations, stay in ``durabletask.core.errors``."""
    of_one_backend = {"OwnershipError", "StorageError", "RemoteError"}
    caught = {
        name
        for name in errors.__all__
        if inspect.isclass(found := getattr(errors, name))
        and issubclass(found, (errors.TransportError, errors.ConfigurationError, errors.TaskError))
    }

    assert caught - of_one_backend <= set(durabletask.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Like that of any module."""
    with pytest.raises(AttributeError, match="'durabletask' has no attribute 'Workflow'"):
        durabletask.Workflow  # noqa: B018
