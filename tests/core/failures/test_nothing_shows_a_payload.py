"""What users hand over in payloads, tags and reasons is in no repr and in no report of ours."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import msgspec
import pytest
from durabletask import ActivityContext, OrchestrationContext
from durabletask.core import actions, entities, history, instances, work_items
from durabletask.core.errors import SerializationError
from durabletask.core.serialization import DEFAULT_CONVERTER
from durabletask.testing import OrchestrationTestEnvironment

NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)
SECRET = '{"password":"hunter2"}'
PAYLOADS = (
    "input",
    "result",
    "data",
    "state",
    "serialized_input",
    "serialized_output",
    "serialized_custom_status",
)
MODELS = sorted(
    {
        kind
        for module in (history, actions, work_items, instances, entities)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    },
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_no_repr_of_a_model_shows_a_payload(kind: Any) -> None:
    """Every field that is typed as text and named as a payload, of every model."""
    fields = {}
    for field in msgspec.structs.fields(kind):
        is_payload = field.name in (*PAYLOADS, "custom_status", "serialized_state", "entity_state")
        if is_payload and "str" in str(field.type):
            fields[field.name] = SECRET
        elif field.required:
            fields[field.name] = NOW if "datetime" in str(field.type) else "x"
    made = kind(**fields)
    assert "hunter2" not in repr([made])
    assert repr(made).startswith(f"{kind.__name__}(")


async def charge(ctx: ActivityContext, what: object) -> None: ...


async def test_tags_of_a_call_are_named_and_not_shown() -> None:
    """A wrong value is told by the tag's name and its type."""

    async def tagged(ctx: OrchestrationContext, _: object) -> object:
        return await ctx.call_activity(charge, 1, tags={"password": ["hunter2"]})  # type: ignore[dict-item]

    async with OrchestrationTestEnvironment(orchestrators=[tagged], activities=[charge]) as env:
        run = await env.start(tagged)
        state = await run.completion()
    assert state.failure_details is not None
    assert "tags['password'] must be a str, not list" in state.failure_details.message
    assert "hunter2" not in str(state.failure_details.message)


def test_an_output_of_another_type_is_named_by_its_instance() -> None:
    """Where a client reads it."""
    state = instances.OrchestrationState(
        instance_id="i7",
        name="pay",
        runtime_status=instances.OrchestrationStatus.COMPLETED,
        created_at=NOW,
        last_updated_at=NOW,
        serialized_output='"hunter2"',
        reader=DEFAULT_CONVERTER,
    )
    with pytest.raises(
        SerializationError, match=r"The output of instance 'i7' \(orchestrator 'pay'\): "
    ) as caught:
        state.output_as(int)
    assert "hunter2" not in str(caught.value)
