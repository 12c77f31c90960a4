"""What a transport can do, in the words of the conformance kit.

Base capabilities are the contract of ``Transport``: their tests cannot be skipped. Every other capability
is a property of ``Capabilities``, closed unless an adopter opens it, so that a new one never breaks an
older transport.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BASE_CAPABILITIES", "Capabilities", "optional_capabilities"]

BASE_CAPABILITIES: Final[dict[str, str]] = {
    "connection": "A transport connects when asked, closes, and can be used again.",
    "create": "Instances are created once per id and can be replaced when finished.",
    "read": "The state of an instance is what was stored, text for text.",
    "wait": "Waits end when the status says so, and at their time-out.",
    "external_events": "Events reach an instance once and in the order of the caller.",
    "control": "Terminate, suspend and resume reach the orchestrator as events.",
    "query": "Instances are listed by filter, in a stable order, page by page.",
    "purge": "Finished instances can be removed, one or many by id.",
    "history": "The history of an instance can be read in the order in which it was recorded.",
    "episodes": "One episode at a time; the past only grows; actions are confirmed in order.",
    "activities": "Activities are delivered and their answers come back.",
    "timers": "Durable timers fire at their time, never before, and only for their execution.",
    "children": "Sub-orchestrations start and report back to their parent.",
    "continue_as_new": "An execution ends and the next one begins with the chosen input.",
    "tokens": "A completion counts once, and only with the token of the present delivery.",
    "redelivery": "Work that was neither completed nor abandoned is delivered again.",
    "end_to_end": "The client and the worker of this project do their work on it.",
}
"""Name and meaning of what every transport must do."""


class Capabilities:
    """What a transport does beyond the base; subclass it and override what is offered.

    Every property is one sentence. All of them are closed here.
    """

    @property
    def scheduled_start(self) -> bool:
        """An instance can be created now and started at a later time."""
        return False

    @property
    def replace_live_instances(self) -> bool:
        """A reuse policy that lists a live status replaces a live instance."""
        return False

    @property
    def payload_gating(self) -> bool:
        """``include_payloads=False`` leaves out input, output and custom status."""
        return False

    @property
    def recursive_terminate(self) -> bool:
        """Terminating an instance can terminate its sub-orchestrations too."""
        return False

    @property
    def recursive_purge(self) -> bool:
        """Purging an instance can purge its sub-orchestrations too."""
        return False

    @property
    def filtered_purge(self) -> bool:
        """Instances can be purged by creation time and status."""
        return False

    @property
    def list_instance_ids(self) -> bool:
        """Ids of finished instances can be listed by the time of completion."""
        return False

    @property
    def restart(self) -> bool:
        """A finished instance can be run again."""
        return False

    @property
    def rewind(self) -> bool:
        """A failed instance can be taken back to the point before its failures."""
        return False

    @property
    def force_terminate(self) -> bool:
        """Instances can be ended without running their orchestrator."""
        return False

    @property
    def send_event(self) -> bool:
        """An orchestrator can raise an event at another instance."""
        return False

    @property
    def terminate_action(self) -> bool:
        """An orchestrator can terminate another instance."""
        return False

    @property
    def carry_over_events(self) -> bool:
        """Continue-as-new hands unread events to the next execution."""
        return False

    @property
    def requires_history(self) -> bool:
        """A worker can ask for an item again with its whole past."""
        return False

    @property
    def limits(self) -> bool:
        """The limits of a work item stream bound what is in flight on it."""
        return False

    @property
    def filters(self) -> bool:
        """A work item stream can be restricted to names and versions."""
        return False

    @property
    def lock_expiry(self) -> bool:
        """An item that is in flight too long is delivered to another worker."""
        return False

    @property
    def several_connections(self) -> bool:
        """Several connections can share one task hub (``ConformanceHub.open_another``)."""
        return False

    @property
    def durable(self) -> bool:
        """What was acknowledged survives a restart of the hub (``ConformanceHub.restart``)."""
        return False

    @property
    def cancels_calls_on_close(self) -> bool:
        """Calls in flight end with ``TransportUnavailableError`` when the transport is closed."""
        return False

    @property
    def entities(self) -> bool:
        """The hub has entities: signals, calls, state, locks and queries."""
        return False


def optional_capabilities() -> dict[str, str]:
    """Name and meaning of every optional capability, in the order of ``Capabilities``."""
    return {
        name: (value.__doc__ or "").strip()
        for name, value in vars(Capabilities).items()
        if isinstance(value, property)
    }
