"""Clients that wait for an instance to start, to change, or to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from durabletask.core.errors import InstanceNotFoundError, TransportError
from durabletask.core.instances import OrchestrationState, OrchestrationStatus, is_change

from .state import Instance, snapshot

__all__ = ["ClientWait", "WaitingClients"]


class ClientWait:
    """One client's wait. Its future is resolved exactly once: with a state, ``None`` (time-out) or an error."""

    __slots__ = ("future", "include_payloads", "seen", "wants_completion")

    def __init__(
        self,
        *,
        wants_completion: bool = False,
        include_payloads: bool = True,
        seen: OrchestrationState | None = None,
    ) -> None:
        self.future: asyncio.Future[OrchestrationState | None] = asyncio.get_running_loop().create_future()
        self.wants_completion: bool = wants_completion
        self.include_payloads: bool = include_payloads
        self.seen: OrchestrationState | None = seen  # of which any change is wanted

    def is_satisfied_by(self, instance: Instance) -> bool:
        """Whether the instance is where the client wants it."""
        if self.seen is not None:
            return is_change(self.seen, snapshot(instance, include_payloads=True))
        if self.wants_completion:
            return instance.is_terminal
        return instance.status is not OrchestrationStatus.PENDING

    def answer(self, instance: Instance) -> Callable[[], None]:
        """Take the state as it is now; the returned function sends it."""
        return partial(self.resolve, snapshot(instance, include_payloads=self.include_payloads))

    def resolve(self, state: OrchestrationState | None) -> None:
        """Send an answer, unless the client has gone."""
        if not self.future.done():
            self.future.set_result(state)

    def fail(self, error: Exception) -> None:
        """Send an error, unless the client has gone."""
        if not self.future.done():
            self.future.set_exception(error)


class WaitingClients:
    """Waits by instance id."""

    def __init__(self) -> None:
        self._waits: dict[str, list[ClientWait]] = {}

    @property
    def is_waited(self) -> bool:
        """Whether any client waits."""
        return bool(self._waits)

    def add(self, instance_id: str, wait: ClientWait) -> None:
        """Have a wait answered."""
        self._waits.setdefault(instance_id, []).append(wait)

    def discard(self, instance_id: str, wait: ClientWait) -> None:
        """The client has its answer or has gone."""
        waits = self._waits.get(instance_id)
        if waits is not None and wait in waits:
            waits.remove(wait)
            if not waits:
                del self._waits[instance_id]

    def left(self, removed: Iterable[tuple[Instance, bool]]) -> list[Callable[[], None]]:
        """The answers that clients get because instances were removed, as functions that send them."""
        answers: list[Callable[[], None]] = []
        for instance, tell_waiting in removed:
            for wait in self._waits.get(instance.instance_id, ()):
                if tell_waiting:
                    error = InstanceNotFoundError(
                        f"Orchestration instance {instance.instance_id!r} was purged while it was waited for."
                    )
                    answers.append(partial(wait.fail, error))
                elif wait.is_satisfied_by(instance):
                    answers.append(wait.answer(instance))
        return answers

    def reached(self, instance: Instance) -> list[Callable[[], None]]:
        """The answers that clients get because an instance has another summary, as functions that send them."""
        waits = self._waits.get(instance.instance_id, ())
        return [wait.answer(instance) for wait in waits if wait.is_satisfied_by(instance)]

    def clear(self, error: TransportError | None = None) -> None:
        """End every wait, with an error unless their event loop is gone."""
        waits, self._waits = self._waits, {}
        if error is not None:
            for one in [wait for waiting in waits.values() for wait in waiting]:
                one.fail(error)
