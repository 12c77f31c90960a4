"""``Registry``: the orchestrators, activities and entities of a worker by name.

Code that refers to a function (``ctx.call_activity(greet)``) uses the function's own name, also where the worker has it
under another one. So a name that is not registered is also looked up among the own names of what is registered, as
far as an own name means one function. Built-ins come last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Generic, TypeAlias, TypeVar, Union

from .definitions import (
    ActivityDefinition,
    Definition,
    EntityDefinition,
    OrchestratorDefinition,
    check_input_given,
    name_of,
    own_name,
)
from .errors import (
    ActivityNotRegisteredError,
    EntityNotRegisteredError,
    NotRegisteredError,
    OrchestratorNotRegisteredError,
    RegistrationError,
)

__all__ = [
    "ActivityDefinition",
    "Definition",
    "EntityDefinition",
    "OrchestratorDefinition",
    "Registrations",
    "Registry",
    "check_input_given",
    "name_of",
]

Registrations: TypeAlias = Union[Mapping[str, object], Iterable[object]]
"""Names and callables, or only callables, whose names are then ``name_of`` each."""

_D = TypeVar("_D", bound="Definition")


class _Table(Generic[_D]):
    """The definitions of one role."""

    def __init__(self, kind: type[_D], missing: type[NotRegisteredError], fold: bool = False) -> None:
        self._kind = kind
        self._missing = missing
        self._fold = fold
        self.by_name: dict[str, _D] = {}
        # Own names of what is registered under another name; ``None`` for an own name that several share.
        self._by_own_name: dict[str, _D | None] = {}
        self.built_ins: dict[str, Callable[[], object]] = {}
        self._built_in_definitions: dict[str, _D] = {}

    def add(self, target: object, name: object) -> _D:
        if name is None:
            name = name_of(target)
        elif not (isinstance(name, str) and name.strip()):
            raise RegistrationError(f"{name!r} cannot be the name of an {self._kind.role}: it must be text.")
        if self._fold:
            if "@" in name:
                raise RegistrationError(f"The entity name {name!r} must not contain '@'.")
            name = name.lower()
        if name in self.by_name:
            raise RegistrationError(
                f"An {self._kind.role} named {name!r} is already registered: {self.by_name[name].location}. "
                "Give one of them another name."
            )
        definition = self.by_name[name] = self._kind(name, target)
        own = own_name(target)
        if own not in {name, "<lambda>"}:
            self._by_own_name[own] = None if own in self._by_own_name else definition
        return definition

    @property
    def aliases(self) -> list[str]:
        """Own names under which ``get`` finds what is registered under another name."""
        return [
            name
            for name, definition in self._by_own_name.items()
            if definition is not None and name not in self.by_name
        ]

    def add_all(self, targets: Registrations) -> None:
        if isinstance(targets, Mapping):
            for name, target in targets.items():
                self.add(target, name)
        elif isinstance(targets, (str, bytes)) or callable(targets):
            raise RegistrationError(
                f"{self._kind.role} registrations are a mapping of names to callables, or a sequence of "
                f"callables, not {targets!r}."
            )
        else:
            for target in targets:
                self.add(target, None)

    def get(self, name: str) -> _D:
        try:
            return self.by_name[name]
        except KeyError:
            pass
        if self._fold and name.lower() in self.by_name:
            return self.by_name[name.lower()]
        definition = self._by_own_name.get(name)  # what a reference to the function is called by
        return definition if definition is not None else self._get_built_in(name)

    def _get_built_in(self, name: str) -> _D:
        key = name.lower() if self._fold else name
        definition = self._built_in_definitions.get(key)
        if definition is None:
            if key not in self.built_ins:
                raise self._missing(name, self.by_name)
            definition = self._built_in_definitions[key] = self._kind(key, self.built_ins[key]())
            definition.is_built_in = True
        return definition


class Registry:
    """Orchestrators, activities and entities by name.

    Raises:
        RegistrationError: a name is used twice or is no name; a target is not callable, or takes other
            arguments than ``(context)`` or ``(context, input)``.
    """

    def __init__(
        self,
        *,
        orchestrators: Registrations = (),
        activities: Registrations = (),
        entities: Registrations = (),
    ) -> None:
        self._orchestrators = _Table(OrchestratorDefinition, OrchestratorNotRegisteredError)
        self._activities = _Table(ActivityDefinition, ActivityNotRegisteredError)
        self._entities = _Table(EntityDefinition, EntityNotRegisteredError, fold=True)
        self._orchestrators.add_all(orchestrators)
        self._activities.add_all(activities)
        self._entities.add_all(entities)

    def add_orchestrator(self, target: object, name: str | None = None) -> OrchestratorDefinition:
        """Register an orchestrator; without a name, under its own."""
        return self._orchestrators.add(target, name)

    def add_activity(self, target: object, name: str | None = None) -> ActivityDefinition:
        """Register an activity; without a name, under its own."""
        return self._activities.add(target, name)

    def add_entity(self, target: object, name: str | None = None) -> EntityDefinition:
        """Register an entity; without a name, under its own. Names are folded to lower case."""
        return self._entities.add(target, name)

    def add_built_ins(
        self,
        *,
        orchestrators: Mapping[str, Callable[[], object]] = MappingProxyType({}),
        activities: Mapping[str, Callable[[], object]] = MappingProxyType({}),
        entities: Mapping[str, Callable[[], object]] = MappingProxyType({}),
    ) -> None:
        """Add definitions that are found where the program has none of that name. The lists of names leave them out.

        Each value returns what to register, when it is first needed, so that its modules are imported only then.
        Names of entities are in lower case.
        """
        self._orchestrators.built_ins.update(orchestrators)
        self._activities.built_ins.update(activities)
        self._entities.built_ins.update(entities)

    def orchestrator(self, name: str) -> OrchestratorDefinition:
        """The orchestrator of that name.

        Raises:
            OrchestratorNotRegisteredError: there is none; the message lists the nearest names.
        """
        return self._orchestrators.get(name)

    def activity(self, name: str) -> ActivityDefinition:
        """The activity of that name.

        Raises:
            ActivityNotRegisteredError: there is none; the message lists the nearest names.
        """
        return self._activities.get(name)

    def entity(self, name: str) -> EntityDefinition:
        """The entity of that name, without regard to case.

        Raises:
            EntityNotRegisteredError: there is none; the message lists the nearest names.
        """
        return self._entities.get(name)

    @property
    def orchestrator_names(self) -> Sequence[str]:
        """Names of the orchestrators, in order of registration."""
        return list(self._orchestrators.by_name)

    @property
    def activity_names(self) -> Sequence[str]:
        """Names of the activities, in order of registration."""
        return list(self._activities.by_name)

    @property
    def entity_names(self) -> Sequence[str]:
        """Names of the entities, in order of registration."""
        return list(self._entities.by_name)

    @property
    def orchestrator_aliases(self) -> Sequence[str]:
        """Own names of orchestrators that are registered under another name, and can also be called by their own."""
        return self._orchestrators.aliases

    @property
    def activity_aliases(self) -> Sequence[str]:
        """The same for activities."""
        return self._activities.aliases

    @property
    def built_in_names(self) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
        """Names of the built-in orchestrators, activities and entities."""
        orchestrators, activities, entities = self._orchestrators, self._activities, self._entities
        return list(orchestrators.built_ins), list(activities.built_ins), list(entities.built_ins)
