"""What entities are written with: the context of an operation, and the base of entity classes."""

# ruff: noqa: A002 - "input" is the protocol's word

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, cast, get_args, get_origin, overload

from typing_extensions import Self, TypeVar

from . import telemetry
from .arguments import as_name, as_optional_text, as_time
from .authoring import missing_attribute
from .definitions import RESERVED_NAMES, name_of
from .entities import MAXIMUM_ENTITY_ID, EntityId
from .entity_state import DeclaredState, declared_state, public_annotations, resolve_local_names
from .errors import InvalidRequestError, RegistrationError, SerializationError
from .operations import EntityProxy, operation, operation_of
from .requests import entity_key, new_instance_id
from .serialization import DataConverter
from .times import utc_now
from .work_items import EntityAction, EntitySendSignal, EntityStartOrchestration

__all__ = ["EntityContext", "TaskEntity", "declared_state_of", "read_state"]

T = TypeVar("T")
StateT = TypeVar("StateT", default=Any)


class EntityContext:
    """What an operation of an entity gets: its state, and ways to reach others.

    State and messages take effect when the operation ends; an exception undoes both.
    """

    def __init__(
        self,
        entity_id: EntityId,
        converter: DataConverter,
        serialized_state: str | None,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._entity_id = entity_id
        self._now = now
        self._converter = converter
        self._text = serialized_state
        self._value: object = None
        self._is_loaded = False
        self._untouched: str | None = None  # what an initial state looked like before it was changed
        self._operation = ""
        self._actions: list[EntityAction] = []

    if not TYPE_CHECKING:  # a checker knows that there is no such attribute

        def __getattr__(self, name):
            """Raise for a method of another context, with the context that it belongs to."""
            raise AttributeError(missing_attribute(self, name, "an entity"), name=name, obj=self)

    # --- who -----------------------------------------------------------------------------------------------

    @property
    def entity_id(self) -> EntityId:
        """Id of this entity."""
        return self._entity_id

    @property
    def operation(self) -> str:
        """Name of the operation that runs."""
        return self._operation

    @property
    def current_utc_datetime(self) -> datetime:
        """The time in UTC, by the clock of the hub, which tests control."""
        return self._now()

    # --- state ---------------------------------------------------------------------------------------------

    @property
    def has_state(self) -> bool:
        """Whether the entity has a state; without one it does not exist for anybody else."""
        return self._value is not None if self._is_loaded else self._text is not None

    @overload
    def get_state(self, target: type[T], default: T) -> T: ...
    @overload
    def get_state(self, target: type[T]) -> T | None: ...
    @overload
    def get_state(self, target: None = None, default: object = None) -> Any: ...
    def get_state(self, target: object = None, default: object = None) -> object:
        """The state, converted to ``target``; without a target, as it was read or set before in the operation.

        A mutable state may be changed in place. ``default`` stands in for a missing state, and becomes the
        state if it is changed.
        """
        if not self._is_loaded:
            self._value = self._read_state(self._text, target)
            self._is_loaded = True
        elif not _is_of(self._value, target):
            text = self._serialize(self._value, f"State of entity {self._entity_id}")
            self._value = self._read_state(text, target)
        if self._value is None and default is not None:
            self._value = default
            self._untouched = self._converter.serialize(default)
        return self._value

    def _read_state(self, text: str | None, target: object) -> object:
        try:
            return self._converter.deserialize(text, target)
        except SerializationError as error:
            raise SerializationError(f"State of entity {self._entity_id}: {error}") from None

    def set_state(self, value: object) -> None:
        """Replace the state; ``None`` deletes it."""
        self._value = value
        self._untouched = None
        self._is_loaded = True

    def delete_state(self) -> None:
        """Delete the state, and with it, when nothing else is waiting, the entity."""
        self.set_state(None)

    # --- others --------------------------------------------------------------------------------------------

    def signal_entity(
        self,
        entity_id: EntityId | str,
        operation: str | Callable[..., object],
        input: object = None,
        *,
        at: datetime | timedelta | float | None = None,
    ) -> None:
        """Send an operation to an entity when this operation has succeeded; there is no answer.

        Args:
            entity_id: the id, or its text form ``@name@key``.
            operation: name of the operation, or its method, such as ``Counter.add``.
            input: input of the operation.
            at: deliver it at this time, or after this delay (``timedelta`` or seconds).
        """
        target = entity_key(entity_id)
        if (
            len(target) > MAXIMUM_ENTITY_ID
        ):  # a hub that refused it would refuse the other operations of the batch, too
            raise InvalidRequestError(
                f"The entity id {target[:40]!r}... has {len(target)} characters; at most {MAXIMUM_ENTITY_ID} are allowed."
            )
        name = as_name(operation_of(operation)[0], "operation")
        now = self._now()
        self._actions.append(
            EntitySendSignal(
                id=len(self._actions),
                instance_id=target,
                name=name,
                input=self._serialize(input, f"Input of entity operation {name!r}"),
                scheduled_time=as_time(at, "at", now),
                request_time=now,
                trace_context=telemetry.current(),
            )
        )

    def schedule_new_orchestration(
        self,
        orchestrator: object,
        input: object = None,
        *,
        instance_id: str | None = None,
        start_at: datetime | timedelta | float | None = None,
        version: str | None = None,
    ) -> str:
        """Start an orchestration, without waiting for it, and return its instance id."""
        name = as_name(name_of(orchestrator), "The name of the orchestrator")
        version = as_optional_text(version, "version")
        instance_id = new_instance_id(instance_id, None)
        now = self._now()
        self._actions.append(
            EntityStartOrchestration(
                id=len(self._actions),
                instance_id=instance_id,
                name=name,
                version=version,
                input=self._serialize(input, f"Input of orchestration {name!r}"),
                scheduled_time=as_time(start_at, "start_at", now),
                request_time=now,
                trace_context=telemetry.current(),
            )
        )
        return instance_id

    def _serialize(self, value: object, subject: str) -> str | None:
        try:
            return self._converter.serialize(value)
        except SerializationError as error:
            raise SerializationError(f"{subject}: {error}") from error

    # --- for the executor ------------------------------------------------------------------------------------

    @contextmanager
    def _running(self, operation: str) -> Iterator[None]:
        """One operation: commits state and messages at its end, or undoes them."""
        self._operation = operation
        messages = len(self._actions)
        try:
            yield
            if self._is_loaded:
                text = self._serialize(self._value, f"State of entity {self._entity_id}")
                if self._untouched is None or text != self._untouched:
                    self._text = text
        except BaseException:
            del self._actions[messages:]
            raise
        finally:
            self._value, self._is_loaded, self._untouched = None, False, None


def _is_of(value: object, target: object) -> bool:
    """Whether a value need not be converted; ``True`` where that cannot be known."""
    kind = get_origin(target) or target
    try:
        return value is None or not isinstance(kind, type) or isinstance(value, kind)
    except TypeError:  # a TypedDict, or a protocol
        return True


class TaskEntity(Generic[StateT]):
    """An entity written as a class: every public method is an operation.

    The state is either what the annotations of the class declare, or one value of the type given as parameter, in
    ``self.state``. An object serves one operation; what it is to remember belongs into the state, which is saved when
    the operation succeeds. Operations take no argument or one, the input, and may be ``async def``. A plain method
    runs in a thread. The operation ``delete`` is built in.

        class Counter(TaskEntity):
            value: int = 0

            def add(self, amount: int) -> int:
                self.value += amount
                return self.value

        class Carts(TaskEntity[Cart]):
            def initial_state(self) -> Cart:
                return Cart()

            def put(self, item: str) -> None:
                self.state.items.append(item)
    """

    _context: EntityContext

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        resolve_local_names(cls)
        taken = [name for name in public_annotations(cls) if name in RESERVED_NAMES or name == "delete"]
        if taken and _state_is_attributes(cls):
            raise RegistrationError(
                f"The entity class {cls.__qualname__} declares the attribute {taken[0]!r}, which is a member of every "
                "entity. Give the attribute another name."
            )

    @property
    def context(self) -> EntityContext:
        """The context of the running operation."""
        return self._context

    @property
    def entity_id(self) -> EntityId:
        """Id of the entity."""
        return self._context.entity_id

    @property
    def signal(self) -> Self:
        """On a proxy, sends operations as signals; inside an operation, signals to the entity itself."""
        context = self._context

        def send(name: str, _method: object, value: object) -> None:
            context.signal_entity(context.entity_id, name, value)

        return cast("Self", EntityProxy(type(self), context.entity_id, send))

    @property
    def state(self) -> StateT:
        """The state of the entity; ``initial_state()`` when it has none yet."""
        kind: type = type(self)
        target = cast("type[StateT]", _state_type(kind))
        if not self._context.has_state:
            return self._context.get_state(target, self.initial_state())
        return cast("StateT", self._context.get_state(target))

    @state.setter
    def state(self, value: StateT) -> None:
        self._context.set_state(value)

    def initial_state(self) -> StateT:
        """The state of an entity that has none yet; ``None`` unless a subclass overrides this."""
        return cast("StateT", None)

    @operation
    def delete(self) -> None:
        """The operation that deletes the state."""
        self._context.delete_state()


@lru_cache(maxsize=1024)
def declared_state_of(kind: type) -> DeclaredState | None:
    """The attributes that are the state of an entity class.

    ``None`` for a class that has none, or keeps its state in ``self.state``: one with a type parameter, or with its own
    ``initial_state``.
    """
    return declared_state(kind, TaskEntity) if _state_is_attributes(kind) else None


def read_state(kind: type, payload: str, converter: DataConverter) -> object:
    """The state in a payload: a detached object of a class with attributes, or a value of the type parameter.

    Raises:
        SerializationError: the payload does not fit.
    """
    declared = declared_state_of(kind)
    if declared is None:
        return converter.deserialize(payload, _state_type(kind))
    entity = kind()
    declared.set(entity, cast("dict[str, object]", converter.deserialize(payload, declared.shape)))
    return entity


def _state_is_attributes(kind: type) -> bool:
    has_own = getattr(kind, "initial_state", None) is not TaskEntity.initial_state
    return not has_own and _state_type(kind) is None


@lru_cache(maxsize=1024)
def _state_type(kind: type) -> object | None:
    """The parameter given to ``TaskEntity`` by a class or its bases."""
    found = _parameter(kind)
    return None if isinstance(found, TypeVar) or found is Any else found


def _parameter(kind: type) -> object | None:
    """The same; a ``TypeVar`` where a class leaves it to those that derive from it."""
    for parent in vars(kind).get("__orig_bases__", kind.__bases__):
        base = get_origin(parent) or parent
        if base is TaskEntity:
            found: object | None = next(iter(get_args(parent)), None)
        else:
            found = _parameter(base) if issubclass(base, TaskEntity) else None
            if isinstance(found, TypeVar) and get_args(parent):
                found = get_args(parent)[base.__parameters__.index(found)]
        if found is not None:
            return found
    return None
