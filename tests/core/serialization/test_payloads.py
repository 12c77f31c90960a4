"""What becomes of values on their way through a payload."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Union
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from durabletask.core.errors import SerializationError
from durabletask.core.serialization import DEFAULT_CONVERTER, JsonDataConverter
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypedDict


class Color(enum.Enum):
    RED = "red"


@dataclass
class Item:
    sku: str
    price: Decimal
    bought: datetime


@dataclass
class Basket:
    items: list[Item]
    notes: dict[str, object] = field(default_factory=dict)


@attrs.define
class Point:
    x: int
    y: int


class Struct(msgspec.Struct):
    id: UUID


class Shape(TypedDict):
    sides: int


class Person(pydantic.BaseModel):
    name: str
    born: date


class Company(pydantic.BaseModel):
    staff: list[Person]


NOON = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "target"),
    [
        (1, int),
        ("x", str),
        (Color.RED, Color),
        (NOON, datetime),
        (date(2030, 1, 1), date),
        (timedelta(days=1, seconds=2), timedelta),
        (UUID(int=7), UUID),
        (Decimal("1.10"), Decimal),
        (b"\x00\xff", bytes),
        ({1, 2}, set[int]),
        ((1, "a"), tuple[int, str]),
        ({1: "a"}, dict[int, str]),
        (Basket([Item("a", Decimal("1.5"), NOON)], {"k": [1, None]}), Basket),
        ([Point(1, 2)], list[Point]),
        (Struct(UUID(int=1)), Struct),
        ({"sides": 3}, Shape),
        (Person(name="Ada", born=date(1815, 12, 10)), Person),
        ({"a": Person(name="Ada", born=date(1815, 12, 10))}, dict[str, Person]),
        (Company(staff=[Person(name="Ada", born=date(1815, 12, 10))]), Company),
        (None, int | None),
        (2**70, int),
    ],
    ids=lambda value: getattr(value, "__name__", str(value))[:40],
)
def test_a_value_comes_back_as_the_annotated_type(value: object, target: object) -> None:
    """What was serialized by value is restored by annotation."""
    assert DEFAULT_CONVERTER.deserialize(DEFAULT_CONVERTER.serialize(value), target) == value


plain_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@given(plain_json)
def test_plain_json_values_need_no_annotation(value: object) -> None:
    """Without a target, plain values come back equal."""
    assert DEFAULT_CONVERTER.deserialize(DEFAULT_CONVERTER.serialize(value)) == value


def _two_orders() -> tuple[set[int], set[int]]:
    """Equal sets that give their members in different orders: 0 and 8 want the same place."""
    one, other = {0, 8}, {8, 0}
    assert list(one) != list(other)
    return one, other


@dataclass(frozen=True)
class Frozen:
    numbers: frozenset[int]
    note: str = "n"


class Tagged(msgspec.Struct, frozen=True, tag=True):
    numbers: set[int]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda numbers: numbers,
        lambda numbers: {"z": [numbers], "a": None},
        lambda numbers: [Frozen(frozenset(numbers))],
        lambda numbers: {"k": Tagged(numbers)},
        lambda numbers: (numbers, {(n, str(n)) for n in numbers}),
    ],
    ids=["set", "containers", "dataclass", "struct", "tuples"],
)
def test_sets_are_written_in_an_order_of_their_own(wrap: Callable[[set[int]], object]) -> None:
    """Equal values give the same text, in whatever order a process holds the members of a set."""
    one, other = (wrap(numbers) for numbers in _two_orders())
    text = DEFAULT_CONVERTER.serialize(one)
    assert text == DEFAULT_CONVERTER.serialize(other)
    assert "0,8" in str(text) or '[0,"0"]' in str(text)


class Shelf(pydantic.BaseModel):
    numbers: set[int]
    weight: float = 1.0
    note: str | None = None


class Shop(pydantic.BaseModel):
    shelves: list[Shelf]
    by_name: dict[str, Shelf] = {}


class Numbers(pydantic.RootModel[set[int]]):
    pass


class Cautious(pydantic.BaseModel):
    numbers: set[int]
    hidden: float = pydantic.Field(default=math.nan, exclude=True)
    weight: float = math.nan
    note: int | None = None

    @pydantic.field_serializer("numbers")
    def backwards(self, numbers: set[int]) -> list[int]:
        return sorted(numbers, reverse=True)

    @pydantic.field_serializer("weight")
    def in_words(self, weight: float) -> str:
        return str(weight)


@pytest.mark.filterwarnings("error")
def test_pydantic_models_order_their_sets_too() -> None:
    """Also of models in models and in containers, and of those that write fields in their own way."""
    texts = []
    for numbers in _two_orders():
        shelf = Shelf(numbers=numbers)
        shop = Shop(shelves=[shelf], by_name={"a": shelf})
        texts.append([DEFAULT_CONVERTER.serialize(value) for value in (shop, [shelf], Numbers(numbers))])
    assert texts[0] == texts[1]
    assert texts[0][2] == "[0,8]"
    assert DEFAULT_CONVERTER.serialize(Cautious(numbers={8, 0})) == (
        '{"numbers":[0,8],"weight":"nan","note":null}'
    )


def test_members_of_a_set_need_not_compare() -> None:
    """The order is that of the texts; other containers keep theirs, and the value itself is left as it is."""
    value = {"z": {Color.RED, "a", 1, None}, "a": {"d": 1, "c": 2}}
    assert DEFAULT_CONVERTER.serialize(value) == '{"z":["a","red",1,null],"a":{"d":1,"c":2}}'
    assert value == {"z": {Color.RED, "a", 1, None}, "a": {"d": 1, "c": 2}}


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (math.nan, "the value: nan"),
        ({"a": [1.5, None, -math.inf]}, r"a\[2\]: -inf"),
        ([Frozen(frozenset(), note=math.inf)], r"\[0\].note: inf"),  # type: ignore[arg-type]
        ({"k": Shelf(numbers=set(), weight=math.nan)}, r"k.weight: nan"),
    ],
)
def test_numbers_that_json_cannot_express_are_refused(value: object, where: str) -> None:
    """NaN and infinities are named with their path, instead of becoming null without a word."""
    with pytest.raises(SerializationError, match=where):
        DEFAULT_CONVERTER.serialize(value)


@pytest.mark.parametrize("payload", [None, ""])
def test_no_payload_is_none(payload: str | None) -> None:
    """Unset and empty text mean the same (other SDKs write empty text for null)."""
    assert DEFAULT_CONVERTER.deserialize(payload, Basket) is None


def test_none_has_no_payload() -> None:
    """``None`` is sent as an unset field."""
    assert DEFAULT_CONVERTER.serialize(None) is None


class Label(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "payload"), [(Label("x"), '"x"'), (Color.RED, '"red"'), ({"a": Label("b")}, '{"a":"b"}')]
)
def test_subclasses_of_plain_types_travel_as_the_plain_value(value: object, payload: str) -> None:
    """A str subclass is text."""
    assert DEFAULT_CONVERTER.serialize(value) == payload


@pytest.mark.parametrize(
    ("payload", "target", "value"),
    [
        ('[1,"a"]', Iterable[Any], [1, "a"]),
        ("[1]", Sequence[int], [1]),
        ('{"a":1}', Mapping[str, int], {"a": 1}),
        (
            '{"name":"Ada","born":"1815-12-10"}',
            Union[Company, Person],
            Person(name="Ada", born=date(1815, 12, 10)),
        ),
        ('{"x":1,"y":2}', Union[Item, Point], Point(1, 2)),
        ("null", Point | None, None),
    ],
    ids=str,
)
def test_abstract_and_union_annotations_find_a_fitting_type(
    payload: str, target: object, value: object
) -> None:
    """Annotations that people write work, not only concrete classes."""
    assert DEFAULT_CONVERTER.deserialize(payload, target) == value


class Opaque:
    pass


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"items": [1, {"price": Opaque()}]}, r"items\[1\]\.price: object of type .*Opaque"),
        (Basket([Item("a", Opaque(), NOON)]), r"items\[0\]\.price: object of type .*Opaque"),  # type: ignore[arg-type]
        ([Point(1, Opaque())], r"\[0\]\.y: object"),  # type: ignore[arg-type]
        ({"my key": (1, Opaque())}, r"\['my key'\]\[1\]: object"),
        (Opaque(), r"object of type .*Opaque has no JSON form"),
        ({"f": len}, r"f: .*function: its result was probably meant"),
        ({"t": int}, r"t: .*class: an instance was probably meant"),
        ((x for x in "a"), r"generator.*make it a list"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_value_without_json_form_is_named_with_its_path(value: object, where: str) -> None:
    """The message leads to the offending field and says what to do."""
    with pytest.raises(SerializationError, match=where):
        DEFAULT_CONVERTER.serialize(value)


def test_a_coroutine_is_reported_as_a_forgotten_await() -> None:
    """The commonest mistake has its own words."""

    async def forgotten() -> None: ...

    coroutine = forgotten()
    with pytest.raises(SerializationError, match="forgotten 'await'"):
        DEFAULT_CONVERTER.serialize({"result": coroutine})
    coroutine.close()


def test_a_value_that_contains_itself_is_an_error() -> None:
    """Cycles do not end the process."""
    loop: list[object] = [1]
    loop.append(loop)

    with pytest.raises(SerializationError, match="contains itself"):
        DEFAULT_CONVERTER.serialize(loop)


@pytest.mark.parametrize(
    ("payload", "target", "message"),
    [
        ('{"items":[{"sku":"a","price":true,"bought":"2030-01-01"}]}', Basket, r"at items\[0\]\.price: "),
        ('[{"name":"A","born":"1815-12-10"},{"name":"B","born":"x"}]', list[Person], r"\[1\].*born"),
        ('"x"', int, r"Expected `int`, got `str`"),
        ("{bad", None, "is no JSON"),
        ('"x"', Opaque, "Opaque cannot be read from JSON"),
        ('{"z":1}', Union[Item, Point], "no member of"),
    ],
)
def test_a_payload_that_does_not_fit_is_named_with_its_path(
    payload: str, target: object, message: str
) -> None:
    """Type, member and payload are in the message."""
    with pytest.raises(SerializationError, match=message):
        DEFAULT_CONVERTER.deserialize(payload, target)


def test_a_long_payload_is_cut_in_the_message() -> None:
    """Messages stay readable and do not repeat megabytes."""
    with pytest.raises(SerializationError) as caught:
        JsonDataConverter().deserialize('"' + "x" * 100_000 + '"', int)

    assert len(str(caught.value)) < 400
