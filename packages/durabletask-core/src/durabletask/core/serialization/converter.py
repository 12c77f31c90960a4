"""The seam for payloads, and the default behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

import msgspec

from durabletask.core.errors import SerializationError

from . import pydantic_models
from .reading import reader_of, without_values
from .writing import UnwritableError, encode_hook, explain, is_exact, to_plain, type_name

__all__ = ["DEFAULT_CONVERTER", "DataConverter", "JsonDataConverter"]


class DataConverter(ABC):
    """Turns values into payloads and payloads into values.

    A converter must be deterministic (the same value gives the same text in every process) and safe to use from several
    threads. Its errors should quote no payload: they end up in logs and in the history.
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


_PLAIN: Final = (None, object, Any)
_BAD_VALUE: Final = (TypeError, ValueError, NotImplementedError, OverflowError)


class JsonDataConverter(DataConverter):
    """The default converter: JSON by msgspec."""

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder(enc_hook=encode_hook).encode
        self._decode_plain = msgspec.json.Decoder().decode
        self._readers: dict[object, Callable[[str], object]] = {}

    def serialize(self, value: object) -> str | None:
        if value is None:
            return None
        kind = type(value)
        try:
            data = self._encode(value)
            if kind is str or kind is int:  # the usual scalars need no second look
                return data.decode()
            # msgspec writes a number that JSON cannot express as null.
            if b"null" not in data and is_exact(value):
                return data.decode()
        except (*_BAD_VALUE, RecursionError):
            pass  # the exact way knows more types, and the path to what it does not know
        return self._serialize_exactly(value)

    def _serialize_exactly(self, value: object) -> str:
        kind = type(value)
        try:
            plain = to_plain(value)
            try:
                return self._encode(plain).decode()
            except _BAD_VALUE:
                reason = explain(plain, self._encode)
        except RecursionError:
            reason = "it is nested too deeply, or contains itself"
        except UnwritableError as error:
            reason = f"the value: {error}" if kind is float else str(error)
        except _BAD_VALUE as error:  # raised by the code of a value: a property, a comparison
            reason = f"its code raised {type(error).__name__}"
        # Without the cause: its text may quote what could not be written.
        raise SerializationError(
            f"A value of type {type_name(kind)} cannot be serialized: {reason}"
        ) from None

    def deserialize(self, payload: str | None, target: object = None) -> object:
        if not payload:
            return None
        try:
            if target in _PLAIN:
                return self._decode_plain(payload)
            return self._reader(target)(payload)
        except msgspec.ValidationError as error:
            reason = _at_front(without_values(str(error)))
        except msgspec.DecodeError as error:
            raise SerializationError(f"The payload is no JSON: {error}.") from None
        except pydantic_models.ReadError as error:
            if error.is_no_json:
                raise SerializationError(f"The payload is no JSON: {error}.") from None
            reason = str(error)
        except NotImplementedError as error:
            raise SerializationError(
                f"The payload cannot become {type_name(target)}: {error}. Annotate the parameter with a "
                "dataclass, a TypedDict or plain JSON types, or give the client and worker a data_converter."
            ) from None
        # Without the cause: its text may quote the payload.
        raise SerializationError(
            f"The payload does not fit the type {type_name(target)}: {reason}."
        ) from None

    def _reader(self, target: object) -> Callable[[str], object]:
        try:
            return self._readers[target]
        except KeyError:
            reader = self._readers[target] = _make_reader(target)
            return reader
        except TypeError:  # an annotation that cannot be hashed
            return _make_reader(target)


def _make_reader(target: object) -> Callable[[str], object]:
    try:
        return reader_of(target)
    except (TypeError, RecursionError) as error:
        raise SerializationError(
            f"The annotation {type_name(target)} cannot be read from JSON: {error}"
        ) from None


def _at_front(message: str) -> str:
    """Move the place, which msgspec gives as "- at `$.items[3].price`", to the front."""
    text, separator, where = message.rpartition(" - at `")
    if not separator:
        return message
    return f"at {where.rstrip('`').removeprefix('$').lstrip('.') or 'the top'}: {text}"


DEFAULT_CONVERTER: Final[DataConverter] = JsonDataConverter()
"""The converter of clients and workers that are given none."""
