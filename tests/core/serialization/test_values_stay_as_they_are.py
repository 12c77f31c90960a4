"""A value comes back as it was, whatever its class does when it is written; or it is refused, with the field."""

from __future__ import annotations

import base64
import enum
import uuid
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar, Union

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from durabletask.core.errors import SerializationError
from durabletask.core.serialization import DEFAULT_CONVERTER
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
    model_serializer,
)
from typing_extensions import TypedDict


def travel(value: object, target: object = None) -> Any:
    """Write a value and read it as its own type."""
    return DEFAULT_CONVERTER.deserialize(DEFAULT_CONVERTER.serialize(value), target or type(value))


# --- fields at their default ------------------------------------------------------------------------------


@dataclass
class Order:
    sku: str
    express: bool = True
    notes: list[str] = field(default_factory=list)
    state: str = field(default="new", init=False)


@attrs.define(slots=False)
class AttrsOrder:
    sku: str
    express: bool = True


class StructOrder(msgspec.Struct, omit_defaults=True):
    sku: str
    express: bool = True


class TaggedOrder(msgspec.Struct, omit_defaults=True, tag="order", rename="camel", array_like=False):
    sku_code: str = "a"
    is_express: bool = True


class ListOrder(msgspec.Struct, omit_defaults=True, array_like=True, tag=True):
    sku: str = "a"
    express: bool = True


class ModelOrder(BaseModel):
    sku: str
    express: bool = True

    def model_dump(self, **options: Any) -> dict[str, Any]:
        options["exclude_defaults"] = options["exclude_unset"] = True
        return super().model_dump(**options)


@pytest.mark.parametrize("kind", [Order, AttrsOrder, StructOrder, ModelOrder])
@pytest.mark.parametrize(
    "wrap", [lambda v: v, lambda v: [v], lambda v: {"a": (v, {1})}], ids=["", "list", "dict"]
)
def test_fields_that_took_their_default_are_written(kind: Any, wrap: Any) -> None:
    """Whether a default was given or filled in by decoding, the same value gives the same text."""
    filled_in = DEFAULT_CONVERTER.deserialize('{"sku":"A1"}', kind)
    text = DEFAULT_CONVERTER.serialize(wrap(filled_in))
    assert text == DEFAULT_CONVERTER.serialize(wrap(kind("A1") if kind is not ModelOrder else kind(sku="A1")))
    assert '"express":true' in str(text)


@attrs.define
class Private:
    name: str
    _code: int = 3


def test_private_fields_of_attrs_classes_are_written() -> None:
    """msgspec alone leaves them out."""
    assert travel(Private("a", 5)) == Private("a", 5)
    assert travel([Private("a")], list[Private]) == [Private("a")]


def test_tagged_and_array_like_structs_keep_their_form() -> None:
    """A struct that omits defaults is written in full, in its own spelling."""
    assert DEFAULT_CONVERTER.serialize(TaggedOrder()) == '{"type":"order","skuCode":"a","isExpress":true}'
    assert travel(TaggedOrder(is_express=False)) == TaggedOrder(is_express=False)
    assert DEFAULT_CONVERTER.serialize(ListOrder()) == '["ListOrder","a",true]'
    assert travel([ListOrder("b")], list[ListOrder]) == [ListOrder("b")]


# --- subclasses of what travels ---------------------------------------------------------------------------


class MyDatetime(datetime):
    pass


class MyDate(date):
    pass


class MyTime(time):
    pass


class Months(timedelta):
    """As pendulum's durations: the attributes do not say what is stored."""

    @property
    def days(self) -> int:  # type: ignore[override]
        return 0


class MyDecimal(Decimal):
    pass


class MyUuid(uuid.UUID):
    pass


class MyBytes(bytes):
    pass


class MyInt(int):
    pass


class MyText(str):
    __slots__ = ()


NOW = (2030, 1, 2, 3, 4, 5, 6)
THEN = datetime(2030, 1, 2, 3, 4, 5, 6, timezone.utc)


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (MyDatetime(*NOW, timezone.utc), THEN),
        (MyDate(2030, 1, 2), date(2030, 1, 2)),
        (MyTime(1, 2, 3), time(1, 2, 3)),
        (Months(31), timedelta(31)),
        (MyDecimal("1.10"), Decimal("1.10")),
        (MyUuid(int=7), uuid.UUID(int=7)),
        (MyBytes(b"\xff"), b"\xff"),
        (MyInt(7), 7),
        (MyText("x"), "x"),
        (Path("/a/b"), PurePosixPath("/a/b")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_subclasses_of_what_travels_travel_as_their_base(value: object, base: object) -> None:
    """Alone, in containers, and where the annotation is the base or the subclass."""
    assert travel(value, type(base)) == base
    assert travel({"a": [value]}, dict[str, list[type(base)]]) == {"a": [base]}  # type: ignore[misc]
    assert type(travel(value)) is type(value)


def test_keys_of_a_dictionary_may_be_subclasses_too() -> None:
    """They become the text of their base; two keys with one text are refused."""
    assert travel({MyDate(2030, 1, 2): 1, MyInt(7): 2}, dict[str, int]) == {"2030-01-02": 1, "7": 2}
    with pytest.raises(SerializationError, match="same text"):
        DEFAULT_CONVERTER.serialize({MyInt(1): 1, "1": 2})


class Fine(datetime):
    """A time that is finer than a datetime, as pandas' timestamps."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = datetime.__hash__


def test_a_subclass_that_holds_more_than_its_base_is_refused() -> None:
    """What would be lost is named."""
    with pytest.raises(SerializationError, match=r"at: an object of type .*Fine holds more than a datetime"):
        DEFAULT_CONVERTER.serialize({"at": Fine(*NOW)})


class Point(enum.Enum):
    ORIGIN = (0, 0)
    RIGHT = (1, 0)


class Ratio(enum.Enum):
    HALF = 0.5
    DAY = date(2030, 1, 1)


@pytest.mark.parametrize("value", [Point.RIGHT, Ratio.HALF, Ratio.DAY])
def test_enums_of_any_values_are_read_back(value: enum.Enum) -> None:
    """Also inside of classes and containers."""
    assert travel(value) is value
    assert travel([value], list[type(value)]) == [value]  # type: ignore[misc]


# --- pydantic: every configuration ------------------------------------------------------------------------


class Alias(BaseModel):
    user_name: str = Field(alias="userName")


class Validation(BaseModel):
    user_name: str = Field(validation_alias="userName")


class Serialization(BaseModel):
    user_name: str = Field(serialization_alias="userName")


class Different(BaseModel):
    user_name: str = Field(validation_alias="a", serialization_alias="b")


class Choices(BaseModel):
    user_name: str = Field(validation_alias=AliasChoices("userName", AliasPath("names", 0)))


class Paths(BaseModel):
    first: str = Field(validation_alias=AliasPath("names", 0))
    last: str = Field(validation_alias=AliasPath("names", 1))


class ByName(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    user_name: str = Field(alias="userName")


class Generated(BaseModel):
    model_config = ConfigDict(alias_generator=str.upper, extra="forbid")
    user_name: str
    inner: Alias


class Swapped(BaseModel):
    a: int = Field(alias="b")
    b: int = Field(alias="a")


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.width**2


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    at: datetime
    parts: tuple[int, ...]
    tags: frozenset[str]
    key: uuid.UUID
    price: Decimal
    blob: bytes = b"b"


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, str_strip_whitespace=True, use_enum_values=True)
    name: str


class InMilliseconds(BaseModel):
    model_config = ConfigDict(ser_json_timedelta="float", ser_json_bytes="base64", val_json_bytes="base64")
    delay: timedelta
    blob: bytes


class Hidden(BaseModel):
    name: str
    cache: int = Field(default=0, exclude=True)


class Celsius:
    def __init__(self, degrees: float) -> None:
        self.degrees = degrees


class Weather(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    outside: Celsius

    @field_validator("outside", mode="before")
    @classmethod
    def parse(cls, value: object) -> object:
        return Celsius(float(value.rstrip("C"))) if isinstance(value, str) else value

    @field_serializer("outside")
    def write(self, value: Celsius) -> str:
        return f"{value.degrees}C"


class Packed(BaseModel):
    data: pydantic.Json[list[int]]


class Ids(RootModel[list[int]]):
    pass


class Accounts(RootModel[dict[str, Alias]]):
    pass


T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    content: T = Field(alias="theContent")


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = Field(default=9, alias="nineLives")


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    lives: int = 1


class Owner(BaseModel):
    pets: list[Annotated[Union[Cat, Dog], Field(discriminator="kind")]]


@pydantic.dataclasses.dataclass
class Dataclass:
    user_name: str = Field(alias="userName")
    blob: bytes = b"x"


@pydantic.dataclasses.dataclass(config=ConfigDict(extra="forbid", strict=True))
class StrictDataclass:
    at: datetime
    inner: Alias


class Node(BaseModel):
    value: int
    next: Node | None = Field(default=None, alias="nextNode")


class Site(BaseModel):
    url: pydantic.AnyUrl
    size: pydantic.ByteSize
    path: Path
    when: date


SITE = Site(url="https://example.org/a", size=7, path="/a", when="2030-01-02")  # type: ignore[arg-type]

FAITHFUL: list[Any] = [
    Alias(userName="ada"),
    Validation(userName="ada"),
    Serialization(user_name="ada"),
    Different(a="ada"),
    Choices(userName="ada"),
    Paths.model_validate({"names": ["Ada", "King"]}),
    ByName(user_name="ada"),
    Generated.model_validate({"USER_NAME": "ada", "INNER": {"userName": "b"}}),
    Swapped(b=1, a=2),
    Computed(width=3),
    Strict(
        at=THEN,
        parts=(1, 2),
        tags=frozenset("ab"),
        key=uuid.UUID(int=1),
        price=Decimal("1.10"),
    ),
    Extra.model_validate({"a": 1, "b": [1]}),
    Frozen(name="x"),
    InMilliseconds(delay=timedelta(milliseconds=1500), blob=base64.b64encode(b"\xff\xfe")),
    Hidden(name="x"),
    Packed(data="[1,2]"),  # type: ignore[arg-type]
    Ids([1, 2]),
    Accounts({"a": Alias(userName="ada")}),
    Box[int](theContent=1),
    Box[list[Alias]](theContent=[Alias(userName="ada")]),
    Owner(pets=[Cat(nineLives=3), Dog()]),
    Dataclass(userName="ada"),
    StrictDataclass(THEN, Alias(userName="ada")),
    Node(value=1, nextNode=Node(value=2)),
    SITE,
]


@dataclass
class Holder(Generic[T]):
    content: T


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", FAITHFUL, ids=lambda value: type(value).__name__)
def test_every_configuration_of_a_model_travels(value: Any) -> None:
    """By alias or name, strict, with forbidden extras, computed fields, own serializers; alone and inside."""
    kind = type(value)
    assert travel(value) == value
    assert travel([value], list[kind]) == [value]  # type: ignore[valid-type]
    assert travel({"a": value}, dict[str, kind | None]) == {"a": value}  # type: ignore[valid-type]
    assert travel(Holder(value), Holder[kind]) == Holder(value)  # type: ignore[valid-type]


def test_values_of_arbitrary_types_travel_if_their_model_writes_and_parses_them() -> None:
    """They have no equality of their own."""
    assert travel(Weather(outside=Celsius(21.5))).outside.degrees == 21.5


def test_a_model_is_read_by_alias_as_well() -> None:
    """As other programs write it."""
    assert DEFAULT_CONVERTER.deserialize('{"userName":"ada"}', Alias) == Alias(userName="ada")


class Doubling(BaseModel):
    price: int

    @field_validator("price")
    @classmethod
    def double(cls, value: int) -> int:
        return value * 2


class Masked(BaseModel):
    card: str

    @field_serializer("card")
    def mask(self, value: str) -> str:
        return "*" * len(value)


class MaskedWhole(BaseModel):
    card: str

    @model_serializer
    def mask(self) -> dict[str, str]:
        return {"card": "****"}


class RequiredButExcluded(BaseModel):
    token: str = Field(exclude=True)


class Animal(BaseModel):
    name: str


class Bird(Animal):
    wings: int = 2


class Cage(BaseModel):
    inside: list[Animal]


class Opaque(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    handle: Celsius


class Assigned(BaseModel):
    count: int


ASSIGNED = Assigned(count=1)
ASSIGNED.count = "many"  # type: ignore[assignment]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Hidden(name="x", cache=7), "cache"),
        (RequiredButExcluded(token="s3cret"), "token"),
        (Doubling(price=1), "price"),
        (Masked(card="4111-1111"), "card"),
        (MaskedWhole(card="4111-1111"), "card"),
        (Cage(inside=[Bird(name="Tweety")]), r"inside\[0\].wings"),
        (Opaque(handle=Celsius(1)), "handle"),
        (ASSIGNED, "count"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize(
    "wrap", [lambda v: v, lambda v: [v], lambda v: Holder({"k": v})], ids=["", "list", "dataclass"]
)
def test_a_model_that_would_change_is_refused_with_its_field(value: object, name: str, wrap: Any) -> None:
    """When it is written, without its values."""
    with pytest.raises(SerializationError, match=rf"{name}: ") as caught:
        DEFAULT_CONVERTER.serialize(wrap(value))
    for secret in ("s3cret", "4111-1111", "many"):
        assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


# --- secrets ----------------------------------------------------------------------------------------------


class Login(BaseModel):
    password: SecretStr
    keys: dict[str, list[SecretStr]] = {}
    pin: SecretBytes = SecretBytes(b"1234")
    born: Secret[date] = Secret[date](date(2030, 1, 1))
    other: SecretStr | None = Field(default=None, alias="theOther")


@dataclass
class Credentials:
    password: SecretStr
    pin: SecretBytes
    born: Secret[date]
    logins: list[Login]


LOGIN = Login(
    password=SecretStr("hunter2"), keys={"a": [SecretStr("b"), SecretStr("c")]}, theOther=SecretStr("d")
)


@pytest.mark.parametrize(
    "value",
    [
        LOGIN,
        Holder(SecretStr("x")).content,
        SecretBytes(b"\xff"),
        Credentials(SecretStr("x"), SecretBytes(b"\xff"), Secret[date](date(2030, 1, 1)), [LOGIN]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_secret_arrives_as_it_is(value: object) -> None:
    """Never as the asterisks of a dump for display."""
    assert "**" not in str(DEFAULT_CONVERTER.serialize(value))
    assert travel(value) == value


def test_a_secret_that_cannot_be_written_is_refused_by_name() -> None:
    """Bytes that are not text have no form in a model that reads text."""
    with pytest.raises(SerializationError, match="pin: "):
        DEFAULT_CONVERTER.serialize(Login(password=SecretStr("a"), pin=SecretBytes(b"\xff\xfe")))


# --- unions without a tag ---------------------------------------------------------------------------------


@dataclass
class Card:
    number: str


@dataclass
class Invoice:
    number: str
    vat_id: str


@attrs.define
class Cash:
    amount: int


class Voucher(msgspec.Struct):
    code: str
    amount: int = 0


class Transfer(BaseModel):
    iban: str
    name: str = Field(default="", alias="theName")


class Gift(TypedDict):
    sender: str


class Pair(NamedTuple):
    left: int
    right: int


Method = Union[Card, Invoice, Cash, Voucher, Transfer, Gift, Pair]


@dataclass
class Payment:
    method: Method
    others: list[Method] = field(default_factory=list)
    by_name: dict[str, Method | None] = field(default_factory=dict)
    refunds: list[Payment] = field(default_factory=list)


class PaymentStruct(msgspec.Struct, rename="camel"):
    the_method: Card | Invoice
    note: str | None = None


@attrs.define
class PaymentAttrs:
    _method: Card | Invoice


class PaymentDict(TypedDict, total=False):
    method: Card | Invoice
    note: str


class PaymentTuple(NamedTuple):
    method: Card | Invoice
    note: str = ""


METHODS: list[Any] = [
    Card("1"),
    Invoice("1", "DE9"),
    Cash(3),
    Voucher("a"),
    Transfer(iban="x", theName="n"),
    {"sender": "me"},
    Pair(1, 2),
]


@pytest.mark.parametrize("value", METHODS, ids=lambda value: type(value).__name__)
def test_the_member_of_a_union_is_the_one_whose_fields_are_those_of_the_payload(value: Any) -> None:
    """Of classes of any kind; alone, in containers and in fields at any depth."""
    assert travel(value, Method) == value
    assert travel([value, None], list[Method | None]) == [value, None]
    assert travel({"a": (value,)}, dict[str, tuple[Method, ...]]) == {"a": (value,)}
    payment = Payment(value, [value], {"a": value, "b": None}, [Payment(value)])
    assert travel(payment) == payment


@pytest.mark.parametrize(
    ("value", "target"),
    [
        (PaymentStruct(Invoice("1", "DE9")), PaymentStruct),
        (PaymentAttrs(Invoice("1", "DE9")), PaymentAttrs),
        (PaymentTuple(Invoice("1", "DE9"), "n"), PaymentTuple),
        ({"method": Invoice("1", "DE9")}, PaymentDict),
        (Holder(Invoice("1", "DE9")), Holder[Card | Invoice]),
        (Holder([Holder(Card("1"))]), Holder[list[Holder[Card | Invoice]]]),
        ([Invoice("1", "2"), 3, "x", None], list[Card | Invoice | int | str | None]),
        (uuid.UUID(int=1), uuid.UUID | str),
        ("no uuid", uuid.UUID | str),
        ({"number": "1", "more": [1]}, Card | dict[str, Any]),
    ],
    ids=str,
)
def test_unions_are_read_in_fields_of_every_kind_of_class(value: object, target: object) -> None:
    """And beside members that are no classes."""
    assert travel(value, target) == value


@dataclass
class Ship:
    name: str


@dataclass
class Crew:
    name: str


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ('{"name":"Enterprise"}', "Ship and .*Crew fit equally well"),
        ('{"name":"Enterprise","speed":9}', "no member of .* fits"),
        ('{"title":"Enterprise"}', "no member of .* fits"),
        ("[]", "no member of .* fits"),
    ],
)
def test_a_payload_that_fits_several_members_or_none_is_refused(payload: str, message: str) -> None:
    """Alone and in a field, without a word of the payload."""
    with pytest.raises(SerializationError, match=message) as caught:
        DEFAULT_CONVERTER.deserialize(payload, Ship | Crew)
    assert "Enterprise" not in str(caught.value)
    with pytest.raises(SerializationError, match=message):
        DEFAULT_CONVERTER.deserialize(f'{{"content":{payload}}}', Holder[Ship | Crew])


# --- nothing of a payload in a message --------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


class Pet(RootModel[Annotated[Union[Cat, Dog], Field(discriminator="kind")]]):
    pass


class Checked(BaseModel):
    code: str

    @field_validator("code")
    @classmethod
    def check(cls, value: str) -> str:
        raise ValueError(f"{value} is no code")


@pytest.mark.parametrize(
    ("payload", "target"),
    [
        ('{"number":"hunter2","vat_id":1}', Invoice),
        ('"hunter2"', int),
        ('"hunter2"', Colour),
        ('["hunter2"]', list[Literal["a", "b"]]),
        ('{"kind":"hunter2"}', Pet),
        ('{"kind":"hunter2"}', Owner),
        ('{"code":"hunter2"}', Checked),
        ('[{"code":"hunter2"}]', list[Checked]),
        ('{"at":"hunter2"}', Strict),
        ('{"type":"hunter2"}', TaggedOrder),
        ('{"number":"hunter2","x":1}', Card | Invoice),
        ('"hunter2"', Point),
        ('{"hunter2"', None),
        ('{"url":"hunter2"}', Site),
    ],
    ids=str,
)
def test_no_message_quotes_a_payload(payload: str, target: object) -> None:
    """Nor does a cause, which would travel with the failure."""
    with pytest.raises(SerializationError) as caught:
        DEFAULT_CONVERTER.deserialize(payload, target)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("value", ["hunter2\ud800", {"a": "hunter2\udfff"}, [["hunter2\ud800"]]])
def test_text_that_is_no_unicode_is_refused(value: object) -> None:
    """With its path, and without the text."""
    with pytest.raises(SerializationError, match="lone surrogate") as caught:
        DEFAULT_CONVERTER.serialize(value)
    assert "hunter2" not in str(caught.value)


class Mixed(enum.Enum):
    TEXT = "a"
    NUMBER = 2
    FRACTION = 1.5


def test_members_of_an_enumeration_are_keys_whatever_their_values_are() -> None:
    """JSON has texts as keys only; a member is found by the text of its value, too."""
    value = {member: member.name for member in Mixed}
    assert travel(value, dict[Mixed, str]) == value
    with pytest.raises(SerializationError, match="same text"):
        DEFAULT_CONVERTER.serialize({Mixed.NUMBER: 1, 2: 1})


def test_a_key_that_no_reader_gives_back_is_refused() -> None:
    """``True`` would become ``"1"``."""
    with pytest.raises(SerializationError, match="a key of type bool"):
        DEFAULT_CONVERTER.serialize({True: 1})
