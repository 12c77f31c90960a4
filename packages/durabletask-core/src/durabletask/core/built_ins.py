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
    state = await transport.wait_for_instance_completion(helper_id, timeout=timeout)
    if state is not None:
        with suppress(TransportError):  # the outcome is known, and a helper that is left over does no harm
            await transport.purge_instances(PurgeInstance(instance_id=helper_id))
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
