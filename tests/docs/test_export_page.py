"""The code blocks of ``docs/export.md`` run as they stand, and its table lists every argument."""

from __future__ import annotations

import inspect
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from durabletask import DurableTaskClient
from durabletask.core.exports.client import Exports
from durabletask.core.exports.forms import FORMS

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
TEXT = PAGE.read_text("utf-8")
CODE = "\n\n".join(re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))


async def test_the_code_of_the_page_exports_and_replays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With nothing but what the page defines."""
    names: dict[str, Any] = {"__name__": "docs_export"}
    exec(compile(CODE, str(PAGE), "exec"), names)
    connection_string = "Endpoint=memory://export-page"
    async with (
        DurableTaskClient(connection_string) as client,
        names["make_worker"](connection_string, tmp_path),
    ):
        for name in ("Ada", "Grace"):
            instance_id = await client.schedule_new_orchestration(names["greet"], name)
            await client.wait_for_orchestration_completion(instance_id)
        await names["archive"](client)

    assert capsys.readouterr().out == "COMPLETED: 2 of 2 exported, 0 failed\n"
    names["check_that_the_code_still_fits"](tmp_path)


def test_the_table_has_every_argument() -> None:
    """In the order in which they are declared."""
    arguments = [
        name for name in inspect.signature(Exports.create).parameters if name not in {"self", "job_id"}
    ]
    section = TEXT.partition("## Create a job")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == arguments


def test_the_table_of_sdks_has_every_form() -> None:
    """With the entity that each has."""
    rows = re.findall(r"^\| `\"(\w+)\"` \| .* \| `(\w+)` \|", TEXT, re.MULTILINE)
    assert rows == [(name, form.entity) for name, form in FORMS.items()]


def test_the_times_of_the_page_are_those_of_the_code() -> None:
    """Attempts, their span, the pause and the age of a window."""
    from durabletask.core.exports import serving

    policy = serving._RETRIES
    delays = [
        min(policy.first_retry_interval * policy.backoff_coefficient**number, policy.max_retry_interval)  # type: ignore[type-var]
        for number in range(policy.max_number_of_attempts - 1)
    ]
    assert policy.max_number_of_attempts == 5
    assert timedelta(minutes=3) < sum(delays, timedelta()) < timedelta(minutes=4)
    assert (timedelta(minutes=1), timedelta(seconds=5)) == (serving._IDLE, serving._SETTLING)
