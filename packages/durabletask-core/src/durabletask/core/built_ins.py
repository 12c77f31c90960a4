"""Definitions that every worker has besides those of its program.

``client.call_entity`` runs as a helper orchestration on a worker. A registry looks a built-in up by its name when a
work item asks for it. It does so last, so a definition of the program with the same name replaces it. Workers with work
item filters ask for built-ins as well, and accept them in every version.

Helper orchestrations have instance ids that begin with ``HELPER_PREFIX``. The client's listings leave them out. A client
purges the helper of a call when it has its answer.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypedDict

from .errors import TransportError
from .instances import CreateInstanceRequest, OrchestrationState, PurgeInstance

if TYPE_CHECKING:
    from .context import OrchestrationContext
    from .registry import Registry
    from .transport import Transport

__all__ = [
    "CALL_ENTITY",
    "HELPER_PREFIX",
    "EntityCallRequest",
    "add_built_ins",
    "call_entity",
    "end_of_helper",
    "is_helper",
    "run_helper",
]

HELPER_PREFIX: Final = "durabletask~"
"""Reserved prefix of the instance ids of helper orchestrations."""

CALL_ENTITY: Final = "durabletask~call-entity"
"""Name of the helper orchestration behind ``client.call_entity``."""


def is_helper(instance_id: str) -> bool:
    """Whether an id, or a prefix of ids, is reserved for helper orchestrations."""
    return instance_id.startswith(HELPER_PREFIX)


async def run_helper(
    transport: Transport, name: str, payload: str | None, timeout: timedelta | None
) -> OrchestrationState | None:
    """Run a helper orchestration and purge it; ``None`` at the time-out, after which it still may run."""
    helper_id = await transport.create_instance(
        CreateInstanceRequest(
            name=name,
            instance_id=f"{HELPER_PREFIX}{uuid.uuid4().hex}",
            input=payload,
            request_time=transport.now(),
        )
    )
    return await end_of_helper(transport, helper_id, timeout)


async def end_of_helper(
    transport: Transport, helper_id: str, timeout: timedelta | None, *, is_terminated: bool = False
) -> OrchestrationState | None:
    """Wait for a helper orchestration and purge it; ``None`` at the time-out.

    Args:
        transport: the hub.
        helper_id: id of the helper.
        timeout: how long to wait.
        is_terminated: whether the helper is terminated at the time-out.
    """
    state = await transport.wait_for_instance_completion(helper_id, timeout=timeout)
    with suppress(TransportError):  # the outcome is known, and a helper that is left over does no harm
        if state is not None:
            await transport.purge_instances(PurgeInstance(instance_id=helper_id))
        elif is_terminated:
            await transport.terminate_instance(helper_id, recursive=False)
    return state


class EntityCallRequest(TypedDict):
    """Input of ``call_entity``."""

    entity_id: str
    operation: str
    input: object


async def call_entity(ctx: OrchestrationContext, request: EntityCallRequest) -> object:
    """Call an operation of an entity and return its result."""
    result: object = await ctx.call_entity(request["entity_id"], request["operation"], request["input"])
    return result


def add_built_ins(registry: Registry) -> None:
    """Add the built-ins to the registry of a worker. Each entry returns its definition when it is first needed."""
    registry.add_built_ins(orchestrators={CALL_ENTITY: lambda: call_entity})
