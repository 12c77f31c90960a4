"""What results are converted to when a function or class is called."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from durabletask.core.replay.annotations import declared_result

if TYPE_CHECKING:
    from decimal import Decimal

T = TypeVar("T")


def _returns(annotation: object) -> Any:
    def function(ctx, value): ...

    function.__annotations__ = {"return": annotation, "ctx": "Unknown"}
    return function


async def _typed(ctx, value: Decimal) -> list[int]: ...


class _Class:
    async def run(self, context, value) -> dict[str, int]: ...


class _Callable:
    def __call__(self, ctx, value) -> set[str]: ...


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (_typed, list[int]),
        (functools.partial(_typed), list[int]),
        (_Class, dict[str, int]),
        (_Class(), dict[str, int]),
        (_Callable(), set[str]),
        (_returns("Generator[Any, Any, int]"), int),
        (_returns(Awaitable[str]), str),
        (_returns(Generator), None),
        (_returns("Decimal"), None),
        (_returns(None), None),
        (_returns(Any), None),
        (_returns(object), None),
        (_returns(T), None),
        (lambda ctx: 1, None),
        (len, None),
        (5, None),
    ],
)
def test_return_annotation_decides(target: object, expected: object) -> None:
    """Functions, classes, objects and partials; what cannot be told means plain JSON values."""
    assert declared_result(target) == expected


def test_local_types_are_found() -> None:
    """A type of the enclosing function resolves from the closure."""

    class Local: ...

    def function(ctx, value) -> Local:
        return Local()

    assert declared_result(function) is Local


def test_callable_that_cannot_be_hashed_is_no_obstacle() -> None:
    """Its results are plain JSON values."""

    class Odd:
        __hash__ = None  # type: ignore[assignment]

        def __init__(self) -> None:
            self.__code__ = None

    assert declared_result(Odd()) is None
