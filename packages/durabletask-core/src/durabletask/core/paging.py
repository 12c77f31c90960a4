"""Listings that come in pages, as async iterators."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["AsyncPages"]

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
