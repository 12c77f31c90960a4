"""What objects and classes with a ``run`` method look like to type checkers."""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

from collections.abc import Awaitable, Generator
from typing import Any, Protocol

from typing_extensions import TypeVar

__all__ = ["RunsAsync", "RunsSync", "RunsYielding"]

InputT_contra = TypeVar("InputT_contra", contravariant=True)
OutputT_co = TypeVar("OutputT_co", covariant=True)
ContextT_contra = TypeVar("ContextT_contra", contravariant=True, default=Any)


class RunsAsync(Protocol[InputT_contra, OutputT_co, ContextT_contra]):
    """An object or class with ``async def run(context, input)``."""

    def run(self, context: ContextT_contra, input: InputT_contra, /) -> Awaitable[OutputT_co]:
        """Run it."""


class RunsYielding(Protocol[InputT_contra, OutputT_co, ContextT_contra]):
    """An object or class whose ``run(context, input)`` is a generator that yields tasks."""

    def run(self, context: ContextT_contra, input: InputT_contra, /) -> Generator[Any, Any, OutputT_co]:
        """Run it."""


class RunsSync(Protocol[InputT_contra, OutputT_co, ContextT_contra]):
    """An object or class with a plain ``run(context, input)``."""

    def run(self, context: ContextT_contra, input: InputT_contra, /) -> OutputT_co:
        """Run it."""
