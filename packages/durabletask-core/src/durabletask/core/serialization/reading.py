"""From annotations to readers, for annotations that msgspec alone would refuse or read inexactly.

msgspec reads most annotations. The rest are replaced by *stand-ins*, classes of which msgspec only knows that the
decoding hook makes their values. A stand-in takes the place of

* a union of several classes without a tag: the member is chosen by what the payload holds;
* a class one of whose fields needs a stand-in;
* a pydantic dataclass, which msgspec would take for an ordinary one, and an annotation with pydantic's instructions;
* an enum whose values are neither all text nor all integers.

The rule for unions: every member that can read the payload is tried, and one that would lose a part of the payload does
not count. Among the others the closest wins: the same values, then the same fields, then one that adds defaults. If
several classes are equally close, the payload is refused, because either could be meant. Members that are no classes
(``UUID | str``) are taken in their order.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Container, Iterable, Reversible
from decimal import Decimal
from pathlib import PurePath
from typing import Annotated, Any, Final, TypeAlias, Union, cast, get_args
from uuid import UUID

import msgspec
from typing_extensions import NotRequired, Required, TypedDict, is_typeddict

from . import pydantic_models
from .pydantic_models import origin_of
from .writing import TIME_FIELDS, UnwritableError, to_plain, type_name

__all__ = ["decode_hook", "reader_of", "without_values"]

_Reader: TypeAlias = Callable[["str | bytes"], object]

_ITERABLES: Final = (Iterable, Reversible, Container)


def reader_of(annotation: object) -> _Reader:
    """The function that makes values of an annotation from JSON text.

    The function raises ``msgspec.ValidationError`` (or ``pydantic_models.ReadError``) for text that does not fit.

    Raises:
        TypeError: there is no reader for the annotation.
    """
    if _is_pydantic(annotation):
        return pydantic_models.reader_of(annotation)
    decoder = msgspec.json.Decoder(cast("type[object]", _replace(annotation)), dec_hook=decode_hook)
    return cast("_Reader", decoder.decode)


def decode_hook(target: object, value: object) -> object:
    """A value of a type that msgspec does not know by itself, from plain values."""
    if isinstance(target, _StandInMeta):
        return target.read(msgspec.json.encode(value))
    if _is_pydantic(target):
        return pydantic_models.reader_of(target)(msgspec.json.encode(value))
    if target is object:  # a member annotated so takes plain JSON values
        return value
    made = _make_subclass(target, value) if isinstance(target, type) else None
    if made is None:
        raise NotImplementedError(f"objects of type {type_name(target)} cannot be read from JSON")
    return made


def _is_pydantic(annotation: object) -> bool:
    return pydantic_models.owns(annotation) or pydantic_models.knows(origin_of(annotation) or annotation)


# --- subclasses of plain types ----------------------------------------------------------------------------

_FROM_BASE: Final[tuple[type, ...]] = (str, int, float, bytes, Decimal)


def _make_subclass(target: type, value: object) -> object | None:
    """An object of a subclass of a plain type, from what its base is written as; ``None`` for other types."""
    make = cast("Callable[..., object]", target)
    if issubclass(target, (PurePath, UUID)):
        return make(msgspec.convert(value, str))
    for base in _FROM_BASE:
        if issubclass(target, base):
            return make(msgspec.convert(value, base))
    for base, names in TIME_FIELDS.items():
        if issubclass(target, base):
            plain: object = msgspec.convert(value, base)
            return make(*[getattr(plain, name) for name in names])
    return None


# --- stand-ins --------------------------------------------------------------------------------------------


class _StandInMeta(type):
    """Makes every object an instance, because the decoder checks what the hook returns."""

    read: _Reader

    def __instancecheck__(cls, instance: object) -> bool:
        return True


def _stand_in(make_reader: Callable[[], _Reader]) -> type:
    """A type for msgspec. The reader is made at the first use, because classes may contain themselves."""
    made: list[_Reader] = []

    def read(payload: str | bytes) -> object:
        if not made:
            made.append(make_reader())
        return made[0](payload)

    return _StandInMeta("StandIn", (), {"read": staticmethod(read)})


def _is_union(annotation: object) -> bool:
    return origin_of(annotation) in (Union, types.UnionType)


def _hints_of(kind: object) -> dict[str, object]:
    """Names and annotations of a class with fields; empty for any other."""
    origin: object = origin_of(kind) or kind
    if not isinstance(origin, type) or not (
        dataclasses.is_dataclass(origin)
        or issubclass(origin, msgspec.Struct)
        or hasattr(origin, "__attrs_attrs__")
        or is_typeddict(origin)
        or (issubclass(origin, tuple) and hasattr(origin, "_fields"))
    ):
        return {}
    try:
        hints = typing.get_type_hints(origin, include_extras=True)
    except Exception:  # noqa: BLE001 - names that cannot be resolved here: msgspec has its own way and message
        return {}
    given = dict(zip(getattr(origin, "__parameters__", ()), get_args(kind), strict=False))
    return {name: given.get(hint, hint) if _is_hashable(hint) else hint for name, hint in hints.items()}


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _is_odd_enum(annotation: object) -> bool:
    if not (isinstance(annotation, type) and issubclass(annotation, enum.Enum)):
        return False
    values = [member.value for member in annotation]
    return not any(all(type(value) is kind for value in values) for kind in (str, int))


def _is_accepted(annotation: object) -> bool:
    try:
        msgspec.json.Decoder(cast("type[object]", annotation))
    except (TypeError, RecursionError):
        return False
    return True


def _needs_help(annotation: object, seen: set[object]) -> bool:
    """Whether a stand-in is needed for the annotation or a part of it, at any depth."""
    if not _is_hashable(annotation) or annotation in seen:
        return False
    seen.add(annotation)
    if pydantic_models.owns(annotation) or _is_odd_enum(annotation):
        return True
    if pydantic_models.knows(annotation):
        return dataclasses.is_dataclass(annotation)  # msgspec leaves models and other types to the hook
    if origin_of(annotation) in _ITERABLES:
        return True
    if any(_needs_help(part, seen) for part in get_args(annotation)):
        return True
    if any(_needs_help(hint, seen) for hint in _hints_of(annotation).values()):
        return True
    return _is_union(annotation) and not _is_accepted(annotation)


def _replace(annotation: Any) -> object:
    """The annotation with stand-ins where they are needed."""
    if not _needs_help(annotation, set()):
        return annotation
    if _is_pydantic(annotation):
        return _stand_in(lambda: pydantic_models.reader_of(annotation))
    if _is_odd_enum(annotation):
        return _stand_in(lambda: _enum_reader(annotation))
    origin = origin_of(annotation)
    if origin is Annotated:
        parts = (_replace(annotation.__origin__), *annotation.__metadata__)
        return Annotated[parts]
    if _is_union(annotation):
        return _replace_union(annotation)
    if _hints_of(annotation):
        return _stand_in(lambda: _class_reader(annotation))
    arguments = tuple(part if part is Ellipsis else _replace(part) for part in get_args(annotation))
    if origin in _ITERABLES:
        return list[arguments[0]]  # type: ignore[valid-type]
    if origin in (Required, NotRequired, typing.ClassVar, typing.Final):
        return arguments[0]
    return origin[arguments]


def _replace_union(annotation: object) -> object:
    members = get_args(annotation)
    replaced = Union[tuple(_replace(member) for member in members)]  # type: ignore[valid-type]
    if _is_accepted(replaced):
        return replaced
    some = [member for member in members if member is not type(None)]
    chosen = _stand_in(lambda: _union_reader(annotation, some))
    return Union[chosen, None] if len(some) < len(members) else chosen


# --- enums and classes ------------------------------------------------------------------------------------


def _enum_reader(kind: type[enum.Enum]) -> _Reader:
    members = {msgspec.json.encode(to_plain(member.value)): member for member in kind}
    for member in kind:  # as a key, where JSON has texts only
        if isinstance(member.value, (int, float)):
            members.setdefault(msgspec.json.encode(str(member.value)), member)

    def read(payload: str | bytes) -> object:
        found = members.get(payload if isinstance(payload, bytes) else payload.encode())
        if found is None:
            raise msgspec.ValidationError(f"no member of {type_name(kind)} has this value")
        return found

    return read


_MISSING: Final = object()
_make_typed_dict: Final[Any] = TypedDict  # its functional form, with names that are known only now


def _class_reader(annotation: Any) -> _Reader:
    """Reader of a class whose fields need stand-ins: msgspec reads the fields into a shadow of the class."""
    kind = origin_of(annotation) or annotation
    hints = {name: _replace(hint) for name, hint in _hints_of(annotation).items()}
    if is_typeddict(kind):
        required = kind.__required_keys__
        items = {
            name: Required[hint] if name in required else NotRequired[hint] for name, hint in hints.items()
        }
        typed_dict = _make_typed_dict(kind.__name__, items)
        return cast("_Reader", msgspec.json.Decoder(typed_dict, dec_hook=decode_hook).decode)
    names, defaults, options = _layout_of(kind)
    fields = [(name, hints[name], _MISSING) if name in defaults else (name, hints[name]) for name in names]
    shadow = msgspec.defstruct(kind.__name__, cast("list[tuple[str, Any]]", fields), kw_only=True, **options)
    decode = msgspec.json.Decoder(shadow, dec_hook=decode_hook).decode

    def read(payload: str | bytes) -> object:
        held = decode(payload)
        values = {name: getattr(held, name) for name in names}
        return _construct(kind, {name: value for name, value in values.items() if value is not _MISSING})

    return read


def _layout_of(kind: Any) -> tuple[list[str], set[str], dict[str, Any]]:
    """Names of the fields, those among them that have a default, and options of the shadow."""
    options: dict[str, Any] = {}
    if dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
        names = [field.name for field in fields]
        absent = dataclasses.MISSING
        given = [
            f for f in fields if f.default is not absent or f.default_factory is not absent or not f.init
        ]
        return names, {field.name for field in given}, options
    if issubclass(kind, msgspec.Struct):
        config = kind.__struct_config__
        options = {
            "rename": dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)),
            "tag_field": config.tag_field,
            "tag": config.tag,
            "array_like": config.array_like,
            "forbid_unknown_fields": config.forbid_unknown_fields,
        }
        known = msgspec.structs.fields(kind)
        return [field.name for field in known], {field.name for field in known if not field.required}, options
    if hasattr(kind, "__attrs_attrs__"):
        attributes = kind.__attrs_attrs__
        nothing = [a for a in attributes if getattr(a.default, "name", "") == "NOTHING"]
        return [a.name for a in attributes], {a.name for a in attributes if a not in nothing}, options
    return list(kind._fields), set(kind._field_defaults), {"array_like": True}


def _construct(kind: type, values: dict[str, object]) -> object:
    if dataclasses.is_dataclass(kind):
        make = cast("Callable[..., object]", kind)
        later = [field.name for field in dataclasses.fields(kind) if not field.init and field.name in values]
        made = make(**{name: value for name, value in values.items() if name not in later})
        for name in later:
            object.__setattr__(made, name, values[name])
        return made
    if hasattr(kind, "__attrs_attrs__"):
        aliases = {attribute.name: attribute.alias for attribute in kind.__attrs_attrs__ if attribute.init}
        return kind(**{aliases[name]: value for name, value in values.items() if name in aliases})
    return kind(**values)


# --- unions -----------------------------------------------------------------------------------------------

_SAME_VALUES: Final = 2
_SAME_FIELDS: Final = 1
_MORE_FIELDS: Final = 0
_LOSES: Final = -1


def _union_reader(annotation: object, members: list[object]) -> _Reader:
    readers = [(member, reader_of(member)) for member in members]

    def read(payload: str | bytes) -> object:
        raw = msgspec.json.decode(payload)
        found: list[tuple[int, object, object]] = []
        reasons = []
        for member, reader in readers:
            try:
                value = reader(payload)
            except (msgspec.ValidationError, pydantic_models.ReadError) as error:
                reasons.append(f"{type_name(member)}: {without_values(str(error))}")
                continue
            closeness = max(_closeness(raw, form) for form in _forms_of(value))
            if closeness == _LOSES:
                reasons.append(f"{type_name(member)}: it has not all of the fields")
            else:
                found.append((closeness, member, value))
        if not found:
            raise msgspec.ValidationError(f"no member of {type_name(annotation)} fits ({'; '.join(reasons)})")
        best = max(closeness for closeness, _, _ in found)
        closest = [(member, value) for closeness, member, value in found if closeness == best]
        classes = [(member, value) for member, value in closest if _is_class(member)]
        if len(classes) > 1:
            names = " and ".join(type_name(member) for member, _ in classes)
            raise msgspec.ValidationError(
                f"{names} fit equally well: give them different fields, or a field with a Literal of its own in each"
            )
        return (classes or closest)[0][1]

    return read


def _is_class(member: object) -> bool:
    return bool(_hints_of(member)) or pydantic_models.knows(origin_of(member) or member)


def _forms_of(value: object) -> list[object]:
    kind: type = type(value)
    if pydantic_models.knows(kind) and not pydantic_models.is_secret(kind):
        forms = pydantic_models.spellings(value)
    else:
        try:
            forms = [msgspec.to_builtins(to_plain(value))]
        except UnwritableError:
            forms = []
    return forms or [None]


def _closeness(raw: object, form: object) -> int:
    """How well what a member would write agrees with the payload."""
    if isinstance(raw, dict) and isinstance(form, dict):
        if raw.keys() - form.keys():
            return _LOSES
        start = _SAME_VALUES if len(raw) == len(form) else _MORE_FIELDS
        return min([start, *(_closeness(part, form[key]) for key, part in raw.items())])
    if isinstance(raw, list) and isinstance(form, list):
        if len(raw) != len(form):
            return _LOSES
        pairs = zip(raw, form, strict=True)
        return min([_SAME_VALUES, *(_closeness(part, other) for part, other in pairs)])
    if isinstance(raw, (dict, list)) or isinstance(form, (dict, list)):
        return _MORE_FIELDS
    is_same = raw == form and isinstance(raw, bool) == isinstance(form, bool)
    return _SAME_VALUES if is_same else _SAME_FIELDS


def without_values(message: str) -> str:
    """A message of msgspec, without the value that it quotes."""
    text, separator, where = message.rpartition(" - at `")
    text = text if separator else where
    for start in ("Invalid enum value", "Invalid value"):
        if text.startswith(start):
            text = start
    return f"{text}{separator}{where}" if separator else text
