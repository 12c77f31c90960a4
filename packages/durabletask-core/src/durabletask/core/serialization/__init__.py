"""Payloads: how values become the text that a hub stores, and back.

A payload is JSON. What a value becomes is decided by the value (its type never travels with it), and what a payload
becomes is decided by the reader's annotation alone, so a hub cannot choose which class a program instantiates.

``DataConverter`` is the seam: a client or worker takes any. ``JsonDataConverter`` is the default, built on msgspec:
dataclasses, enums, datetime, date, time, timedelta, UUID, Decimal, TypedDict, NamedTuple, sets, tuples, bytes (as
base64), paths, attrs classes, msgspec structs, and pydantic models when pydantic is installed. Subclasses of these
travel as their base.

Three rules hold for every value:

* Equal values give equal texts. Every field is written, also one at its default; sets are written in the order of
  their members' texts.
* A value is never changed on the way. What would come back as another value is refused when it is written, with the
  path of the part: a number that JSON cannot express, a pydantic field whose configuration loses it.
* No message quotes a payload. Messages name the type, the path and the reason.
"""

from .converter import DEFAULT_CONVERTER, DataConverter, JsonDataConverter

__all__ = ["DEFAULT_CONVERTER", "DataConverter", "JsonDataConverter"]
