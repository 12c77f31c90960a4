"""Continuation tokens: a position in an order, as opaque text that survives any character in an id."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timedelta, timezone
from typing import Final

import msgspec
from durabletask.core.errors import InvalidRequestError

__all__ = ["DEFAULT_PAGE_SIZE", "Position", "microseconds", "page_size", "read_token", "write_token"]

DEFAULT_PAGE_SIZE: Final = 100

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


class Position(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A place in an order by time (microseconds since 1970), then id."""

    time: int
    instance_id: str


_decoder = msgspec.msgpack.Decoder(Position)


def microseconds(moment: datetime) -> int:
    """A time as whole microseconds since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def write_token(position: Position) -> str:
    """The token that continues after a position."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(position)).decode("ascii")


def read_token(token: str | None) -> Position | None:
    """The position of a token; ``None`` for no token.

    Raises:
        InvalidRequestError: the text is no token of this hub.
    """
    if not token:
        return None
    try:
        return _decoder.decode(base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise InvalidRequestError(
            "The continuation token is not one of this hub; pass back the token of the page before, unchanged."
        ) from error


def page_size(asked: int) -> int:
    """The number of rows of a page; 0 means the default.

    Raises:
        InvalidRequestError: the number is negative.
    """
    if asked < 0:
        raise InvalidRequestError(f"A page cannot have {asked} rows; ask for a positive number.")
    return asked or DEFAULT_PAGE_SIZE
