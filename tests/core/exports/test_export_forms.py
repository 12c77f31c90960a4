"""Export jobs in the JSON of every SDK of the protocol: states, operations, activities."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from durabletask.core.errors import InvalidRequestError
from durabletask.core.exports import messages
from durabletask.core.exports.forms import FORMS, Form, form_of
from durabletask.core.exports.job import (
    ExportCheckpoint,
    ExportFailure,
    ExportJob,
    ExportSettings,
    ExportStatus,
)
from durabletask.core.exports.transitions import Progress
from durabletask.core.instances import InstanceIdPage, InstanceIdQuery, OrchestrationStatus

SINCE = datetime(2026, 1, 1, tzinfo=timezone.utc)
UNTIL = datetime(2026, 2, 1, tzinfo=timezone.utc)
SETTINGS = ExportSettings(
    mode="batch",
    completed_from=SINCE,
    completed_to=UNTIL,
    statuses=(OrchestrationStatus.COMPLETED, OrchestrationStatus.FAILED),
    container="exports",
    prefix="january",
    page_size=10,
    max_parallel=4,
)
FAILURE = ExportFailure(instance_id="i9", reason="purged", attempt_count=3, last_attempt=UNTIL)
JOB = ExportJob(
    job_id="nightly",
    status=ExportStatus.ACTIVE,
    settings=SETTINGS,
    checkpoint=ExportCheckpoint(last_instance_key="k1"),
    created_at=SINCE,
    last_modified_at=UNTIL,
    scanned=5,
    exported=4,
    failed=1,
    failures=(FAILURE,),
    orchestrator_id="ExportJob-nightly",
)


@pytest.fixture(params=sorted(FORMS))
def form(request: pytest.FixtureRequest) -> Form:
    return FORMS[request.param]


def sent(plain: object) -> Any:
    """What arrives on the other side."""
    return json.loads(json.dumps(plain))


def test_the_state_of_dotnet_has_pascal_case_and_numbers():
    """As protocol section 15 has it; other SDKs ignore the failures."""
    assert messages.write_job(JOB, FORMS["dotnet"]) == {
        "Status": 1,
        "Config": {
            "Mode": 1,
            "Filter": {
                "CompletedTimeFrom": "2026-01-01T00:00:00+00:00",
                "CompletedTimeTo": "2026-02-01T00:00:00+00:00",
                "RuntimeStatus": [1, 3],
            },
            "Destination": {"Container": "exports", "Prefix": "january"},
            "Format": {"Kind": "Jsonl", "SchemaVersion": "1.0"},
            "MaxInstancesPerBatch": 10,
            "MaxParallelExports": 4,
        },
        "Checkpoint": {"LastInstanceKey": "k1"},
        "CreatedAt": "2026-01-01T00:00:00+00:00",
        "LastModifiedAt": "2026-02-01T00:00:00+00:00",
        "LastCheckpointTime": None,
        "LastError": None,
        "ScannedInstances": 5,
        "ExportedInstances": 4,
        "FailedInstances": 1,
        "Failures": [
            {
                "InstanceId": "i9",
                "Reason": "purged",
                "AttemptCount": 3,
                "LastAttempt": "2026-02-01T00:00:00+00:00",
            }
        ],
        "OrchestratorInstanceId": "ExportJob-nightly",
    }


def test_the_state_of_javascript_has_camel_case_and_words():
    """Its client compares the words."""
    state = messages.write_job(JOB, FORMS["javascript"])
    assert state["status"] == "Active"
    assert state["config"]["mode"] == "Batch"
    assert state["config"]["filter"]["runtimeStatus"] == [1, 3]
    assert state["config"]["format"] == {"kind": "Jsonl", "schemaVersion": "1.0"}
    assert state["checkpoint"] == {"lastInstanceKey": "k1"}


def test_the_state_of_python_has_snake_case_and_a_schema_version():
    """Its client refuses a state without it."""
    state = messages.write_job(JOB, FORMS["python"])
    assert (state["schema_version"], state["status"]) == ("1.0", "Active")
    assert state["config"]["mode"] == "Batch"
    assert state["config"]["format"] == {"kind": "JsonlGzip", "schema_version": "1.0"}
    assert state["config"]["destination"] == {"container": "exports", "prefix": "january"}
    assert state["failures"][0]["attempt_count"] == 3


def test_every_form_of_a_job_is_read_back(form: Form):
    """The reader needs no hint which form it gets."""
    assert messages.read_job("nightly", sent(messages.write_job(JOB, form))) == JOB
    assert form_of(form.entity, sent(messages.write_job(JOB, form))) == form


def test_the_window_of_a_continuous_job_is_kept(form: Form):
    """In the checkpoint, where other SDKs ignore it."""
    checkpoint = ExportCheckpoint(last_instance_key=None, window_from=SINCE, window_to=UNTIL)
    job = ExportJob(job_id="tail", checkpoint=checkpoint)
    assert messages.read_job("tail", sent(messages.write_job(job, form))).checkpoint == checkpoint
    progress = Progress(scanned=1, exported=1, checkpoint=checkpoint)
    assert messages.read_progress(sent(messages.write_progress(progress, form))) == progress


def test_a_job_without_a_state_is_pending():
    """Also one of which an SDK has stored the initial state."""
    assert messages.read_job("x", None) == ExportJob(job_id="x")
    for status in (0, "NotStarted"):
        assert messages.read_job("x", {"status": status, "config": None}) == ExportJob(job_id="x")


@pytest.mark.parametrize("state", ["text", 7, {"Status": 9}, {"Status": 1, "Config": {"Mode": 1}}])
def test_a_state_that_cannot_be_read_is_named(state: object):
    """The message has the job."""
    with pytest.raises(InvalidRequestError, match="export job 'broken'"):
        messages.read_job("broken", state)


def test_a_creation_is_read_back(form: Form):
    """What one client sends, the entity of any worker understands."""
    assert messages.read_creation(sent(messages.write_creation("nightly", SETTINGS, form, UNTIL))) == SETTINGS


def test_the_creation_of_a_javascript_client_is_understood():
    """Times as JavaScript writes them, settings beside each other."""
    made = messages.read_creation(
        {
            "jobId": "nightly",
            "mode": "Batch",
            "completedTimeFrom": "2026-01-01T00:00:00.000Z",
            "completedTimeTo": "2026-02-01T00:00:00.000Z",
            "runtimeStatus": [1, 3],
            "destination": {"container": "exports", "prefix": "january"},
            "format": {"kind": "Jsonl", "schemaVersion": "1.0"},
            "maxInstancesPerBatch": 10,
            "maxParallelExports": 4,
        }
    )
    assert made == SETTINGS


def test_the_creation_of_a_dotnet_client_is_understood():
    """Times with seven digits of a second, a mode as number, no statuses."""
    made = messages.read_creation(
        {
            "JobId": "tail",
            "Mode": 2,
            "CompletedTimeFrom": "2026-01-01T01:00:00.0000000+01:00",
            "CompletedTimeTo": None,
            "RuntimeStatus": None,
            "Destination": {"Container": "exports"},
            "Format": {"Kind": "jsonl", "SchemaVersion": "1.0"},
            "MaxInstancesPerBatch": 100,
        }
    )
    assert made == ExportSettings(mode="continuous", completed_from=SINCE, container="exports")


@pytest.mark.parametrize("plain", [None, [], {"Mode": 1}, {"config": {"mode": "Batch"}}])
def test_a_creation_that_cannot_be_read_is_refused(plain: object):
    """Before anything is stored."""
    with pytest.raises(InvalidRequestError, match="The input of 'create'"):
        messages.read_creation(plain)


def test_progress_is_read_back(form: Form):
    """With a checkpoint, and without one for a page that failed."""
    moved = Progress(
        scanned=3, exported=2, failures=(FAILURE,), checkpoint=ExportCheckpoint(last_instance_key="k")
    )
    last = Progress(scanned=3, exported=3, checkpoint=ExportCheckpoint())
    failed = Progress(failures=(FAILURE,))
    for progress in (moved, last, failed):
        assert messages.read_progress(sent(messages.write_progress(progress, form))) == progress


def test_a_page_that_failed_is_marked_for_the_entity_of_python():
    """Its entity looks at this flag, the others at the missing checkpoint."""
    assert (
        messages.write_progress(Progress(failures=(FAILURE,)), FORMS["python"])["mark_failed_on_batch"]
        is True
    )
    assert messages.write_progress(Progress(failures=(FAILURE,)), FORMS["dotnet"])["Checkpoint"] is None


def test_a_call_of_an_operation_is_read_back(form: Form):
    """Entity, operation and input of the helper orchestration; the input stays as it is."""
    argument = {"SomeKey": {"snake_key": 1}}
    call = sent(messages.write_call("@exportjob@nightly", "create", argument, form))
    assert messages.read_call(call) == ("@exportjob@nightly", form.operations["create"], argument)


def test_the_input_of_the_orchestration_names_the_job(form: Form):
    """As an entity id or as the id itself; keys may contain ``@``."""
    assert messages.read_run(sent(messages.write_run("a@b", form, JOB))) == "a@b"
    assert messages.read_run({"JobEntityId": {"Name": "exportjob", "Key": "a@b"}}) == "a@b"


def test_the_listing_is_read_back(form: Form):
    """Request and answer, with and without a next page."""
    query = InstanceIdQuery(
        runtime_statuses=SETTINGS.statuses,
        completed_from=SINCE,
        completed_to=UNTIL,
        page_size=10,
        last_instance_key="k",
    )
    assert messages.read_list_request(sent(messages.write_list_request(query, form))) == query
    for page in (InstanceIdPage(["a", "b"], "k2"), InstanceIdPage([], None)):
        assert messages.read_page(sent(messages.write_page(page, form))) == page


def test_the_export_of_one_instance_is_read_back(form: Form):
    """Request and answer."""
    request = messages.read_export_request(sent(messages.write_export_request("i1", SETTINGS, form)))
    assert request == messages.ExportRequest(
        instance_id="i1", container="exports", prefix="january", format="jsonl"
    )
    result = messages.ExportResult(instance_id="i1", is_done=False, error="no access")
    assert messages.read_export_result(sent(messages.write_export_result(result, form))) == result


def test_the_names_tell_the_family_and_the_spelling_the_rest():
    """The activities answer in the form in which they are asked."""
    for form in FORMS.values():
        for name in (form.entity, form.orchestrator, form.list_activity, form.export_activity):
            assert form_of(name, messages.write_export_request("i1", SETTINGS, form)) == form


def test_times_are_utc_in_every_form(form: Form):
    """A settings' zone does not reach the state."""
    zone = timezone(timedelta(hours=2))
    plain = sent(messages.write_job(JOB, form))
    config = plain.get("Config") or plain["config"]
    times = config.get("Filter") or config["filter"]
    key = next(each for each in times if each.lower().replace("_", "") == "completedtimefrom")
    times[key] = SINCE.astimezone(zone).isoformat()
    settings = messages.read_job("nightly", plain).settings
    assert settings is not None
    assert settings.completed_from.tzinfo is timezone.utc
