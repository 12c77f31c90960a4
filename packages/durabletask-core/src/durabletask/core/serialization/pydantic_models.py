"""All that is known about pydantic: how its models, dataclasses and other types are written and read.

A dump is made for display as much as for storage: it may leave out fields, mask secrets, add computed fields and spell
names in a way that validation refuses. So each model is proved when it is written: what was dumped is validated again
and compared with the original. Names are written first as the fields are called and, where that does not hold, by
alias. Reading accepts both. A model that neither way restores is refused, with the field.

Secrets (``SecretStr``, ``SecretBytes``, ``Secret[T]``) are written with their value: the program that receives them
needs it, and payloads are in no log and no message. Private attributes are not part of a model's value.

Nothing here imports pydantic before a value or an annotation proves that the program uses it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast, get_args, get_origin

import msgspec

__all__ = [
    "UnfaithfulError",
    "is_secret",
    "knows",
    "origin_of",
    "owns",
    "reader_of",
    "spellings",
    "write",
]

_Plain: TypeAlias = Callable[[object], object]

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_MOST_ERRORS: Final = 5  # of one validation, in one message


class UnfaithfulError(ValueError):
    """A model would come back as another value, or not at all.

    Attributes:
        path: the field, as ``.name`` or ``.name[2].other``; empty if it is none in particular.
        reason: what is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(reason)
        self.path: str = path
        self.reason: str = reason


def origin_of(annotation: object) -> Any:
    """``typing.get_origin``, without its overloads."""
    return get_origin(annotation)


@lru_cache(maxsize=4096)
def knows(kind: Hashable) -> bool:
    """Whether a class is pydantic's: a model, one of its dataclasses or types, or a class made for it."""
    return _is_model(kind) or hasattr(kind, "__get_pydantic_core_schema__") or is_secret(kind)


@lru_cache(maxsize=4096)
def _is_model(kind: Hashable) -> bool:
    return hasattr(kind, "__pydantic_validator__") and hasattr(kind, "__pydantic_serializer__")


@lru_cache(maxsize=4096)
def is_secret(kind: Hashable) -> bool:
    """Whether objects of a class hide their value when they are dumped."""
    return hasattr(kind, "get_secret_value") and hasattr(kind, "_display")


def _secret_of(value: Any) -> object:
    return value.get_secret_value()


def owns(annotation: object) -> bool:
    """Whether an annotation carries instructions of pydantic (a discriminator, a validator, constraints)."""
    metadata = getattr(annotation, "__metadata__", ())
    return any(type(item).__module__.partition(".")[0] == "pydantic" for item in metadata)


# --- writing ----------------------------------------------------------------------------------------------


def write(value: object, plain: _Plain) -> object:
    """What a pydantic object becomes: plain values that are read back as an equal object.

    Args:
        value: the object; ``knows`` is true of its class.
        plain: makes plain values of anything.

    Raises:
        UnfaithfulError: there are no such values.
    """
    kind: type = type(value)
    if is_secret(kind):
        return plain(_secret_of(value))
    name = kind.__qualname__
    problem: UnfaithfulError | None = None
    for by_alias in (False, True):
        written = plain(_exact(value, _dump(value, by_alias=by_alias), plain, by_alias=by_alias))
        try:
            restored = reader_of(kind)(msgspec.json.encode(written))
        except ReadError as error:
            problem = problem or UnfaithfulError(error.path, f"{name} does not read what it writes: {error}")
            continue
        if _is_equal(value, restored):
            return written
        where = _difference(_complete(value, plain), _complete(restored, plain))
        if where is None:
            return written
        problem = problem or UnfaithfulError(
            where,
            f"{name} would read another value back, because of its configuration (exclude, a serializer, an alias, or "
            "an object of a subclass). Change the configuration, or pass a dataclass or plain values",
        )
    assert problem is not None  # noqa: S101 - both ways have ended in one
    raise problem


def _dump(value: object, *, by_alias: bool, **options: object) -> object:
    kind: type = type(value)
    serializer: Any = getattr(kind, "__pydantic_serializer__", None) or _adapter(kind).serializer
    try:
        # The serializer itself, not `model_dump`, which a class may override for display.
        dumped: object = serializer.to_python(
            value, mode="json", by_alias=by_alias, round_trip=True, warnings=False, **options
        )
    except RecursionError:
        raise
    except Exception as error:  # noqa: BLE001 - serializers are user code
        path = "" if options else _failing_field(value, by_alias=by_alias)
        raise UnfaithfulError(path, f"pydantic cannot write it: {_in_short(error)}") from None
    return dumped


def _in_short(error: Exception) -> str:
    text = str(error)
    known = ("Unable to serialize unknown type", "Circular reference detected")
    return text if text.startswith(known) else type(error).__name__


def _failing_field(value: object, *, by_alias: bool) -> str:
    for name in _fields_of(type(value)):
        try:
            _dump(value, by_alias=by_alias, include={name})
        except UnfaithfulError:  # noqa: PERF203 - this is the way of errors
            return f".{name}"
    return ""


def _fields_of(kind: type) -> Mapping[str, Any]:
    return getattr(kind, "__pydantic_fields__", None) or getattr(kind, "model_fields", None) or {}


def _exact(
    value: object, written: object, plain: _Plain, *, by_alias: bool, base64_bytes: bool = False
) -> object:
    """What was dumped, with the values of secrets, and with sets in the order of their members' texts."""
    kind: type = type(value)
    if kind in _SCALARS:
        return written
    if is_secret(kind):
        secret: object = _secret_of(value)
        return _text_of_bytes(secret, base64_bytes) if isinstance(secret, bytes) else plain(secret)
    if isinstance(value, (set, frozenset)) and isinstance(written, list) and len(value) == len(written):
        members = zip(value, written, strict=True)
        return sorted(
            (_exact(a, b, plain, by_alias=by_alias, base64_bytes=base64_bytes) for a, b in members),
            key=msgspec.json.encode,
        )
    if _is_model(kind):
        config: Mapping[str, object] = (
            getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", None) or {}
        )
        base64_bytes = config.get("val_json_bytes") == "base64"
        if not isinstance(written, dict):
            inner = getattr(value, "root", None)
            return _exact(inner, written, plain, by_alias=by_alias, base64_bytes=base64_bytes)
        parts = _parts_of(value, by_alias=by_alias)
    elif isinstance(value, dict) and isinstance(written, dict) and len(value) == len(written):
        parts = dict(zip(written, value.values(), strict=True))
    elif isinstance(value, (list, tuple)) and isinstance(written, list) and len(value) == len(written):
        pairs = zip(value, written, strict=True)
        return [_exact(a, b, plain, by_alias=by_alias, base64_bytes=base64_bytes) for a, b in pairs]
    else:
        return written
    return {
        key: _exact(parts[key], part, plain, by_alias=by_alias, base64_bytes=base64_bytes)
        if key in parts
        else part
        for key, part in written.items()
    }


def _parts_of(value: object, *, by_alias: bool = False) -> dict[str, object]:
    """The fields and extras of a model by the names under which they are dumped."""
    parts: dict[str, object] = dict(getattr(value, "__pydantic_extra__", None) or {})
    for name, field in _fields_of(type(value)).items():
        alias = field.serialization_alias if by_alias else None
        if hasattr(value, name):
            parts[alias or name] = getattr(value, name)
    return parts


def _text_of_bytes(secret: bytes, as_base64: bool) -> str:
    if not as_base64:
        try:
            return secret.decode()
        except UnicodeDecodeError:
            pass
    return base64.b64encode(secret).decode()


def _is_equal(one: object, other: object) -> bool:
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - `__eq__` is user code; numpy arrays have no truth
        return False


def _complete(value: object, plain: _Plain) -> object:
    """A value with everything in it, to compare: secrets, excluded fields, fields of subclasses."""
    kind: type = type(value)
    if is_secret(kind):
        return _complete(_secret_of(value), plain)
    if _is_model(kind):
        return {name: _complete(part, plain) for name, part in _parts_of(value).items()}
    if isinstance(value, dict):
        return {str(_complete(key, plain)): _complete(part, plain) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_complete(part, plain) for part in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_complete(part, plain) for part in value), key=repr)
    try:
        return msgspec.to_builtins(plain(value))
    except (ValueError, TypeError, NotImplementedError):  # no JSON form of its own: it is compared as it is
        return value


def _difference(one: object, other: object, path: str = "") -> str | None:
    """The path to the first part that differs; ``None`` if there is none."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            step = f"{path}.{key}"
            found = _difference(one[key], other[key], step) if key in one and key in other else step
            if found is not None:
                return found
        return None
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            found = _difference(a, b, f"{path}[{index}]")
            if found is not None:
                return found
        return None
    if _is_equal(one, other) or (one != one and other != other):  # noqa: PLR0124 - NaN
        return None
    has_no_equality = type(one).__eq__ is object.__eq__ and type(one) is type(other)
    return None if has_no_equality and _is_equal(_state_of(one), _state_of(other)) else path


def _state_of(value: object) -> object:
    return getattr(value, "__dict__", None)


# --- reading ----------------------------------------------------------------------------------------------


class ReadError(ValueError):
    """A payload does not fit; the text quotes nothing of it.

    Attributes:
        path: the first part that does not fit, as ``.name[2]``; empty for the top.
        is_no_json: the payload is no JSON at all.
    """

    def __init__(self, text: str, path: str, *, is_no_json: bool) -> None:
        super().__init__(text)
        self.path: str = path
        self.is_no_json: bool = is_no_json


@lru_cache(maxsize=1)
def _options() -> dict[str, bool]:
    """Accept the names of fields beside their aliases, where pydantic can."""
    import pydantic  # noqa: PLC0415 - optional; a value or annotation has proved that it is there

    version = tuple(int(part) for part in pydantic.VERSION.split(".")[:2])
    return {"by_alias": True, "by_name": True} if version >= (2, 11) else {}


@lru_cache(maxsize=1024)
def _adapter(target: Any) -> Any:
    import pydantic  # noqa: PLC0415 - as above

    return pydantic.TypeAdapter(target)


@lru_cache(maxsize=1024)
def reader_of(target: Any) -> Callable[[str | bytes], object]:
    """Reader of a class that ``knows`` accepts, or of an annotation that pydantic ``owns``.

    It raises ``ReadError`` for what does not fit.
    """
    if is_secret(origin_of(target) or target):
        return _secret_reader(target)
    validate = (
        target.__pydantic_validator__.validate_json if _is_model(target) else _adapter(target).validate_json
    )
    options = _options()

    def read(payload: str | bytes) -> object:
        try:
            return cast("object", validate(payload, **options))
        except ValueError as error:  # pydantic.ValidationError is one
            raise _explain(error) from None

    return read


def _secret_reader(target: Any) -> Callable[[str | bytes], object]:
    """Reader of a secret outside a model, which ``write`` has written as the value itself."""
    inner = get_args(target)[0] if get_args(target) else _SECRETS.get(target.__name__, object)
    decode = msgspec.json.Decoder(inner).decode

    def read(payload: str | bytes) -> object:
        return cast("object", target(decode(payload)))

    return read


_SECRETS: Final[dict[str, type]] = {"SecretStr": str, "SecretBytes": bytes}


def _explain(error: ValueError) -> ReadError:
    """A validation error in one line, without the input."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return ReadError(type(error).__name__, "", is_no_json=False)
    items = cast("list[Mapping[str, Any]]", errors(include_url=False))
    parts = []
    for item in items[:_MOST_ERRORS]:
        where = _path_of(item["loc"]).lstrip(".")
        parts.append(f"{where}: {_message(item)}" if where else _message(item))
    if len(items) > _MOST_ERRORS:
        parts.append(f"and {len(items) - _MOST_ERRORS} more")
    is_no_json = items[0]["type"] == "json_invalid"
    return ReadError("; ".join(parts), _path_of(items[0]["loc"]), is_no_json=is_no_json)


def _path_of(steps: Iterable[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step[:40]}" for step in steps)


def _message(item: Mapping[str, Any]) -> str:
    """The message of one error. Some quote the input; these parts are cut out."""
    text, given = str(item["msg"]), item.get("input")
    if item["type"] == "union_tag_invalid":
        return f"its tag is none of {item['ctx']['expected_tags']}"
    if isinstance(given, (str, bytes)) and len(given) > 2:
        quoted = given if isinstance(given, str) else given.decode("utf-8", "replace")
        text = text.replace(quoted, "...")
    return text


# --- choosing among the members of a union ----------------------------------------------------------------


def spellings(value: object) -> list[object]:
    """The forms in which a payload may hold a model: by the names of its fields, and by alias."""
    forms = []
    for by_alias in (False, True):
        try:
            forms.append(_dump(value, by_alias=by_alias))
        except UnfaithfulError:  # noqa: PERF203 - two of them
            continue
    return forms
