"""From values to plain JSON values: the exact way, for what msgspec alone would not write exactly.

msgspec encodes most values as they should be, in one pass. ``is_exact`` decides whether it does; ``to_plain`` makes
plain values of everything else:

* dataclasses and attrs objects whose fields took a default while they were decoded, and structs with
  ``omit_defaults``: msgspec leaves these fields out;
* sets, whose order differs from process to process;
* pydantic models and dataclasses (see ``pydantic_models``);
* dictionaries whose keys are subclasses of plain types.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import types
from collections.abc import Callable, Collection, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import PurePath
from typing import Final, cast, get_args
from uuid import UUID

import msgspec

from . import pydantic_models

__all__ = ["TIME_FIELDS", "UnwritableError", "encode_hook", "explain", "is_exact", "to_plain", "type_name"]


class UnwritableError(ValueError):
    """A part of a value cannot be written.

    Attributes:
        path: steps from the value to the part, innermost first.
        reason: why it cannot.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: str = reason
        self.path: list[str] = []

    def __str__(self) -> str:
        path = "".join(reversed(self.path)).lstrip(".")
        return f"{path}: {self.reason}" if path else self.reason


def type_name(target: object) -> str:
    """A type or annotation as messages show it."""
    if isinstance(target, type) and not get_args(target):
        is_builtin = target.__module__ == "builtins"
        return target.__qualname__ if is_builtin else f"{target.__module__}.{target.__qualname__}"
    return str(target).replace("typing.", "")


# --- single values ----------------------------------------------------------------------------------------


TIME_FIELDS: Final[dict[type, tuple[str, ...]]] = {  # in this order: a datetime is a date
    datetime: ("year", "month", "day", "hour", "minute", "second", "microsecond", "tzinfo"),
    date: ("year", "month", "day"),
    time: ("hour", "minute", "second", "microsecond", "tzinfo"),
    timedelta: ("days", "seconds", "microseconds"),
}


def _to_time(base: type) -> Callable[..., object]:
    """Converts objects of subclasses to ``base``.

    Subclasses redefine attributes (the durations of pendulum count months); the descriptors of the base read what is
    stored.
    """
    readers = [getattr(base, name).__get__ for name in TIME_FIELDS[base]]

    def convert(value: object) -> object:
        plain = base(*[read(value) for read in readers])
        return plain.replace(fold=value.fold) if isinstance(value, (datetime, time)) else plain

    return convert


_BASES: Final[tuple[tuple[type, Callable[..., object]], ...]] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    *((base, _to_time(base)) for base in TIME_FIELDS),
    (Decimal, lambda value: Decimal.__new__(Decimal, value)),
    (UUID, lambda value: UUID(int=value.int)),
    (PurePath, str),
)
_LONGEST_KEY: Final = 40  # in a path
_MUST_BE_EQUAL: Final = (*TIME_FIELDS, Decimal)


def encode_hook(value: object) -> object:
    """A plain value for one that msgspec does not know by itself."""
    kind: type = type(value)
    if pydantic_models.knows(kind):
        return _write_model(value)
    for base, convert in _BASES:
        if isinstance(value, base):
            plain = convert(value)
            if base in _MUST_BE_EQUAL and not (value == plain):
                raise UnwritableError(
                    f"an object of type {type_name(type(value))} holds more than a {base.__name__} can express"
                )
            return plain
    raise UnwritableError(_unsupported(value))


def _unsupported(value: object) -> str:
    """Why a value has no JSON form, with what to write instead."""
    hint = "Use a dataclass, a TypedDict, plain JSON values, or give the client and worker a data_converter."
    if isinstance(value, types.CoroutineType):
        hint = "It looks like a forgotten 'await'."
    elif isinstance(value, types.GeneratorType):
        hint = "A generator has no value of its own: make it a list."
    elif isinstance(value, type):
        hint = "This is a class: an instance was probably meant."
    elif callable(value):
        hint = "This is a function: its result was probably meant."
    return f"object of type {type_name(type(value))} has no JSON form. {hint}"


def _write_model(value: object) -> object:
    try:
        return pydantic_models.write(value, to_plain)
    except pydantic_models.UnfaithfulError as error:
        refused = UnwritableError(error.reason)
        refused.path = [error.path] if error.path else []
        raise refused from None


# --- classes with fields ----------------------------------------------------------------------------------


class _Shape:
    """How objects of a class are written.

    Attributes:
        is_leaf: msgspec or ``encode_hook`` writes the object; it has no parts to look at.
        fields: attribute names with the names on the wire; ``None`` for containers and leaves.
        may_be_partial: the object may lack attributes that its class provides; msgspec would leave these out.
        omits: msgspec would write the object in its own way: without defaults, or without private fields.
        tag: the tag of a struct, with the name of its field; ``None`` without one.
        is_array: the struct is written as a list.
    """

    __slots__ = ("fields", "is_array", "is_leaf", "is_model", "may_be_partial", "names", "omits", "tag")

    def __init__(self, kind: type) -> None:
        self.fields: tuple[tuple[str, str], ...] | None = None
        self.may_be_partial = self.omits = self.is_array = False
        self.tag: tuple[str, str | int] | None = None
        self.is_model: bool = pydantic_models.knows(kind)
        has_dict = kind.__dictoffset__ != 0
        if self.is_model:
            self.omits = dataclasses.is_dataclass(kind)  # msgspec takes those for ordinary ones
        elif issubclass(kind, msgspec.Struct):
            config = kind.__struct_config__
            self.fields = tuple(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
            self.omits, self.is_array = config.omit_defaults, config.array_like
            if config.tag is not None:
                self.tag = (config.tag_field or "", config.tag)
        elif dataclasses.is_dataclass(kind):
            names = tuple(field.name for field in dataclasses.fields(kind))
            self.fields = tuple(zip(names, names, strict=True))
            self.may_be_partial = has_dict
        elif hasattr(kind, "__attrs_attrs__"):
            names = tuple(attribute.name for attribute in kind.__attrs_attrs__)
            self.fields = tuple(zip(names, names, strict=True))
            self.may_be_partial = has_dict
            self.omits = any(
                name.startswith("_") for name in names
            )  # msgspec leaves out what attrs calls private
        self.names: frozenset[str] = frozenset(name for name, _ in self.fields or ())
        is_container = issubclass(kind, (dict, list, tuple, set, frozenset))
        # What `encode_hook` makes of a model is exact already.
        self.is_leaf: bool = self.fields is None and not is_container and not self.omits


_shape_of = lru_cache(maxsize=4096)(_Shape)

_TEXT: Final = frozenset({str})
_ATOMS: Final = frozenset({str, int, bool, type(None), bytes, float})


def is_exact(value: object) -> bool:
    """Whether msgspec writes the value, which it has accepted, as this module would.

    The value does not contain itself: it has been encoded. Numbers are not looked at.
    """
    rest = [value]
    while rest:
        part = rest.pop()
        kind = type(part)
        if kind in _ATOMS:
            continue
        members: Collection[object] | None
        if kind is dict:
            pairs = cast("dict[object, object]", part)
            if not _TEXT.issuperset(map(type, pairs)) and not _has_keys_of_one_type(pairs):
                return False
            members = pairs.values()
        elif kind is list or kind is tuple:
            members = cast("Collection[object]", part)
        else:
            members = _members_if_exact(part, kind)
            if members is None:
                return False
        if not _ATOMS.issuperset(map(type, members)):  # runs of scalars are many and need no closer look
            rest.extend(members)
    return True


def _members_if_exact(value: object, kind: type) -> Collection[object] | None:
    """The members of an object, or ``None`` if msgspec would write the object itself in its own way."""
    shape = _shape_of(kind)
    if shape.is_leaf:
        return (value.value,) if isinstance(value, enum.Enum) else ()
    if shape.omits or isinstance(value, (set, frozenset)):
        return None
    if shape.may_be_partial:
        held = vars(value)
        return held.values() if shape.names <= held.keys() else None
    if shape.fields is not None:
        return [getattr(value, name, None) for name, _ in shape.fields]
    return value.values() if isinstance(value, dict) else cast("Collection[object]", value)


def _has_keys_of_one_type(pairs: dict[object, object]) -> bool:
    """Whether no two keys become the same text, as 1 and "1" do. A ``bool`` would become that of a number."""
    kinds = set(map(type, pairs))
    return len(kinds) == 1 and bool not in kinds


def to_plain(value: object) -> object:
    """The value as dictionaries, lists and what msgspec encodes exactly.

    Raises:
        UnwritableError: a part has no JSON form; the error has its path.
        RecursionError: the value contains itself, or is nested too deeply.
    """
    kind: type = type(value)
    if kind in _ATOMS:
        if kind is float and not math.isfinite(cast("float", value)):
            raise UnwritableError(f"{value!r} has no JSON form. Use None, or a text such as {str(value)!r}")
        return value
    shape = _shape_of(kind)
    if shape.is_model:
        return _write_model(value)
    if shape.fields is not None:
        return _plain_object(value, shape)
    if isinstance(value, dict):
        pairs = [(_plain_key(key), item) for key, item in value.items()]
        plain = {key: _part(item, _key_step(key)) for key, item in pairs}
        if len(plain) < len(pairs) or (
            not all(type(key) is str for key in plain) and len({str(key) for key in plain}) < len(plain)
        ):
            raise UnwritableError("two of its keys become the same text")
        return plain
    if isinstance(value, (list, tuple)):
        return [_part(item, f"[{index}]") for index, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return sorted((_part(item, "[...]") for item in value), key=_encode)
    if isinstance(value, enum.Enum):
        return to_plain(value.value)
    if isinstance(value, _NATIVE) and kind in _NATIVE:
        return value
    return to_plain(encode_hook(value))


_NATIVE: Final = (datetime, date, time, timedelta, Decimal, UUID, bytearray, memoryview, msgspec.Raw)
_encode = msgspec.json.Encoder(enc_hook=encode_hook).encode


def _part(value: object, step: str) -> object:
    if type(value) in _ATOMS and type(value) is not float:
        return value
    try:
        return to_plain(value)
    except UnwritableError as refused:
        refused.path.append(step)
        raise


def _plain_object(value: object, shape: _Shape) -> object:
    plain: dict[str, object] = {}
    if shape.tag is not None:
        plain[shape.tag[0]] = shape.tag[1]
    for name, written in shape.fields or ():
        try:
            item = getattr(value, name)
        except AttributeError:
            raise UnwritableError(f"its field {name!r} has no value") from None
        if item is not msgspec.UNSET:
            plain[written] = _part(item, f".{name}")
    return list(plain.values()) if shape.is_array else plain


def _plain_key(key: object) -> object:
    if type(key) is str:
        return key
    if isinstance(key, enum.Enum):
        return _plain_key(key.value)
    if isinstance(key, bool):  # it would be written as a number, and no reader gives it back
        raise UnwritableError("a key of type bool has no JSON form")
    if isinstance(key, (type(None), tuple)) or type(key) in _NATIVE or type(key) in _ATOMS:
        return key
    try:
        return encode_hook(key)
    except UnwritableError:
        raise UnwritableError(f"a key of type {type_name(type(key))} has no JSON form") from None


def _key_step(key: object) -> str:
    if isinstance(key, str) and key.isidentifier():
        return f".{key[:_LONGEST_KEY]}"
    return f"[{str(key)[:_LONGEST_KEY]!r}]" if isinstance(key, str) else f"[{key!s:.{_LONGEST_KEY}}]"


def explain(value: object, encode: Callable[[object], bytes], path: str = "") -> str:
    """A sentence with path and reason for plain values that ``encode`` does not take."""
    parts: Iterable[tuple[str, object]] = ()
    if isinstance(value, dict):
        parts = [(_key_step(key), item) for key, item in value.items()]
    elif isinstance(value, list):
        parts = [(f"[{index}]", item) for index, item in enumerate(value)]
    for step, part in parts:
        try:
            encode(part)
        except (TypeError, ValueError, OverflowError):  # noqa: PERF203 - this is the way of errors
            return explain(part, encode, path + step)
    try:
        encode(value)
        reason = "it cannot be encoded"
    except UnicodeEncodeError:
        reason = "its text is not valid Unicode: it has a lone surrogate"
    except (TypeError, ValueError, OverflowError) as error:
        reason = str(error)
    return f"{path.lstrip('.')}: {reason}" if path else reason
