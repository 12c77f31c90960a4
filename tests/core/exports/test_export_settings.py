"""The settings of a new export job: what is taken, and what is refused with which words."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from durabletask.core.errors import InvalidArgumentError, InvalidRequestError
from durabletask.core.exports.job import ExportSettings, new_settings
from durabletask.core.instances import OrchestrationStatus

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)


def settings(**changed: Any) -> ExportSettings:
    given: dict[str, Any] = {
        "mode": "batch",
        "completed_from": NOW - timedelta(days=1),
        "completed_to": NOW,
        "statuses": (),
        "container": "exports",
        "prefix": None,
        "format": "jsonl",
        "page_size": 100,
        "max_parallel": 32,
    }
    return new_settings(**{**given, **changed}, now=NOW)


def test_a_batch_job_exports_all_statuses_of_its_window_by_default():
    """Without statuses, COMPLETED, FAILED and TERMINATED instances are exported."""
    made = settings(completed_from=datetime(2026, 2, 1))  # noqa: DTZ001 - a naive time is UTC
    assert made.statuses == (
        OrchestrationStatus.COMPLETED,
        OrchestrationStatus.FAILED,
        OrchestrationStatus.TERMINATED,
    )
    assert made.completed_from == datetime(2026, 2, 1, tzinfo=timezone.utc)


def test_statuses_are_given_by_name_or_as_members():
    """One name alone is one status."""
    assert settings(statuses="failed").statuses == (OrchestrationStatus.FAILED,)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"mode": "weekly"}, "mode must be 'batch' or 'continuous', not 'weekly'"),
        ({"format": "xml"}, "format must be 'jsonl' or 'json', not 'xml'"),
        ({"completed_from": None}, "completed_from is missing"),
        ({"completed_to": None}, "completed_to is missing: a job with mode='batch' needs"),
        ({"completed_to": NOW - timedelta(days=2)}, "must be later than completed_from"),
        ({"completed_from": NOW, "completed_to": NOW}, "must be later than completed_from"),
        ({"completed_to": NOW + timedelta(seconds=1)}, "is in the future"),
        ({"mode": "continuous"}, "completed_to must be left out with mode='continuous'"),
        (
            {"statuses": ["running", "failed"]},
            "statuses can be COMPLETED, FAILED, TERMINATED, and not RUNNING",
        ),
        ({"statuses": "compl"}, "has no member 'compl'"),
        ({"container": " "}, "container must not be empty"),
        ({"page_size": 0}, "page_size must be from 1 to 1000, not 0"),
        ({"page_size": 1001}, "page_size must be from 1 to 1000, not 1001"),
        ({"max_parallel": 0}, "max_parallel must be from 1 to 1000, not 0"),
    ],
)
def test_a_wrong_setting_is_named(changed: dict[str, Any], words: str):
    """The message names the argument and what it can be."""
    with pytest.raises(InvalidRequestError, match=words):
        settings(**changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"page_size": "10"},
        {"max_parallel": True},
        {"completed_from": "today"},
        {"container": 1},
        {"prefix": 2},
    ],
)
def test_a_setting_of_the_wrong_type_is_a_type_error(changed: dict[str, Any]):
    """Also for callers that catch ``TypeError``."""
    with pytest.raises(InvalidArgumentError, match=next(iter(changed))):
        settings(**changed)
