"""State of entity classes that declare it as annotated attributes.

    class Counter(TaskEntity):
        value: int = 0

The payload is a JSON object with one member for each declared attribute. An object of the class serves one operation:
``load`` fills its attributes before the operation, ``store`` takes them over after it. A failed operation is not
stored, so its changes are lost with the object.

Not covered: attributes without an annotation, names that begin with an underscore, ``ClassVar`` and ``Final`` are no
state. A member of the payload that the class no longer declares is dropped with the next change.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast, get_origin, get_type_hints

from typing_extensions import TypedDict

from .definitions import annotations_of
from .logs import get_logger

if TYPE_CHECKING:
    from .entity_context import EntityContext

__all__ = ["DeclaredState", "declared_state", "public_annotations", "resolve_local_names"]

_UNRESOLVABLE = (NameError, AttributeError, TypeError, SyntaxError)
_CONSTANTS: Final = (ClassVar, Final)
_logger = get_logger("durabletask.registry")


class DeclaredState:
    """The attributes of one entity class that are its state.

    Attributes:
        fields: type of each attribute, by name.
        shape: the payload as a ``TypedDict``, from which the converter reads it.
    """

    __slots__ = ("fields", "shape")

    def __init__(self, name: str, fields: dict[str, object]) -> None:
        self.fields: dict[str, object] = fields
        make = cast(
            "Callable[..., type[dict[str, object]]]", TypedDict
        )  # its fields are known at run time only
        self.shape: type[dict[str, object]] = make(name, fields, total=False)

    def load(self, entity: object, context: EntityContext) -> None:
        """Set the attributes of a new object from the state of the entity, where it has one.

        Raises:
            SerializationError: the state does not fit the declaration.
        """
        self.set(entity, {})
        self.set(entity, context.get_state(self.shape, self.values(entity)))

    def set(self, entity: object, values: dict[str, object]) -> None:
        """Set the attributes of a new object; the others get their defaults."""
        own = vars(entity)
        for name in self.fields:
            if name in values:
                setattr(entity, name, values[name])
            elif name not in own and hasattr(entity, name):
                _set_default(entity, name, getattr(entity, name))

    def store(self, entity: object, context: EntityContext) -> None:
        """Make the attributes the state of the entity, unless the operation has deleted it."""
        values = context.get_state(self.shape)
        if values is not None:
            values.clear()
            values.update(self.values(entity))

    def values(self, entity: object) -> dict[str, object]:
        """The attributes of an object that are state, by name."""
        return {name: getattr(entity, name) for name in self.fields if hasattr(entity, name)}


def _set_default(entity: object, name: str, default: object) -> None:
    """Set an attribute to a copy of its default, which may be written with ``dataclasses.field``.

    Without a copy, a mutable default would be shared by all entities of the class.
    """
    if isinstance(default, Field):
        make = default.default_factory
        default = default.default if make is MISSING else make()
    setattr(entity, name, copy.deepcopy(default))


@lru_cache(maxsize=1024)
def declared_state(kind: type, base: type) -> DeclaredState | None:
    """What ``kind`` and its bases other than ``base`` declare; ``None`` if that is nothing."""
    fields = dict(_fields(kind, base))
    return DeclaredState(f"State of {kind.__qualname__}", fields) if fields else None


def _fields(kind: type, base: type) -> Iterator[tuple[str, object]]:
    for part in reversed(kind.__mro__):
        if part in base.__mro__:
            continue
        for name in public_annotations(part):
            annotation = _resolve(part, name)
            if annotation not in _CONSTANTS and get_origin(annotation) not in _CONSTANTS:
                yield name, annotation


def public_annotations(part: type) -> list[str]:
    """Names of the annotated attributes of one class, without those that begin with an underscore."""
    return [name for name in annotations_of(part) if not name.startswith("_")]


def resolve_local_names(part: type) -> None:
    """Evaluate the annotations of a class that is being defined in a function, as far as the function has their names.

    They are evaluated again when they are needed, which is after the function has ended. The caller is called by the
    class statement.
    """
    if "<locals>" not in part.__qualname__:
        return
    annotations = annotations_of(part)
    for name in annotations:
        with suppress(*_UNRESOLVABLE):
            part.__annotations__[name] = _evaluate(part, name, sys._getframe(2).f_locals)  # noqa: SLF001


def _evaluate(part: type, name: str, local: Mapping[str, object]) -> object:
    holder = type(part.__name__, (), {"__annotations__": {name: annotations_of(part)[name]}})
    module = sys.modules.get(part.__module__)
    names = {**local, **vars(part)}
    return get_type_hints(holder, vars(module) if module else {}, names, include_extras=True)[name]


def _resolve(part: type, name: str) -> object:
    """One annotation as an object. Each is resolved alone, so that one bad name does not cost the others."""
    try:
        return _evaluate(part, name, {})
    except _UNRESOLVABLE as error:
        _logger.warning(
            "The annotation of %s.%s cannot be resolved (%s); the attribute will hold plain JSON values.",
            part.__qualname__,
            name,
            error,
        )
        return Any
