"""Hypothesis strategies for core's models, made from their annotations."""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
from durabletask.core.failures import FailureDetails
from durabletask.core.history import (
    EntityOperationCalled,
    EntityOperationSignaled,
    ExecutionCompleted,
    HistoryEventBase,
    UnknownEvent,
)
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
INT32 = st.integers(-(2**31), 2**31 - 1)
TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(timezone.utc))  # noqa: DTZ001
TAGS = st.dictionaries(TEXT, TEXT, max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
PLAIN: dict[object, st.SearchStrategy[Any]] = {
    int: INT32,
    str: TEXT,
    bool: st.booleans(),
    datetime: TIMES,
    timedelta: st.timedeltas(),
    object: JSON,
    type(None): st.none(),
}


def _failures(depth: int) -> st.SearchStrategy[FailureDetails]:
    return st.builds(
        FailureDetails,
        TEXT,
        TEXT,
        st.none() | TEXT,
        st.none() | _failures(depth - 1) if depth else st.none(),
        st.booleans(),
        st.none() | st.dictionaries(TEXT, JSON, min_size=1, max_size=2),
    )


def kinds_of(base: type) -> list[type]:
    """Every kind of event or action: the leaves below a base."""
    return [kind for kind in base.__subclasses__() if kind is not UnknownEvent]


def of_hint(hint: object) -> st.SearchStrategy[Any]:
    """Values of an annotation. An empty map stands for no map on the wire, so optional maps are not empty."""
    if hint in PLAIN:
        return PLAIN[hint]
    if hint is FailureDetails:
        return _failures(2)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        return st.one_of(*[of_hint(each) for each in arguments]).filter(lambda value: value != {})
    if origin is tuple or origin is frozenset or (origin is Sequence):
        items = st.lists(of_element(arguments[0]), max_size=3)
        return items.map({tuple: tuple, frozenset: frozenset, Sequence: list}[origin])
    if origin is Mapping:
        return st.dictionaries(TEXT, of_hint(arguments[1]), max_size=3)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return of_model(hint)
    raise AssertionError(f"no strategy for {hint!r}")


def of_element(hint: object) -> st.SearchStrategy[Any]:
    """Elements of a sequence; events of a history are a union too wide to nest."""
    members = get_args(hint)
    if any(isinstance(each, type) and issubclass(each, HistoryEventBase) for each in members):
        entities = {EntityOperationCalled, EntityOperationSignaled}
        chosen = entities if set(members) == entities else kinds_of(HistoryEventBase)[:6]
        return st.one_of(*[of_model(each) for each in chosen])
    return of_hint(hint)


def of_model(model: type[msgspec.Struct], **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of a model, field by field."""
    if model in {EntityOperationCalled, EntityOperationSignaled}:  # their messages have no place for a trace
        fixed.setdefault("trace_context", st.none())
    hints = get_type_hints(model)
    if model is ExecutionCompleted:
        fixed.setdefault("status", st.integers(0, 7))
    if "reader" in hints:  # belongs to the client, not to the wire
        fixed["reader"] = st.none()
    fields = {
        name: fixed[name] if name in fixed else of_hint(hints[name]) for name in model.__struct_fields__
    }
    return st.fixed_dictionaries(fields).map(lambda values: model(**values))
