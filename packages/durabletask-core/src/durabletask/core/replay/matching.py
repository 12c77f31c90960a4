"""Matches the history's confirmations with the actions that the code made (protocol section 8.4).

An action is pending until the history confirms it, by an event with the action's id. The id is the action's place in
the order in which the code makes actions, so code that takes another path meets an event of another kind or name
under the same id. That is how a change of the code is found; the rest of this module is about saying what differs.

``_RULES`` lists which event confirms which action, and what must agree. The first function of a rule always applies.
The second applies in strict mode only (decisions, row 17): inputs and fire times change with harmless changes of the
code, and refusing them would end instances that replay well. An entity action may also be confirmed in the legacy
shape, by an ``EventSent`` (protocol section 11.7).

The handlers of events call ``confirm``; the fast path calls ``confirm_activity``, which must accept nothing that
``confirm`` would refuse. A refused event leaves the action struck out: the execution ends with the error, and nothing
looks at the pending actions again. Reports name kinds, sizes and paths of payloads, never their content.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from durabletask.core.actions import (
    CallEntity,
    CompleteOrchestration,
    CreateSubOrchestration,
    CreateTimer,
    OrchestratorAction,
    RequestEntityLock,
    ScheduleTask,
    SendEvent,
    SignalEntity,
    UnlockEntity,
)
from durabletask.core.errors import NonDeterminismError
from durabletask.core.history import (
    EntityLockRequested,
    EntityOperationCalled,
    EntityOperationSignaled,
    EntityUnlockSent,
    EventSent,
    HistoryEvent,
    SubOrchestrationInstanceCreated,
    TaskScheduled,
    TimerCreated,
)
from durabletask.core.instances import decode_payload

from .calls import ActivityTask
from .locations import UNKNOWN

if TYPE_CHECKING:
    from .open_work import PendingAction
    from .run import Run

__all__ = ["CONFIRMATIONS", "confirm", "confirm_activity", "unconfirmed_action"]

_INTERNAL_TIMER = -100  # some hubs record a timer of their own under this id; it confirms no action

Comparison: TypeAlias = Callable[[HistoryEvent, OrchestratorAction], bool]


def _attribute(of_event: str, of_action: str) -> Comparison:
    """Whether an attribute of the event equals one of the action."""

    def agree(event: HistoryEvent, action: OrchestratorAction) -> bool:
        return bool(getattr(event, of_event, None) == getattr(action, of_action, None))

    return agree


def _payload(event: HistoryEvent, action: OrchestratorAction, *, of_action: str = "input") -> bool:
    """Whether the payloads are the same JSON; spacing does not matter."""
    ours, theirs = getattr(event, "input", None), getattr(action, of_action, None)
    return ours == theirs or decode_payload(ours) == decode_payload(theirs)


def _always(event: HistoryEvent, action: OrchestratorAction) -> bool:
    del event, action
    return True


def _never(event: HistoryEvent, action: OrchestratorAction) -> bool:
    del event, action
    return False


def _all(*comparisons: Comparison) -> Comparison:
    def agree(event: HistoryEvent, action: OrchestratorAction) -> bool:
        return all(comparison(event, action) for comparison in comparisons)

    return agree


def _same_sent_event(event: HistoryEvent, action: OrchestratorAction) -> bool:
    sent, send = cast("EventSent", event), cast("SendEvent", action)
    return sent.instance_id == send.instance_id and sent.name.casefold() == send.name.casefold()


def _sent_data(event: HistoryEvent, action: OrchestratorAction) -> bool:
    return _payload(event, action, of_action="data")


_GIVEN_ID: Final = re.compile(r".*:([0-9a-f]{4,})", re.DOTALL)


def _same_child(event: HistoryEvent, action: OrchestratorAction) -> bool:
    """Whether the ids of children agree. An id that the engine made begins with an execution id, which a rewind changes."""
    recorded = cast("SubOrchestrationInstanceCreated", event).instance_id
    wanted = cast("CreateSubOrchestration", action).instance_id
    if recorded == wanted:
        return True
    given, own = _GIVEN_ID.fullmatch(recorded), _GIVEN_ID.fullmatch(wanted)
    return given is not None and own is not None and given[1] == own[1]


def _legacy_lock(event: HistoryEvent, action: OrchestratorAction) -> bool:
    return cast("EventSent", event).instance_id == cast("RequestEntityLock", action).lock_set[0]


_same_name = _attribute("name", "name")
_same_target = _attribute("target_instance_id", "target_instance_id")
_same_operation = _all(_same_target, _attribute("operation", "operation"), _payload)
_legacy_target = _attribute("instance_id", "target_instance_id")

_RULES: Final[dict[tuple[type, type], tuple[Comparison, Comparison]]] = {
    (TaskScheduled, ScheduleTask): (_same_name, _payload),
    (SubOrchestrationInstanceCreated, CreateSubOrchestration): (
        _same_name,
        _all(_same_child, _payload),
    ),
    (TimerCreated, CreateTimer): (_always, _attribute("fire_at", "fire_at")),
    (EventSent, SendEvent): (_same_sent_event, _sent_data),
    (EntityOperationCalled, CallEntity): (_always, _same_operation),
    (EntityOperationSignaled, SignalEntity): (_always, _same_operation),
    (EntityLockRequested, RequestEntityLock): (_always, _attribute("lock_set", "lock_set")),
    (EntityUnlockSent, UnlockEntity): (_always, _same_target),
    (EventSent, CallEntity): (_legacy_target, _always),
    (EventSent, SignalEntity): (_legacy_target, _always),
    (EventSent, UnlockEntity): (_legacy_target, _always),
    (EventSent, RequestEntityLock): (_legacy_lock, _always),
}

CONFIRMATIONS: Final = frozenset(event for event, _ in _RULES)
"""The kinds of events that confirm actions."""


def confirm(run: Run, event: HistoryEvent) -> None:
    """Strike out the action that an event confirms.

    Raises:
        NonDeterminismError: the code has made no such action.
    """
    event_id = event.event_id
    if event_id == _INTERNAL_TIMER:
        return
    pending = run.work.pending.pop(event_id, None)
    if pending is None:
        raise NonDeterminismError(_report(run, event, None))
    action = pending.action
    agree, agree_strictly = _RULES.get((type(event), type(action)), (_never, _never))
    if not agree(event, action):
        if isinstance(action, CompleteOrchestration):  # only the end of the episode takes it away
            run.work.pending[event_id] = pending
        raise NonDeterminismError(_report(run, event, pending))
    may_have_moved = run.history_is_rewound and isinstance(event, TimerCreated)
    if run.options.strict and not may_have_moved and not agree_strictly(event, action):
        raise NonDeterminismError(_report(run, event, pending))
    run.matched.append(pending)
    pending.confirmed(event)
    if run.options.observer is not None and pending.is_answered:
        run.scheduled_events[event_id] = event


def confirm_activity(run: Run, action_id: int, name: str | None) -> bool:
    """Strike out a call of an activity by id and name; ``False`` if that does not settle it.

    Histories are full of these confirmations. Strict mode and observers need ``confirm``.
    """
    pending = run.work.pending
    call = pending.pop(action_id, None)
    if type(call) is ActivityTask and call.activity_name == name:
        run.matched.append(call)
        return True
    if call is not None:
        pending[action_id] = call
    return False


def unconfirmed_action(run: Run, pending: PendingAction) -> NonDeterminismError:
    """The error for an action that the history, long past its episode, never confirmed (strict mode)."""
    return NonDeterminismError(_report(run, None, pending))


# --- the report ------------------------------------------------------------------------------------------

_EVENT_WORDS: Final[dict[type, str]] = {
    TaskScheduled: "activity {name!r}",
    SubOrchestrationInstanceCreated: "sub-orchestration {name!r} as {instance_id!r}",
    TimerCreated: "timer until {fire_at}",
    EventSent: "event {name!r} sent to {instance_id!r}",
    EntityOperationCalled: "call of {operation!r} at entity {target_instance_id!r}",
    EntityOperationSignaled: "signal {operation!r} to entity {target_instance_id!r}",
    EntityLockRequested: "lock of {lock_set}",
    EntityUnlockSent: "unlock of {target_instance_id!r}",
}
_ACTION_WORDS: Final[dict[type, str]] = {
    ScheduleTask: _EVENT_WORDS[TaskScheduled],
    CreateSubOrchestration: _EVENT_WORDS[SubOrchestrationInstanceCreated],
    CreateTimer: _EVENT_WORDS[TimerCreated],
    SendEvent: _EVENT_WORDS[EventSent],
    CallEntity: _EVENT_WORDS[EntityOperationCalled],
    SignalEntity: _EVENT_WORDS[EntityOperationSignaled],
    RequestEntityLock: _EVENT_WORDS[EntityLockRequested],
    UnlockEntity: _EVENT_WORDS[EntityUnlockSent],
    CompleteOrchestration: "completion with status {status}",
}
_LONGEST_STEP: Final = 40  # of a path
_CAUSES: Final = (
    "Likely causes: the orchestrator's code was changed while this instance was running; it branches on the wall "
    "clock, random numbers, the environment or mutable globals; it iterates over a set; or it reads data that only an "
    "activity may read. Deploy changed orchestrators under a new name or version, or let old instances finish first."
)


def _words(shown: HistoryEvent | OrchestratorAction, *, with_payload: bool) -> str:
    words = _EVENT_WORDS.get(type(shown)) or _ACTION_WORDS.get(type(shown)) or type(shown).__name__
    text = words.format(**{name: getattr(shown, name) for name in shown.__struct_fields__})
    payload = getattr(shown, "input", None) or getattr(shown, "data", None)
    if with_payload and payload:
        text += f" with {_kind_of(decode_payload(payload))} as input"
    return text


def _kind_of(value: object) -> str:
    """What a payload is; its content stays out of reports, which end up in logs and failures."""
    if isinstance(value, dict):
        return f"an object of {len(value)} fields"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    return "null" if value is None else "a boolean" if isinstance(value, bool) else "a number"


def _difference(ours: object, theirs: object, path: str = "") -> str:
    """The path to the first part in which two JSON values differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in [*ours, *theirs]:
            if key not in ours or key not in theirs or ours[key] != theirs[key]:
                return _difference(ours.get(key), theirs.get(key), f"{path}.{key[:_LONGEST_STEP]}")
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            if one != other:
                return _difference(one, other, f"{path}[{index}]")
    return path.lstrip(".") or "the top"


def _report(run: Run, event: HistoryEvent | None, pending: PendingAction | None) -> str:
    """History and code side by side, with the place in the code."""
    in_history = "nothing" if event is None else _words(event, with_payload=run.options.strict)
    in_code, place = "nothing", ""
    if pending is not None:
        in_code = _words(pending.action, with_payload=run.options.strict)
        place = f" at {pending.location}" if pending.location != UNKNOWN else ""
    number = event.event_id if event is not None else cast("PendingAction", pending).action.id
    name = run.execution.name or "?"
    lines = [
        f"Orchestrator {name!r}, instance {run.execution.instance_id!r}: the code took another path than its history.",
        f"Event id {number}: expected (history): {in_history}; found (code): {in_code}{place}.",
    ]
    ours, theirs = (
        getattr(event, "input", None),
        getattr(pending.action if pending is not None else None, "input", None),
    )
    if run.options.strict and ours and theirs and ours != theirs:
        where = _difference(decode_payload(ours), decode_payload(theirs))
        lines.append(f"The inputs differ at: {where}. Their values are not shown.")
    if run.matched:
        lines.append("The last actions that matched:")
        lines += [
            f"  {matched.action.id}: {_words(matched.action, with_payload=False)} at {matched.location}"
            for matched in run.matched
        ]
    lines.append(_CAUSES)
    return "\n".join(lines)
