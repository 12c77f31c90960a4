"""What a worker can run by name: definitions of orchestrators, activities and entities.

Names come from the mapping given to the worker or from the callable itself (``name_of``). Signatures are checked here,
once, so that a wrong one is an error where the program starts and not where work arrives.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Final, TypeVar, Union, cast

from .authoring import TaskActivity
from .errors import (
    EntityOperationNotFoundError,
    InvalidArgumentError,
    RegistrationError,
    SerializationError,
)
from .logs import get_logger

__all__ = [
    "RESERVED_NAMES",
    "ActivityDefinition",
    "Definition",
    "EntityDefinition",
    "OperationDefinition",
    "OrchestratorDefinition",
    "annotations_of",
    "check_input_given",
    "find_operation",
    "name_of",
    "operations_of",
    "own_name",
]

_logger = get_logger("durabletask.registry")


def name_of(function_or_name: object) -> str:
    """The name under which something is registered and called.

    A string is its own name. Otherwise: an attribute ``name`` that is a string, ``__name__`` of a
    function or class, or the class name of an object.

    Raises:
        RegistrationError: there is no usable name, for instance of a lambda, or of the coroutine that a call gives.
    """
    if isinstance(function_or_name, (Coroutine, Generator, AsyncGenerator)):
        if isinstance(function_or_name, Coroutine):
            function_or_name.close()  # without the warning that nothing awaited it
        raise RegistrationError(
            f"{own_name(function_or_name)!r} was called, which gave a {type(function_or_name).__name__}. Give the "
            "function itself, and its input as the next argument."
        )
    if function_or_name is None or isinstance(function_or_name, (int, float, bytes, list, tuple, dict, set)):
        raise RegistrationError(f"{type(function_or_name).__name__} is neither a definition nor a name.")
    name = function_or_name if isinstance(function_or_name, str) else own_name(function_or_name)
    if not name or name == "<lambda>":
        raise RegistrationError(
            f"{function_or_name!r} has no usable name. Register it under one: {{'my_name': ...}}."
        )
    return name


def own_name(target: object) -> str:
    """The name that an object brings along: its attribute ``name``, its ``__name__``, or that of its class."""
    while isinstance(target, functools.partial):
        target = target.func
    explicit = getattr(target, "name", None)
    if isinstance(explicit, str) and not _is_state(target, "name"):
        return explicit
    own = getattr(target, "__name__", None)
    return own if isinstance(own, str) else type(target).__name__


def annotations_of(kind: type) -> dict[str, Any]:
    """The annotations of one class, without those of its bases; names that cannot be resolved stay unresolved."""
    if sys.version_info >= (3, 14):
        import annotationlib  # noqa: PLC0415

        return annotationlib.get_annotations(kind, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(kind)


def _is_state(target: object, attribute: str) -> bool:
    """Whether an entity class declares an attribute as part of the state of its entities."""
    if not (isinstance(target, type) and hasattr(target, "initial_state")):
        return False
    declared = [annotations_of(part).get(attribute) for part in target.__mro__]
    return any(found is not None and "ClassVar" not in str(found) for found in declared)


def _location_of(function: Callable[..., object]) -> str:
    """``file:line`` of a function, for messages."""
    found: Any = function
    while isinstance(found, functools.partial):
        found = found.func
    found = inspect.unwrap(found)
    code = getattr(getattr(found, "__func__", found), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(function)


class Definition:
    """Something that can be run by name.

    Attributes:
        name: the registered name.
        target: what was registered.
        function: the callable that runs: the function itself, or the bound ``run`` of an object.
        is_built_in: whether the SDK brings it. Versions of the program do not apply to it.
    """

    role: ClassVar[str] = "function"
    first_parameter: ClassVar[str] = "context"
    foreign_contexts: ClassVar[Mapping[str, str]] = {}
    """Contexts that no function of this role takes -> the option under which such functions are registered."""

    def __init__(self, name: str, target: object) -> None:
        self.name: str = name
        self.target: object = target
        self.function: Callable[..., object] = self._callable_of(target)
        self._input: inspect.Parameter | None = self._read_signature()
        annotation = self._input.annotation if self._input is not None else inspect.Parameter.empty
        self._annotation: object = None if annotation is inspect.Parameter.empty else annotation
        self.is_built_in: bool = False
        self._input_type: object | None = None
        self._is_resolved = False
        if self._annotation is not None and "<locals>" in getattr(self.function, "__qualname__", ""):
            with suppress(*_UNRESOLVABLE):  # else it is tried again when the type is needed
                self._input_type = self._evaluate(_names_around(self.function))
                self._is_resolved = True

    @property
    def location(self) -> str:
        """``file:line`` of the function."""
        return _location_of(self.function)

    @property
    def input_type(self) -> object | None:
        """Annotation of the input parameter; ``None`` without one (plain JSON values then)."""
        if not self._is_resolved:
            self._input_type = self._resolve_annotation()
            self._is_resolved = True
        return self._input_type

    def read_input(self, payload: str | None, deserialize: Callable[[str | None, object], object]) -> object:
        """The value that ``invoke`` takes, from what the hub has delivered.

        Args:
            payload: the input; ``None`` or empty text if there is none.
            deserialize: reads a payload as an annotation.

        Raises:
            SerializationError: the input does not fit the annotation, or is missing although the parameter has neither
                a default nor an annotation that allows ``None``; the message names function and parameter.
        """
        if payload:
            try:
                return deserialize(payload, self.input_type)
            except SerializationError as error:  # what people see first is the innermost
                raise SerializationError(f"{self._input_subject()}: {error}") from None
        lack = self.lack_of_input()
        if lack is not None:
            raise SerializationError(f"{self._input_subject()} is missing: {lack}")
        return None

    def lack_of_input(self) -> str | None:
        """Why the function cannot do without an input, for people; ``None`` if it can."""
        parameter = self._input
        if parameter is None or parameter.default is not parameter.empty or _allows_none(self.input_type):
            return None
        shown = inspect.formatannotation(self.input_type)
        return (
            f"the parameter {parameter.name!r} takes {shown}. Pass an input, give the parameter a default, or allow "
            f"None: '{parameter.name}: {shown} | None'."
        )

    def _input_subject(self) -> str:
        return f"Input of {self.role} {self.name!r} ({self.location})"

    def invoke(self, context: object, input: object) -> object:  # noqa: A002 - the protocol's word
        """Call the function. An absent input leaves a parameter with a default at its default."""
        parameter = self._input
        if parameter is None or (input is None and parameter.default is not parameter.empty):
            return self.function(context)
        return self.function(context, input)

    def __repr__(self) -> str:
        return f"<{self.role} {self.name!r} at {self.location}>"

    def _callable_of(self, target: object) -> Callable[..., object]:
        if isinstance(target, type):
            target = self._make_instance(target)
        run = getattr(target, "run", None)
        if callable(run):
            return cast("Callable[..., object]", run)
        if callable(target):
            return target
        raise RegistrationError(
            f"The {self.role} {self.name!r} cannot be registered: {target!r} is neither a function nor an "
            "object with a 'run(context, input)' method."
        )

    def _make_instance(self, target: type) -> object:
        if not callable(getattr(target, "run", None)):
            raise RegistrationError(
                f"The {self.role} {self.name!r} cannot be registered: the class {target.__qualname__} has no "
                "'run(context, input)' method."
            )
        try:
            return target()
        except TypeError as error:
            raise RegistrationError(
                f"The {self.role} {self.name!r} cannot be registered: {target.__qualname__}() failed: {error}. "
                "Register an instance instead of the class."
            ) from error

    def _read_signature(self) -> inspect.Parameter | None:
        """The parameter for the input, if there is one."""
        try:
            parameters = list(inspect.signature(self.function).parameters.values())
        except (TypeError, ValueError):  # a builtin without a signature: trust it
            return _ANY_INPUT
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        has_varargs = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        required = [p for p in [*positional[2:], *keywords] if p.default is p.empty]
        first = self.first_parameter
        if required or not (positional or has_varargs):
            raise RegistrationError(
                f"The {self.role} {self.name!r} at {self.location} must take ({first}) or ({first}, input), "
                f"not {inspect.signature(self.function)}. Several values: pass one dataclass, dict or list."
            )
        if keywords and len(positional) == 1 and not has_varargs:
            raise RegistrationError(
                f"The {self.role} {self.name!r} at {self.location} would lose its input: {keywords[0].name!r} is "
                f"keyword-only. Make it positional ('({first}, input)'), or put a parameter for the input before the '*'."
            )
        if positional:
            self._check_context(positional[0].annotation)
        if len(positional) > 1:
            return positional[1]
        return _ANY_INPUT if has_varargs else None

    def _check_context(self, annotation: object) -> None:
        """Refuse a function whose annotation gives it another role; a ``TaskActivity`` can have both."""
        target = self.target if isinstance(self.target, type) else type(self.target)
        if issubclass(target, TaskActivity):
            return
        name = annotation.strip("\"'") if isinstance(annotation, str) else getattr(annotation, "__name__", "")
        name = name.rpartition(".")[2]
        option = self.foreign_contexts.get(name)
        if option is not None:
            raise RegistrationError(
                f"The {self.role} {self.name!r} at {self.location} takes {name}: "
                f"register it under {option}=, or correct the annotation."
            )

    def _resolve_annotation(self) -> object | None:
        try:
            return self._evaluate({})
        except _UNRESOLVABLE as error:
            _logger.warning(
                "The annotation %r of the input of %s %r at %s cannot be resolved (%s); the input will be plain "
                "JSON values. Define the type at module level, outside 'if TYPE_CHECKING'.",
                self._annotation,
                self.role,
                self.name,
                self.location,
                error,
            )
            return None

    def _evaluate(self, local: Mapping[str, object]) -> object | None:
        """The annotation as an object, or ``None`` for one that selects no type."""
        annotation = self._annotation
        if annotation is None or annotation in (Any, object):
            return None
        function: Any = self.function
        while isinstance(function, functools.partial):
            function = function.func
        function = getattr(inspect.unwrap(function), "__func__", inspect.unwrap(function))
        if not hasattr(function, "__globals__"):
            function = getattr(type(function), "__call__", function)  # noqa: B004

        def holder() -> None: ...

        holder.__annotations__ = {"input": annotation}
        namespace = getattr(function, "__globals__", {})
        cells = getattr(function, "__closure__", None) or ()
        names = getattr(getattr(function, "__code__", None), "co_freevars", ())
        captured = {}
        for name, cell in zip(names, cells, strict=False):
            with suppress(ValueError):  # a cell that is not filled yet
                captured[name] = cell.cell_contents
        found = typing.get_type_hints(holder, namespace, {**local, **captured}, include_extras=True)["input"]
        return None if found in (Any, object) or isinstance(found, TypeVar) else found


def _allows_none(annotation: Any) -> bool:
    """Whether ``None`` is a value of an annotation; without one (``None``), everything is."""
    if annotation in (None, type(None), Any, object) or isinstance(annotation, TypeVar):
        return True
    for inner in ("__value__", "__supertype__"):  # a type alias, a NewType
        if hasattr(annotation, inner):
            return _allows_none(getattr(annotation, inner))
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _allows_none(arguments[0])
    if origin in (Union, types.UnionType):
        return any(_allows_none(argument) for argument in arguments)
    return origin is typing.Literal and None in arguments


_ANY_INPUT: Final = inspect.Parameter("input", inspect.Parameter.POSITIONAL_ONLY)
_UNRESOLVABLE = (NameError, AttributeError, TypeError, SyntaxError, ValueError)


def _names_around(function: Callable[..., object]) -> dict[str, object]:
    """Local names of the functions in which a function was defined, as far as they are still running.

    A program (or a test) that defines types, functions and worker in one function finds its types this way.
    """
    around = {part.rpartition(".")[2] for part in function.__qualname__.split(".<locals>")[:-1]}
    namespace = getattr(function, "__globals__", None)
    names: dict[str, object] = {}
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals is namespace and frame.f_code.co_name in around:
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names


class OrchestratorDefinition(Definition):
    """An orchestrator: ``async def``, a generator function, or a plain function."""

    role: ClassVar[str] = "orchestrator"
    foreign_contexts: ClassVar[Mapping[str, str]] = {
        "ActivityContext": "activities",
        "EntityContext": "entities",
    }

    def __init__(self, name: str, target: object) -> None:
        super().__init__(name, target)
        if inspect.isasyncgenfunction(self.function):
            raise RegistrationError(
                f"The orchestrator {name!r} at {self.location} is an async generator: use 'await' instead of "
                "'yield', or 'def' instead of 'async def'."
            )


def check_input_given(orchestrator: object, name: str) -> None:
    """Refuse to start an orchestrator without the input that it needs, as far as that can be seen.

    Of a name nothing can be seen, and a class is not instantiated in a client.

    Raises:
        InvalidArgumentError: the parameter for the input has no default and does not allow ``None``.
        RegistrationError: the function cannot be an orchestrator.
    """
    if isinstance(orchestrator, (str, type)) or not callable(getattr(orchestrator, "run", orchestrator)):
        return
    definition = OrchestratorDefinition(name, orchestrator)
    lack = definition.lack_of_input()
    if lack is not None:
        raise InvalidArgumentError(
            f"The input of orchestrator {name!r} ({definition.location}) is missing: {lack}"
        )


class ActivityDefinition(Definition):
    """An activity: ``async def`` (runs on the event loop) or a plain function (runs in a thread).

    Attributes:
        is_async: whether the function is ``async def``.
    """

    role: ClassVar[str] = "activity"
    foreign_contexts: ClassVar[Mapping[str, str]] = {
        "OrchestrationContext": "orchestrators",
        "EntityContext": "entities",
    }

    def __init__(self, name: str, target: object) -> None:
        super().__init__(name, target)
        if inspect.isasyncgenfunction(self.function) or inspect.isgeneratorfunction(self.function):
            raise RegistrationError(
                f"The activity {name!r} at {self.location} is a generator: an activity returns one value."
            )
        function = self.function
        call = getattr(type(function), "__call__", None)  # noqa: B004 - objects with an async __call__
        self.is_async: bool = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


RESERVED_NAMES: Final = frozenset({"context", "entity_id", "initial_state", "signal", "state"})
"""Public members of ``TaskEntity`` that are not operations."""


@functools.lru_cache(maxsize=1024)
def operations_of(kind: type) -> dict[str, Callable[..., object]]:
    """The public methods of an entity class by name, ``delete`` included; static and class methods are none."""
    return {
        name: member
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not (name.startswith("_") or name in RESERVED_NAMES)
        and inspect.isfunction(inspect.getattr_static(kind, name))
    }


def find_operation(kind: type, name: str) -> Callable[..., object] | None:
    """The method for an operation: the one of exactly that name, else one that differs in case only."""
    methods = operations_of(kind)
    found = methods.get(name)
    if found is None:
        folded = name.casefold()
        found = next((method for each, method in methods.items() if each.casefold() == folded), None)
    return found


class OperationDefinition(Definition):
    """One method of an entity class; an object of the class takes the place of the context."""

    role: ClassVar[str] = "operation"
    first_parameter: ClassVar[str] = "self"


class EntityDefinition(Definition):
    """An entity: a function ``(context, input)`` for all operations, or a class with one method each.

    Attributes:
        is_class: whether ``target`` is a class (of ``TaskEntity``); a new object then serves each operation.
    """

    role: ClassVar[str] = "entity"

    def __init__(self, name: str, target: object) -> None:
        self.is_class: bool = isinstance(target, type)
        self._operations: dict[str, OperationDefinition] = {}
        super().__init__(name, target)
        if isinstance(target, type) and "<locals>" in target.__qualname__:
            for each in operations_of(target):
                with suppress(RegistrationError):  # else it is raised when the operation is called
                    self.operation(each)  # finds types of the function that is running

    def operation(self, name: str) -> OperationDefinition:
        """The method of an entity class for an operation: of exactly that name, else in another case.

        Raises:
            EntityOperationNotFoundError: there is none.
            RegistrationError: the method takes other arguments than ``(self)`` or ``(self, input)``.
        """
        found = self._operations.get(name)
        if found is None:
            kind = cast("type", self.target)
            method = find_operation(kind, name)
            if method is None:
                raise EntityOperationNotFoundError(name, operations_of(kind))
            found = self._operations[name] = OperationDefinition(name, method)
        return found

    def _callable_of(self, target: object) -> Callable[..., object]:
        if isinstance(target, type):
            if not hasattr(target, "initial_state"):
                raise RegistrationError(
                    f"The entity {self.name!r} cannot be registered: the class {target.__qualname__} must derive "
                    "from TaskEntity, which holds the state."
                )
            return target
        if callable(target):
            return target
        raise RegistrationError(
            f"The entity {self.name!r} cannot be registered: {target!r} is neither a function nor a class. "
            "Register the class itself, not an object of it: an object serves one operation only."
        )

    def _read_signature(self) -> inspect.Parameter | None:
        return _ANY_INPUT if self.is_class else super()._read_signature()
