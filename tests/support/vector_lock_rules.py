"""Row 12 of the decisions: every locked entity is unlocked, which moves the ids of what follows."""

from __future__ import annotations

from vector_episodes import CONFIRMATIONS, Episode, Json, Vector
from vector_programs import kind_of, made_by, walk

__all__ = ["every_locked_entity_is_unlocked"]


def every_locked_entity_is_unlocked(vector: Vector, episode: Episode) -> None:
    """The peer forgets the entities with a call in flight, and unlocks the others in the order of their last calls."""
    requests = [event for event in episode.history if "entityLockRequested" in event]
    for request in requests:
        _unlock_all(vector, episode, request)


def _unlock_all(vector: Vector, episode: Episode, request: Json) -> None:
    lock_set = request["entityLockRequested"].get("lockSet", [])
    section = request["entityLockRequested"].get("criticalSectionId", "")
    shown = [item for item in _items(episode) if _unlock_in(item).get("criticalSectionId") == section]
    numbers = sorted({_number(item) for item in shown})
    targets = {_unlock_in(item).get("targetInstanceId") for item in shown}
    if numbers and (targets.isdisjoint(lock_set) or numbers[-1] - numbers[0] >= len(numbers)):
        return  # the program locks something else than the history
    first = numbers[0] if numbers else _end_of_section(vector, episode, request)
    if first is None or any(_releases(event, section) for event in episode.history):
        return
    surplus = numbers[len(lock_set) :]  # a call made before the section, answered inside it
    for events in (episode.past, episode.new, episode.actions):
        events[:] = [item for item in events if not (_unlock_in(item) and _number(item) in surplus)]
    if surplus:
        _shift(vector, episode, surplus[-1] + 1, -len(surplus))
    shown = [item for item in shown if _number(item) not in surplus]
    numbers = numbers[: len(lock_set)]
    missing = len(lock_set) - len(numbers)
    confirmed = [item for item in shown if "eventId" in item]
    at = numbers[-1] + 1 if numbers else first
    later = [_number(item) for item in _items(episode) if _number(item) >= at]
    is_forgotten = missing > 0 and (not later or min(later) < at + missing)
    if is_forgotten:
        _shift(vector, episode, at, missing)
    unlocks = {first + offset: entity for offset, entity in enumerate(lock_set)}
    for item in shown:
        _unlock_in(item)["targetInstanceId"] = unlocks[_number(item)]
    for number in sorted(unlocks.keys() - set(numbers)):
        body = {
            "criticalSectionId": section,
            "parentInstanceId": vector.instance_id,
            "targetInstanceId": unlocks[number],
        }
        message = {"entityUnlockSent": body}
        if confirmed and is_forgotten:  # the hub would have confirmed it with the others
            event = {"eventId": number, "timestamp": request["timestamp"], **message}
            _insert_after(episode, confirmed[-1], event)
            confirmed.append(event)
        else:
            _insert(episode, number, message, request["timestamp"])


def _items(episode: Episode) -> list[Json]:
    """Everything with an id: confirmations, then expected actions."""
    return [event for event in episode.history if kind_of(event) in CONFIRMATIONS] + episode.actions


def _number(item: Json) -> int:
    number: int = item["eventId"] if "eventId" in item else item["id"]
    return number


def _unlock_in(item: Json) -> Json:
    found: Json = (
        item.get("entityUnlockSent") or item.get("sendEntityMessage", {}).get("entityUnlockSent") or {}
    )
    return found


def _releases(event: Json, section: str) -> bool:
    """Whether an event is an unlock in the legacy shape (protocol section 11.7)."""
    sent = event.get("eventSent", {})
    return sent.get("name") == "release" and section in sent.get("input", "")


def _end_of_section(vector: Vector, episode: Episode, request: Json) -> int | None:
    """The first id after a section that has ended although the peer unlocked nothing."""
    program = list(walk(vector.program(episode)))
    pairs = made_by(vector.program(episode), episode.history + episode.actions)
    lock = next((step for step, made in pairs if made.id == request["eventId"]), None)
    if lock is None or not any("entityLockGranted" in event for event in episode.history):
        return None
    inside = {id(step) for step in walk(lock["body"])} | {id(lock)}
    last = max(made.id for step, made in pairs if id(step) in inside)
    start = next(i for i, step in enumerate(program) if step is lock)
    after = {id(step) for step in program[start:]} - inside
    has_ended = any(id(step) in after for step, _ in pairs) or any(
        "completeOrchestration" in action for action in episode.actions
    )
    return (
        min((_number(item) for item in _items(episode) if _number(item) > last), default=None)
        if has_ended
        else None
    )


def _shift(vector: Vector, episode: Episode, first: int, by: int) -> None:
    """Make room for ids, or close a gap: everything from ``first`` on is ``by`` higher."""
    for event in episode.history:
        body = event[kind_of(event)]
        for member in ("taskScheduledId", "timerId"):
            if body.get(member, -1) >= first:
                body[member] += by
    for item in _items(episode):
        old = _number(item)
        if old >= first:
            item["eventId" if "eventId" in item else "id"] = old + by
            body = item[kind_of(item)]
            if body.get("instanceId") == f"{vector.instance_id}:{old:04x}":
                body["instanceId"] = f"{vector.instance_id}:{old + by:04x}"


def _insert_after(episode: Episode, known: Json, event: Json) -> None:
    for events in (episode.past, episode.new):
        for index, found in enumerate(events):
            if found is known:
                events.insert(index + 1, event)
                return


def _insert(episode: Episode, number: int, message: Json, timestamp: str) -> None:
    """Put an entity message where its id belongs: into the history if what follows at once is there."""
    for events in (episode.past, episode.new):
        for index, event in enumerate(events):
            if kind_of(event) in CONFIRMATIONS and event["eventId"] == number + 1:
                events.insert(index, {"eventId": number, "timestamp": timestamp, **message})
                return
    place = next(
        (i for i, action in enumerate(episode.actions) if action["id"] > number), len(episode.actions)
    )
    episode.actions.insert(place, {"id": number, "sendEntityMessage": message})
