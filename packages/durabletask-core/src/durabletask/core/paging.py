"""Listings that come in pages, and operations that take several calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from .entities import CleanEntityStorageResult
from .instances import PurgeRequest, PurgeResult
from .portal import Call
from .transport import Transport

__all__ = ["AsyncPages", "Pages", "clean_all", "purge_all"]

_T = TypeVar("_T")


class AsyncPages(Generic[_T]):
    """Items over all pages: ``async for item in listing``; ``listing.pages()`` for whole pages.

    Pages are fetched when they are needed. Every iteration begins at the first page.
    """

    def __init__(self, fetch: Callable[[str | None], Awaitable[tuple[Sequence[_T], str | None]]]) -> None:
        self._fetch = fetch

    async def pages(self) -> AsyncIterator[Sequence[_T]]:
        """The pages, which may be empty."""
        token: str | None = None
        seen: set[str] = set()
        while True:
            items, token = await self._fetch(token)
            yield items
            if not token or token in seen:  # a hub that repeats a token would never end
                return
            seen.add(token)

    async def __aiter__(self) -> AsyncIterator[_T]:
        async for page in self.pages():
            for item in page:
                yield item

    async def to_list(self) -> list[_T]:
        """All items."""
        return [item async for item in self]


class Pages(Generic[_T]):
    """The blocking twin of ``AsyncPages``: ``for item in listing``; ``listing.pages()`` for whole pages."""

    def __init__(self, listing: AsyncPages[_T], call: Call) -> None:
        self._listing = listing
        self._call = call

    def pages(self) -> Iterator[Sequence[_T]]:
        """The pages, which may be empty."""
        pages = self._listing.pages()

        async def following() -> Sequence[_T] | None:
            return await anext(pages, None)

        while (page := self._call(following)) is not None:
            yield page

    def __iter__(self) -> Iterator[_T]:
        for page in self.pages():
            yield from page

    def to_list(self) -> list[_T]:
        """All items."""
        return list(self)


async def purge_all(transport: Transport, requests: Iterable[PurgeRequest]) -> PurgeResult:
    """Repeat each request until the hub reports it complete, or removes nothing more."""
    count, is_complete = 0, True
    for request in requests:
        while True:
            result = await transport.purge_instances(request)
            count += result.deleted_instance_count
            if result.is_complete is not False:
                break
            if result.deleted_instance_count == 0:
                is_complete = False
                break
    return PurgeResult(count, is_complete)


async def clean_all(
    transport: Transport,
    *,
    remove_empty_entities: bool,
    release_orphaned_locks: bool,
    token: str | None,
) -> CleanEntityStorageResult:
    """Clean the entity storage page by page, from the page of a token."""
    removed = released = 0
    seen: set[str] = set()
    while True:
        result = await transport.clean_entity_storage(
            remove_empty_entities=remove_empty_entities,
            release_orphaned_locks=release_orphaned_locks,
            continuation_token=token,
        )
        removed += result.empty_entities_removed
        released += result.orphaned_locks_released
        token = result.continuation_token
        if not token or token in seen:  # a hub that repeats a token would never end
            return CleanEntityStorageResult(removed, released)
        seen.add(token)
