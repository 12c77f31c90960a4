"""The operations of an export job: which status allows which, and what they change."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import msgspec
import pytest
from durabletask.core.errors import InvalidOperationError
from durabletask.core.exports.job import (
    ExportCheckpoint,
    ExportFailure,
    ExportJob,
    ExportSettings,
    ExportStatus,
)
from durabletask.core.exports.transitions import (
    MOST_FAILURES,
    Progress,
    commit,
    complete,
    create,
    fail,
    resume,
)

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
LATER = NOW + timedelta(hours=1)
SETTINGS = ExportSettings(
    mode="batch", completed_from=NOW - timedelta(days=1), completed_to=NOW, container="exports"
)
KEY = ExportCheckpoint(last_instance_key="k1")


def active() -> ExportJob:
    return create(ExportJob(job_id="nightly"), SETTINGS, NOW, "ExportJob-nightly")


def failure(number: int = 1, reason: str = "gone") -> ExportFailure:
    return ExportFailure(instance_id=f"i{number}", reason=reason, attempt_count=3, last_attempt=NOW)


def test_a_new_job_is_active():
    """It knows its settings and the orchestration that does the work."""
    job = active()
    assert (job.status, job.settings, job.orchestrator_id) == (
        ExportStatus.ACTIVE,
        SETTINGS,
        "ExportJob-nightly",
    )
    assert job.created_at == job.last_modified_at == NOW


def test_a_page_moves_the_checkpoint_and_the_counters():
    """A checkpoint counts what was scanned and exported since the last one."""
    job = commit(active(), Progress(scanned=3, exported=3, checkpoint=KEY), LATER)
    job = commit(job, Progress(scanned=2, exported=1, failures=(failure(),), checkpoint=KEY), LATER)
    assert (job.scanned, job.exported, job.failed) == (5, 4, 1)
    assert (job.checkpoint, job.status, job.last_checkpoint_at) == (KEY, ExportStatus.ACTIVE, LATER)
    assert job.failures == (failure(),)


def test_a_page_that_could_not_be_exported_fails_the_job_before_it():
    """The checkpoint stays, so that a resumed job exports the page again."""
    job = commit(active(), Progress(scanned=3, exported=3, checkpoint=KEY), NOW)
    job = commit(job, Progress(failures=(failure(),)), LATER)
    assert (job.status, job.checkpoint) == (ExportStatus.FAILED, KEY)
    assert job.last_error == "1 instance could not be exported. i1: gone"


def test_the_state_is_bounded():
    """Only the most recent failures are kept, and long reasons are cut."""
    many = [failure(number, "x" * 5000) for number in range(MOST_FAILURES + 50)]
    job = commit(active(), Progress(failures=tuple(many)), NOW)
    assert job.failed == MOST_FAILURES + 50
    assert [each.instance_id for each in job.failures] == [f"i{number}" for number in range(50, 150)]
    assert all(len(each.reason) == 500 for each in job.failures)
    assert job.last_error is not None
    assert job.last_error.endswith("; and 140 more")


def test_a_job_that_has_ended_begins_anew():
    """Creating it again resets the progress."""
    ended = complete(commit(active(), Progress(scanned=3, exported=3, checkpoint=KEY), NOW), NOW)
    again = create(ended, SETTINGS, LATER, "ExportJob-nightly")
    assert again == msgspec.structs.replace(active(), created_at=LATER, last_modified_at=LATER)


def test_a_failed_job_goes_on_after_its_checkpoint():
    """Resuming keeps counters and checkpoint."""
    failed = fail(commit(active(), Progress(scanned=3, exported=3, checkpoint=KEY), NOW), "no access", NOW)
    job = resume(failed, LATER)
    assert (job.status, job.checkpoint, job.scanned, job.last_error) == (ExportStatus.ACTIVE, KEY, 3, None)


def test_a_resumed_job_forgets_the_failures_of_the_page_that_failed_it():
    """Its instances are exported again. Those that were passed over before stay."""
    job = commit(active(), Progress(scanned=3, exported=2, failures=(failure(1),), checkpoint=KEY), NOW)
    job = commit(job, Progress(failures=(failure(2), failure(3))), NOW)
    assert (job.failed, len(job.failures)) == (3, 3)
    job = resume(job, LATER)
    assert (job.failed, job.failures) == (1, (failure(1),))

    many = tuple(failure(number) for number in range(MOST_FAILURES + 50))
    job = resume(commit(active(), Progress(failures=many), NOW), LATER)
    assert (job.failed, job.failures) == (0, ())


def test_the_first_reason_of_a_failed_job_is_kept():
    """A page that fails the job is followed by the failure of the orchestration."""
    job = commit(active(), Progress(failures=(failure(),)), NOW)
    assert fail(job, "the orchestration failed", LATER) == job


def ended(how: ExportStatus) -> ExportJob:
    return complete(active(), NOW) if how is ExportStatus.COMPLETED else fail(active(), "why", NOW)


@pytest.mark.parametrize(
    ("job", "operation", "words"),
    [
        (active(), lambda job: create(job, SETTINGS, NOW, "x"), "'nightly' is active already"),
        (active(), lambda job: resume(job, NOW), "is ACTIVE; only a FAILED job can be resumed"),
        (ended(ExportStatus.COMPLETED), lambda job: resume(job, NOW), "is COMPLETED; only a FAILED job"),
        (
            ended(ExportStatus.COMPLETED),
            lambda job: fail(job, "", NOW),
            "is COMPLETED; 'fail' is possible only",
        ),
        (
            ended(ExportStatus.FAILED),
            lambda job: complete(job, NOW),
            "is FAILED; 'complete' is possible only",
        ),
        (ended(ExportStatus.FAILED), lambda job: commit(job, Progress(), NOW), "is FAILED; 'commit'"),
        (ExportJob(job_id="nightly"), lambda job: complete(job, NOW), "is PENDING; 'complete'"),
    ],
)
def test_an_operation_in_the_wrong_status_is_refused(job: ExportJob, operation: object, words: str):
    """The message has the job, its status and what would be possible."""
    assert callable(operation)
    with pytest.raises(InvalidOperationError, match=words):
        operation(job)
