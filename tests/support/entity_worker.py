"""A reader that also takes batches of entities and answers them by hand."""

from __future__ import annotations

from collections.abc import Sequence

from durabletask.core.failures import FailureDetails
from durabletask.core.work_items import (
    EntityAction,
    EntityBatchResult,
    EntityOperationResult,
    EntityWorkItem,
)
from scripted_worker import Reader


class EntityReader(Reader):
    """See the module."""

    async def batch(self) -> EntityWorkItem:
        """The next item, which must be a batch."""
        item = await self.take()
        assert isinstance(item, EntityWorkItem), item
        return item

    async def run(
        self,
        item: EntityWorkItem,
        *results: str | FailureDetails | None,
        state: str | None = None,
        actions: Sequence[EntityAction] = (),
        failure_of_all: FailureDetails | None = None,
        token: str | None = None,
    ) -> None:
        """Complete a batch. Without results every operation has none, unless all of it fails."""
        given = results or ((None,) * len(item.operations) if failure_of_all is None else ())
        await self.transport.complete_entity(
            EntityBatchResult(
                instance_id=item.instance_id,
                results=[
                    EntityOperationResult(failure=one)
                    if isinstance(one, FailureDetails)
                    else EntityOperationResult(result=one)
                    for one in given
                ],
                actions=actions,
                state=state,
                failure=failure_of_all,
                operations=item.operations,
                completion_token=item.completion_token if token is None else token,
            )
        )
