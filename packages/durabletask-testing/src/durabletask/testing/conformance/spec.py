"""How a class of spec tests becomes a class of pytest tests, and how its results are labelled.

The tests are coroutine functions over a ``Probe``; pytest sees plain functions over the adopter's fixture
``conformance_hub``. So the kit needs no asyncio plugin and works beside any of them.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

import pytest

from .capabilities import BASE_CAPABILITIES
from .hub import ConformanceHub
from .probe import Probe

__all__ = ["RESULT_PROPERTY", "SPEC_TESTS", "RecordProperty", "requires", "run_spec", "spec"]

ClassT = TypeVar("ClassT", bound=type)
FunctionT = TypeVar("FunctionT", bound=Callable[..., object])
SpecTest = Callable[[object, Probe], Awaitable[None]]

RESULT_PROPERTY: Final = "durabletask_conformance"
"""Name of the pytest user property that carries transport and capability of a test."""

SPEC_TESTS: Final[dict[str, list[str]]] = {}
"""Capability -> its tests, as ``Class.test``: what a report must have seen before it calls a capability passed."""

_REQUIRES = "__conformance_requires__"


class RecordProperty(Protocol):
    """The fixture ``record_property`` of pytest."""

    def __call__(self, name: str, value: object) -> None:
        """Attach a property to the running test."""


def requires(*capabilities: str) -> Callable[[FunctionT], FunctionT]:
    """Mark a spec test that needs more capabilities than its class."""

    def mark(function: FunctionT) -> FunctionT:
        setattr(function, _REQUIRES, capabilities)
        return function

    return mark


def spec(capability: str, *, needs: tuple[str, ...] = ()) -> Callable[[ClassT], ClassT]:
    """Class decorator: the class specifies a capability; its coroutine tests become pytest tests."""

    def adopt(cls: ClassT) -> ClassT:
        for name, member in list(vars(cls).items()):
            if name.startswith("test_") and inspect.iscoroutinefunction(member):
                setattr(cls, name, _as_pytest(member, f"{cls.__name__}.{name}", capability, needs))
        return cls

    return adopt


def _as_pytest(
    test: SpecTest, name: str, capability: str, class_needs: tuple[str, ...]
) -> Callable[..., None]:
    own: tuple[str, ...] = getattr(test, _REQUIRES, ())
    # A test that needs an optional capability is counted under that one, even in a class of the base.
    label = own[0] if own else capability
    SPEC_TESTS.setdefault(label, []).append(name)
    needs = tuple(n for n in (capability, *class_needs, *own) if n not in BASE_CAPABILITIES)

    @functools.wraps(test)
    def run(self: object, conformance_hub: ConformanceHub, record_property: RecordProperty) -> None:
        result = {"transport": conformance_hub.name, "capability": label, "test": name}
        record_property(RESULT_PROPERTY, result)
        for need in needs:
            if not getattr(conformance_hub.capabilities, need):
                if need != label:
                    result["waived"] = need  # the capability of the test is not judged by another one
                pytest.skip(f"{conformance_hub.name} does not offer {need}.")
        run_spec(test, self, conformance_hub)

    # pytest reads the parameters of the wrapped function otherwise.
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            for name in ("self", "conformance_hub", "record_property")
        ]
    )
    return run


def run_spec(test: SpecTest, instance: object, hub: ConformanceHub) -> None:
    """Run one spec test on a fresh hub, in an event loop of its own."""
    asyncio.run(_run(test, instance, hub))


async def _run(test: SpecTest, instance: object, hub: ConformanceHub) -> None:
    transport = await hub.open()
    try:
        await test(instance, Probe(hub, transport))
    finally:
        await hub.close()
