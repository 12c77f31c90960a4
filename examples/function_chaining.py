"""Function chaining: each activity takes the result of the one before.

If the process dies between two of them, another worker goes on from the last result.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from durabletask import ActivityContext, DurableTaskClient, DurableTaskWorker, OrchestrationContext

CONNECTION_STRING = os.environ.get(
    "DURABLETASK_CONNECTION_STRING", "Endpoint=http://localhost:8080;Authentication=None"
)
TASK_HUB = os.environ.get("DURABLETASK_TASK_HUB_NAME", "default")


@dataclass
class Article:
    """Inputs and results are converted by their annotations: a dataclass stays a dataclass."""

    title: str
    words: list[str]


async def fetch(ctx: ActivityContext, title: str) -> Article:
    return Article(title, ["durable", "means", "it", "survives"])


def shorten(ctx: ActivityContext, article: Article) -> Article:
    # A plain function runs in a thread, so it may block.
    return Article(article.title, article.words[:2])


async def publish(ctx: ActivityContext, article: Article) -> str:
    return f"{article.title}: {' '.join(article.words)}"


async def publishing(ctx: OrchestrationContext, title: str) -> str:
    article = await ctx.call_activity(fetch, title)
    article = await ctx.call_activity(shorten, article)
    return await ctx.call_activity(publish, article)


async def main() -> None:
    worker = DurableTaskWorker(
        CONNECTION_STRING, TASK_HUB, orchestrators=[publishing], activities=[fetch, shorten, publish]
    )
    async with DurableTaskClient(CONNECTION_STRING, TASK_HUB) as client, worker:
        instance_id = await client.schedule_new_orchestration(publishing, "Replay")
        state = await client.wait_for_orchestration_completion(instance_id, timeout_in_seconds=60)
    if state is None:
        raise SystemExit(f"{instance_id} did not complete within a minute.")
    print(f"{state.runtime_status}: {state.output}")


if __name__ == "__main__":
    asyncio.run(main())
