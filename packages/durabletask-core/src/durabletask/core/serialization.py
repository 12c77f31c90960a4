"""Payloads: how values become the text that a hub stores, and back.

A payload is JSON. What a value becomes is decided by the value (its type never travels with it), and
what a payload becomes is decided by the reader's annotation alone, so a hub cannot choose which class a
program instantiates.

``DataConverter`` is the seam: a client or worker takes any. ``JsonDataConverter`` is the default, built
on msgspec: dataclasses, enums, datetime, date, time, timedelta, UUID, Decimal, TypedDict, NamedTuple,
sets, tuples, bytes (as base64), attrs classes, msgspec structs, and pydantic models when pydantic is
installed. Sets are written in the order of their members' texts, because their own order differs from process
to process. Numbers that JSON cannot express (NaN and the infinities) are errors.
"""

from __future__ import annotations

import copy
import math
import sys
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Reversible
from typing import Annotated, Any, Final, Union, cast, get_args, get_origin

import msgspec

from .errors import SerializationError

__all__ = ["DEFAULT_CONVERTER", "DataConverter", "JsonDataConverter"]


class DataConverter(ABC):
    """Turns values into payloads and payloads into values.

    A converter must be deterministic (the same value gives the same text in every process) and safe to
    use from several threads.
    """

    @abstractmethod
    def serialize(self, value: object) -> str | None:
        """The payload of a value; ``None`` (no payload) for ``None``.

        Raises:
            SerializationError: the value cannot be converted; the message names the path to the part.
        """

    @abstractmethod
    def deserialize(self, payload: str | None, target: object = None) -> object:
        """The value of a payload, converted to the annotation ``target``.

        No payload, or empty text, is ``None``. Without a target the result is plain JSON values.

        Raises:
            SerializationError: the payload is no JSON or does not fit; the message names the member.
        """


_ITERABLES: Final = (Iterable, Reversible, Container)


def _encode_hook(value: object) -> object:
    """Plain values for what msgspec does not know by itself."""
    if hasattr(type(value), "model_dump"):
        return _plain_model(value)
    if isinstance(value, str):  # subclasses of plain types travel as the plain value
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise NotImplementedError(_unsupported(value))


def _plain_model(value: object) -> object:
    """What a pydantic model writes, with its sets in the order of their members' texts."""
    dump = getattr(type(value), "model_dump")  # noqa: B009 - no attribute of object
    return _in_order(value, dump(value, mode="json"))


def _in_order(value: object, plain: object) -> object:
    """Order in what was written of a value what it has in sets."""
    if isinstance(value, (set, frozenset)) and isinstance(plain, list) and len(value) == len(plain):
        return sorted(plain, key=msgspec.json.encode)
    fields = getattr(type(value), "model_fields", None)
    if fields is not None and isinstance(plain, dict):
        return {
            name: _in_order(getattr(value, name), part) if name in fields else part
            for name, part in plain.items()
        }
    if fields is not None:
        return _in_order(getattr(value, "root", None), plain)
    if isinstance(value, dict) and isinstance(plain, dict) and len(value) == len(plain):
        return {
            key: _in_order(member, part)
            for member, (key, part) in zip(value.values(), plain.items(), strict=True)
        }
    if isinstance(value, (list, tuple)) and isinstance(plain, list) and len(value) == len(plain):
        return [_in_order(member, part) for member, part in zip(value, plain, strict=True)]
    return plain


def _decode_hook(target: type, value: object) -> object:
    """A value of a type that msgspec does not know by itself, from plain values."""
    validate = getattr(target, "model_validate", None)
    if validate is not None:
        try:
            return validate(value)
        except ValueError as error:  # pydantic.ValidationError is one; msgspec then adds the path
            raise ValueError(_flatten(error)) from error
    if target is object:  # a member annotated so takes plain JSON values
        return value
    if get_origin(target) in _ITERABLES:
        return msgspec.convert(value, list[get_args(target)[0]], dec_hook=_decode_hook)  # type: ignore[misc]
    raise NotImplementedError(f"objects of type {_type_name(target)} cannot be read from JSON")


def _flatten(error: ValueError) -> str:
    """A pydantic validation error in one line."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    parts = []
    for item in cast("Iterable[Mapping[str, Any]]", errors()):
        where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in item["loc"])
        parts.append(f"{where.lstrip('.')}: {item['msg']}" if where else str(item["msg"]))
    return "; ".join(parts)


def _type_name(target: object) -> str:
    if isinstance(target, type) and not get_args(target):
        return (
            target.__qualname__
            if target.__module__ == "builtins"
            else f"{target.__module__}.{target.__qualname__}"
        )
    return str(target).replace("typing.", "")


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
    return f"object of type {_type_name(type(value))} has no JSON form. {hint}"


class _Blame:
    """Finds the part of a value that cannot be encoded, after the fast path has failed."""

    def __init__(self, encoder: msgspec.json.Encoder) -> None:
        self._encoder = encoder
        self._open: set[int] = set()

    def find(self, value: object, path: str = "") -> str:
        """A sentence that names path and reason."""
        if id(value) in self._open:
            return f"{path or 'the value'}: it contains itself"
        self._open.add(id(value))
        try:
            for step, part in _parts(value):
                try:
                    self._encoder.encode(part)
                except (TypeError, ValueError, RecursionError, NotImplementedError, OverflowError):  # noqa: PERF203
                    return self.find(part, f"{path}{step}" if path else step.lstrip("."))
            try:
                self._encoder.encode(value)
            except RecursionError:
                reason = "it is nested too deeply, or contains itself"
            except (TypeError, ValueError, NotImplementedError, OverflowError) as error:
                reason = str(error)
            else:
                reason = "it cannot be encoded"
        finally:
            self._open.discard(id(value))
        return f"{path}: {reason}" if path else reason


def _parts(value: object) -> Iterable[tuple[str, object]]:
    """The members of a container or structured object, each with its step of a path."""
    if isinstance(value, Mapping):
        return [
            (f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]", item)
            for key, item in value.items()
        ]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [(f"[{index}]", item) for index, item in enumerate(value)]
    fields: Iterable[str] = ()
    kind = type(value)
    for attribute in ("__dataclass_fields__", "__struct_fields__", "model_fields"):
        found = getattr(kind, attribute, None)
        if found is not None:
            fields = found
            break
    else:
        attrs = getattr(kind, "__attrs_attrs__", None)
        if attrs is not None:
            fields = [attribute.name for attribute in attrs]
    return [(f".{name}", getattr(value, name, None)) for name in fields]


_ATOMS: Final = frozenset({str, int, bool, type(None), bytes})
_HAS_SET: Final = 1
_HAS_NOT_FINITE: Final = 2


def _members(value: object) -> Collection[object]:
    """The members of a container or structured object; of a pydantic model, what it writes."""
    kind = type(value)
    if kind is dict:
        return cast("dict[object, object]", value).values()
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return cast("Collection[object]", value)
    if hasattr(kind, "model_dump"):
        return (_plain_model(value),)
    return [part for _, part in _parts(value)]


def _survey(value: object) -> int:
    """Whether there is a set in a value, or a number without a JSON form (which msgspec writes as ``null``).

    The value does not contain itself: it has been encoded.
    """
    found = 0
    rest = [value]
    while rest:
        part = rest.pop()
        kind = type(part)
        if kind in _ATOMS:
            continue
        members: Collection[object]
        if kind is dict or kind is list:  # as ``_members`` does: these are many
            members = part.values() if isinstance(part, dict) else cast("list[object]", part)
        elif isinstance(part, float):
            found |= 0 if math.isfinite(part) else _HAS_NOT_FINITE
            continue
        else:
            found |= _HAS_SET if isinstance(part, (set, frozenset)) else 0
            members = _members(part)
        if not _ATOMS.issuperset(map(type, members)):  # runs of scalars are many and need no closer look
            rest.extend(members)
    return found


class _NotFiniteError(ValueError):
    """There is a number without a JSON form."""


def _not_finite(value: object, path: str = "") -> _NotFiniteError:
    if isinstance(value, float):
        return _NotFiniteError(
            f"{path or 'the value'}: {value!r} has no JSON form. Use None, or a text such as {str(value)!r}"
        )
    parts = _parts(value) if not hasattr(value, "model_dump") else [("", _plain_model(value))]
    step, part = next((step, part) for step, part in parts if _survey(part) & _HAS_NOT_FINITE)
    return _not_finite(part, f"{path}{step}" if path else step.lstrip("."))


def _with_lists_for_sets(value: object, encode: Callable[[object], bytes]) -> object:
    """The same value with every set as a list, in the order of the members' texts. Models order theirs themselves."""
    if type(value) in _ATOMS or hasattr(value, "model_dump"):
        return value
    if isinstance(value, (set, frozenset)):
        return sorted((_with_lists_for_sets(member, encode) for member in value), key=encode)
    if isinstance(value, dict):
        return {key: _with_lists_for_sets(member, encode) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_lists_for_sets(member, encode) for member in value]
    parts = [(step.lstrip("."), part, _with_lists_for_sets(part, encode)) for step, part in _parts(value)]
    replaced = {name: changed for name, part, changed in parts if changed is not part}
    if not replaced:
        return value
    clone = copy.copy(value)
    for name, changed in replaced.items():
        if isinstance(clone, msgspec.Struct):
            msgspec.structs.force_setattr(clone, name, changed)
        else:
            object.__setattr__(clone, name, changed)  # also of frozen classes: the clone is ours
    return clone


_PLAIN: Final = (None, object, Any)


class JsonDataConverter(DataConverter):
    """The default converter: JSON by msgspec."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder(enc_hook=_encode_hook)
        self._encode = self._encoder.encode
        self._decode_plain = msgspec.json.Decoder().decode
        self._readers: dict[object, Callable[[str], object]] = {}

    def serialize(self, value: object) -> str | None:
        """See ``DataConverter.serialize``."""
        if value is None:
            return None
        kind, plain = type(value), value
        try:
            if kind is str or kind is int:  # the usual scalars need no second look
                return self._encode(value).decode()
            if hasattr(kind, "model_dump"):
                plain = _plain_model(value)  # once, for both that look at it
            data = self._encode(plain)
            if b"[" in data or b"null" in data:  # without them there is neither
                found = _survey(plain)
                if found & _HAS_NOT_FINITE:
                    raise _not_finite(plain)
                if found & _HAS_SET:
                    data = self._encode(_with_lists_for_sets(plain, self._encode))
            return data.decode()
        except (TypeError, ValueError, NotImplementedError, OverflowError, RecursionError) as error:
            is_known = isinstance(error, _NotFiniteError)
            where = str(error) if is_known else _Blame(self._encoder).find(plain)
            raise SerializationError(
                f"A value of type {_type_name(kind)} cannot be serialized: {where}"
            ) from error

    def deserialize(self, payload: str | None, target: object = None) -> object:
        """See ``DataConverter.deserialize``."""
        if not payload:
            return None
        try:
            if target in _PLAIN:
                return self._decode_plain(payload)
            return self._reader(target)(payload)
        except msgspec.ValidationError as error:
            raise SerializationError(
                f"The payload does not fit the type {_type_name(target)}: {_tidy(str(error))}. "
                f"The payload is {_shorten(payload)}."
            ) from error
        except msgspec.DecodeError as error:
            raise SerializationError(
                f"The payload is no JSON: {error}. It is {_shorten(payload)}."
            ) from error
        except NotImplementedError as error:
            raise SerializationError(
                f"The payload cannot become {_type_name(target)}: {error}. Annotate the parameter with a "
                "dataclass, a TypedDict or plain JSON types, or give the client and worker a data_converter."
            ) from error

    def _reader(self, target: object) -> Callable[[str], object]:
        try:
            return self._readers[target]
        except KeyError:
            reader = self._readers[target] = self._make_reader(target)
            return reader
        except TypeError:  # an annotation that cannot be hashed
            return self._make_reader(target)

    def _make_reader(self, target: object) -> Callable[[str], object]:
        try:
            return msgspec.json.Decoder(cast("type[object]", target), dec_hook=_decode_hook).decode
        except (TypeError, RecursionError) as error:
            adapter = _pydantic_reader(target)
            if adapter is not None:
                return adapter
            arms = _union_arms(target)
            if arms:
                return _first_that_fits(target, [self._reader(arm) for arm in arms])
            raise SerializationError(
                f"The annotation {_type_name(target)} cannot be read from JSON: {error}"
            ) from error


def _pydantic_reader(target: object) -> Callable[[str], object] | None:
    """A reader by pydantic, for annotations that only pydantic understands; only if it is in use."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not _mentions(target, pydantic.BaseModel):
        return None
    adapter = pydantic.TypeAdapter(target)

    def read(payload: str) -> object:
        try:
            return cast("object", adapter.validate_json(payload))
        except ValueError as error:
            raise msgspec.ValidationError(_flatten(error)) from error

    return read


def _mentions(target: object, base: type) -> bool:
    if isinstance(target, type) and not get_args(target):
        return issubclass(target, base)
    return any(_mentions(argument, base) for argument in get_args(target))


def _union_arms(target: object) -> tuple[object, ...]:
    while get_origin(target) is Annotated:
        target = get_args(target)[0]
    return get_args(target) if get_origin(target) in (Union, types.UnionType) else ()


def _first_that_fits(target: object, readers: list[Callable[[str], object]]) -> Callable[[str], object]:
    """Reader of a union that msgspec refuses (several classes without a tag): the first fitting member."""

    def read(payload: str) -> object:
        reasons = []
        for reader in readers:
            try:
                return reader(payload)
            except msgspec.ValidationError as error:  # noqa: PERF203 - a handful of members
                reasons.append(str(error))
        raise msgspec.ValidationError(f"no member of {_type_name(target)} fits ({'; '.join(reasons)})")

    return read


def _tidy(message: str) -> str:
    """Move the place, which msgspec gives as "- at `$.items[3].price`"; to the front."""
    text, separator, where = message.partition(" - at `")
    if not separator:
        return text
    return f"at {where.rstrip('`').removeprefix('$').lstrip('.') or 'the top'}: {text}"


def _shorten(payload: str, limit: int = 120) -> str:
    return repr(payload if len(payload) <= limit else payload[:limit] + "...")


DEFAULT_CONVERTER: Final[DataConverter] = JsonDataConverter()
"""The converter of clients and workers that are given none."""
