"""How names and callables become definitions."""

# ruff: noqa: A002 - "input" is the word of the protocol

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import durabletask.core.context as context_module
import pytest
from durabletask.core.authoring import ActivityContext, TaskActivity, TaskOrchestrator
from durabletask.core.context import OrchestrationContext
from durabletask.core.errors import (
    ActivityNotRegisteredError,
    EntityNotRegisteredError,
    OrchestratorNotRegisteredError,
    RegistrationError,
)
from durabletask.core.registry import Registry, name_of


@dataclass
class Order:
    id: int


async def charge(ctx: ActivityContext, order: Order) -> str:
    return f"{order.id}"


def ping(ctx: ActivityContext) -> str:
    return "pong"


def with_default(ctx: ActivityContext, size: int = 3) -> int:
    return size


class Ship(TaskActivity[Order, str]):
    async def run(self, context: ActivityContext, input: Order, /) -> str:
        return "shipped"


class Renamed(TaskActivity[Order, str]):
    name = "ship-v2"

    def run(self, context: ActivityContext, input: Order, /) -> str:
        return "shipped"


class CallableObject:
    async def __call__(self, ctx: ActivityContext, order: Order) -> str:
        return "called"


class Needs:
    def __init__(self, service: object) -> None: ...
    def run(self, context: object, input: object) -> None: ...


def _label(value: object) -> str:
    """The same in every process, so that tests can be spread over several."""
    return re.sub(" at 0x[0-9a-f]+", "", str(value))


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("x", "x"),
        (charge, "charge"),
        (Ship, "Ship"),
        (Ship(), "Ship"),
        (Renamed, "ship-v2"),
        (Renamed(), "ship-v2"),
        (functools.partial(charge), "charge"),
        (CallableObject(), "CallableObject"),
    ],
    ids=_label,
)
def test_everything_that_can_be_registered_has_a_name(target: object, name: str) -> None:
    """One rule gives the name for registering and for calling."""
    assert name_of(target) == name


def test_a_lambda_has_no_name() -> None:
    """The message shows how to give one."""
    with pytest.raises(RegistrationError, match="my_name"):
        name_of(lambda ctx: None)


def test_a_sequence_and_a_mapping_register_the_same() -> None:
    """Names come from the callables or from the mapping."""
    by_sequence = Registry(activities=[charge, Ship])
    by_mapping = Registry(activities={"charge": charge, "Ship": Ship()})

    assert list(by_sequence.activity_names) == list(by_mapping.activity_names) == ["charge", "Ship"]


def test_the_mapping_decides_the_role_not_the_base_class() -> None:
    """An activity class given under orchestrators is an orchestrator."""
    registry = Registry(orchestrators={"Ship": Ship()})

    assert registry.orchestrator("Ship").name == "Ship"
    assert not registry.activity_names


@pytest.mark.parametrize(
    ("target", "input_type"),
    [
        (charge, Order),
        (ping, None),
        (Ship, Order),
        (CallableObject(), Order),
        (functools.partial(charge), Order),
        (with_default, int),
    ],
    ids=_label,
)
def test_the_input_type_is_the_annotation_of_the_second_parameter(target: object, input_type: object) -> None:
    """Also behind methods, partials and callable objects."""
    assert Registry(activities={"a": target}).activity("a").input_type == input_type


def test_a_type_defined_beside_its_function_is_found() -> None:
    """Also when annotations are text and the function does not mention the type otherwise."""

    @dataclass
    class Local:
        number: int

    async def takes_one(ctx: object, input: Local) -> None: ...

    class TakesMany:
        def run(self, context: object, input: list[Local]) -> None: ...

    def register() -> Registry:
        return Registry(activities=[takes_one, TakesMany()])

    registry = register()

    assert registry.activity("takes_one").input_type is Local
    assert registry.activity("TakesMany").input_type == list[Local]


def test_an_annotation_that_cannot_be_resolved_warns_and_leaves_plain_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing fails; the log says what to change."""

    async def lost(ctx: object, input: Missing) -> None: ...  # type: ignore[name-defined] # noqa: F821

    definition = Registry(activities=[lost]).activity("lost")
    with caplog.at_level(logging.WARNING):
        assert definition.input_type is None

    assert "'Missing'" in caplog.text
    assert "module level" in caplog.text


def test_functions_may_take_the_context_only() -> None:
    """An input is then not passed on."""
    assert Registry(activities=[ping]).activity("ping").invoke(None, "ignored") == "pong"


def test_an_absent_input_leaves_a_default_alone() -> None:
    """A default of the parameter is what an absent input means."""
    definition = Registry(activities=[with_default]).activity("with_default")

    assert definition.invoke(None, None) == 3
    assert definition.invoke(None, 5) == 5


def test_async_activities_are_told_from_plain_ones() -> None:
    """This decides between event loop and thread."""
    registry = Registry(activities=[charge, ping, Ship, Renamed, CallableObject()])

    assert {name: registry.activity(name).is_async for name in registry.activity_names} == {
        "charge": True,
        "ping": False,
        "Ship": True,
        "ship-v2": False,
        "CallableObject": True,
    }


def test_a_definition_knows_where_its_function_is() -> None:
    """``file:line`` for messages."""
    location = Registry(activities=[charge]).activity("charge").location

    assert location == f"{__file__}:{charge.__code__.co_firstlineno}"


def three(ctx: object, a: object, b: object) -> None: ...
def nothing() -> None: ...
def keyword(ctx: object, *, needed: int) -> None: ...
def generator(ctx: object, input: object) -> object:
    yield 1


async def async_generator(ctx: object, input: object) -> object:  # type: ignore[misc]
    yield 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (three, r"must take \(context\) or \(context, input\)"),
        (nothing, r"must take \(context\)"),
        (keyword, r"must take \(context\)"),
        (generator, "is a generator"),
        (async_generator, "is a generator"),
        (3, "neither a function nor an object"),
        (Order, "has no 'run"),
        (Needs, "Register an instance instead"),
    ],
    ids=_label,
)
def test_what_cannot_be_an_activity_is_refused_at_registration(target: object, message: str) -> None:
    """The mistake is found where the program starts, with the place and the fix."""
    with pytest.raises(RegistrationError, match=message):
        Registry(activities={"a": target})


def test_an_orchestrator_may_be_a_generator_but_not_an_async_one() -> None:
    """Two ways to wait cannot be mixed."""
    Registry(orchestrators=[generator])

    with pytest.raises(RegistrationError, match="async generator"):
        Registry(orchestrators=[async_generator])


@pytest.mark.parametrize("name", ["", "  ", 3])
def test_a_name_must_be_text(name: object) -> None:
    """Empty names are refused."""
    with pytest.raises(RegistrationError, match="must be text"):
        Registry(activities={name: ping})  # type: ignore[dict-item]


def test_a_name_is_used_once() -> None:
    """The message says who has it."""
    registry = Registry(activities=[ping])

    with pytest.raises(RegistrationError, match=r"already registered: .*test_registration\.py:\d+"):
        registry.add_activity(charge, "ping")


def test_one_callable_instead_of_a_list_is_refused() -> None:
    """A common slip has its own words."""
    with pytest.raises(RegistrationError, match="or a sequence"):
        Registry(activities=ping)  # type: ignore[arg-type]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    """Each role has its own error."""
    registry = Registry(orchestrators={"charge": Ship}, activities=[charge, ping], entities={"counter": ping})

    with pytest.raises(OrchestratorNotRegisteredError, match="nearest registered names are: 'charge'"):
        registry.orchestrator("chrage")
    with pytest.raises(ActivityNotRegisteredError, match="'ping'"):
        registry.activity("pinng")
    with pytest.raises(EntityNotRegisteredError, match="'counter'"):
        registry.entity("kounter")


def test_entity_names_are_folded_to_lower_case() -> None:
    """The protocol knows entities by lower-case names only."""
    registry = Registry(entities={"Counter": ping})

    assert list(registry.entity_names) == ["counter"]
    assert registry.entity("COUNTER").name == "counter"


def test_an_entity_name_contains_no_at_sign() -> None:
    """It would end the name within an id."""
    with pytest.raises(RegistrationError, match="must not contain '@'"):
        Registry(entities={"a@b": ping})


def test_an_orchestrator_class_is_registered_like_an_activity_class() -> None:
    """Base classes only help checkers."""

    class Greet(TaskOrchestrator[str, str]):
        async def run(self, context: object, input: str, /) -> str:
            return input

    assert Registry(orchestrators=[Greet]).orchestrator("Greet").input_type is str


def plan(context: OrchestrationContext) -> None: ...


def quoted(context: context_module.OrchestrationContext) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"orchestrators": [charge]},
            "orchestrator 'charge' .* takes ActivityContext: register it under activities=",
        ),
        (
            {"activities": [plan]},
            "activity 'plan' .* takes OrchestrationContext: register it under orchestrators=",
        ),
        ({"activities": [quoted]}, "activity 'quoted' .* register it under orchestrators="),
    ],
)
def test_a_role_that_the_annotation_contradicts_is_refused(arguments: dict[str, Any], message: str) -> None:
    """It used to fail when the first item arrived: the context lacks every method that the code calls."""
    with pytest.raises(RegistrationError, match=message):
        Registry(**arguments)


def test_a_function_is_found_by_its_own_name_too() -> None:
    """``ctx.call_activity(charge)`` uses the own name of a function that is registered under another one."""
    registry = Registry(activities={"charge-v1": charge}, orchestrators={"plan-v1": plan})

    assert registry.activity("charge") is registry.activity("charge-v1")
    assert registry.orchestrator("plan") is registry.orchestrator("plan-v1")
    assert (registry.activity_names, registry.activity_aliases) == (["charge-v1"], ["charge"])


def test_an_own_name_that_two_functions_share_is_no_alias() -> None:
    """Registered names come first, and nothing is guessed."""

    def make(number: int) -> Callable[[object], int]:
        def numbered(context: object) -> int:
            return number

        return numbered

    registry = Registry(activities={"one": make(1), "two": make(2), "charge": ping, "other": charge})

    with pytest.raises(ActivityNotRegisteredError):
        registry.activity("numbered")
    assert registry.activity("charge").target is ping
    assert registry.activity_aliases == ["ping"]
