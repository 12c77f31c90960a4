"""Failure details: how an exception travels through a history, and back (protocol section 5.3)."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping

import msgspec

from .errors import NonRetryableError, NotRegisteredError, RetryAfter, TaskFailedError, VersionMismatchError

__all__ = ["RETRY_AFTER_PROPERTY", "FailureDetails", "qualified_name"]

_MAX_DEPTH = 10  # deeper chains of causes are cut, as the other SDKs of the protocol do

RETRY_AFTER_PROPERTY = "durabletask.retryAfterSeconds"
"""Key of ``FailureDetails.properties`` under which ``RetryAfter`` travels (seconds, a number)."""


def qualified_name(error_type: type[BaseException]) -> str:
    """The name of an exception type on the wire, ``module.QualName``."""
    return f"{error_type.__module__}.{error_type.__qualname__}"


def _resolve(name: str) -> type[BaseException] | None:
    """The exception class of that qualified name if its module is already imported."""
    module_name, _, path = name.rpartition(".")
    while module_name:
        module = sys.modules.get(module_name)
        if module is not None:
            found: object = module
            for part in path.split("."):
                found = getattr(found, part, None)
            return found if isinstance(found, type) and issubclass(found, BaseException) else None
        module_name, _, head = module_name.rpartition(".")
        path = f"{head}.{path}"
    return None


class FailureDetails(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What is known about a failure, on either side of the wire.

    Attributes:
        error_type: qualified name of the exception class, e.g. ``builtins.ValueError``.
        message: text of the exception.
        stack_trace: formatted trace of this exception only (causes have their own).
        inner_failure: the cause, if there was one; at most ten levels.
        is_non_retriable: no retry policy applies.
        properties: extra JSON-like values.
    """

    error_type: str
    message: str
    stack_trace: str | None = None
    inner_failure: FailureDetails | None = None
    is_non_retriable: bool = False
    properties: Mapping[str, object] | None = None

    @property
    def error_message(self) -> str:
        """The same as ``message``."""
        return self.message

    @property
    def root_cause(self) -> FailureDetails:
        """The innermost failure."""
        found = self
        while found.inner_failure is not None:
            found = found.inner_failure
        return found

    def matches(self, error: type[BaseException] | str) -> bool:
        """Whether this failure (not its causes) is of a type.

        ``error`` may be the class, one of its bases, the qualified name or the bare name. Bases are
        known only when the class of the failure can be found in a module that is already imported.
        """
        if isinstance(error, str):
            return error in (self.error_type, self.error_type.rpartition(".")[2])
        if qualified_name(error) == self.error_type:
            return True
        own = _resolve(self.error_type)
        return own is not None and issubclass(own, error)

    def is_caused_by(self, error: type[BaseException] | str) -> bool:
        """Whether this failure or any of its causes is of a type; see ``matches``."""
        found: FailureDetails | None = self
        while found is not None:
            if found.matches(error):
                return True
            found = found.inner_failure
        return False

    @classmethod
    def from_exception(cls, error: BaseException, *, non_retriable: bool | None = None) -> FailureDetails:
        """Describe an exception and its causes.

        ``non_retriable`` overrides what the type of the exception says (``NonRetryableError`` and the
        not-registered and version errors are final).
        """
        return _describe(error, non_retriable, seen=set(), depth=1)


_FINAL_TYPES = (NonRetryableError, NotRegisteredError, VersionMismatchError)


def _describe(
    error: BaseException, non_retriable: bool | None, *, seen: set[int], depth: int
) -> FailureDetails:
    seen.add(id(error))
    if non_retriable is None:
        non_retriable = isinstance(error, _FINAL_TYPES)
    properties: dict[str, object] | None = None
    if isinstance(error, RetryAfter):
        properties = {RETRY_AFTER_PROPERTY: error.delay.total_seconds()}
    return FailureDetails(
        error_type=qualified_name(type(error)),
        message=_text_of(error),
        stack_trace=_trace_of(error),
        inner_failure=_describe_cause(error, seen=seen, depth=depth),
        is_non_retriable=non_retriable,
        properties=properties,
    )


def _sendable(text: str) -> str:
    """The text without lone surrogates, which have no form on the wire."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _text_of(error: BaseException) -> str:
    try:
        return _sendable(str(error))
    except Exception as failed:  # noqa: BLE001 - user code; the failure itself is what has to be told
        return f"(no text: its __str__ raised {type(failed).__name__})"


def _trace_of(error: BaseException) -> str | None:
    try:
        lines = traceback.format_exception(type(error), error, error.__traceback__, chain=False)
        return _sendable("".join(lines))
    except Exception:  # noqa: BLE001 - as above
        return None


def _describe_cause(error: BaseException, *, seen: set[int], depth: int) -> FailureDetails | None:
    if isinstance(error, TaskFailedError):
        return error.details
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is None or id(cause) in seen or depth >= _MAX_DEPTH:
        return None
    return _describe(cause, None, seen=seen, depth=depth + 1)
