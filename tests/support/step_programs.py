"""Random programs of the step notation, as hypothesis strategies."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

__all__ = ["EVENT_NAMES", "programs"]

Step = dict[str, Any]

EVENT_NAMES = ("x", "Go")

_NAMES = st.sampled_from(["A", "B"])
_ENTITIES = ["@counter@a", "@Counter@b", "@other@a"]
_RETRIES = st.fixed_dictionaries(
    {
        "firstDelaySeconds": st.sampled_from([1, 10]),
        "maxAttempts": st.integers(1, 3),
        "coefficient": st.sampled_from([1, 2]),
    },
    optional={"maxDelaySeconds": st.just(15)},
)
_CAUGHT = "caught"


class _Writer:
    """Writes one program. Variables are numbered, so that no two steps share one."""

    def __init__(self, draw: st.DrawFn, *, size: int) -> None:
        self._draw = draw
        self._budget = size
        self._next = 0

    def _variable(self, prefix: str) -> str:
        self._next += 1
        return f"{prefix}{self._next}"

    def _value(self, values: list[str]) -> Any:
        choices: list[Any] = [None, 1, "text", {"input": True}, {"k": [1, 2]}]
        choices += [{"var": name} for name in values[-3:]]
        return self._draw(st.sampled_from(choices))

    def program(self) -> list[Step]:
        """A whole program: a block and a return of what it knows by then."""
        tasks: list[str] = []
        values: list[str] = []
        block = self.block(tasks, values, depth=0, section=())
        return [*block, {"do": "return", "value": [{"var": name} for name in values]}]

    def block(
        self, tasks: list[str], values: list[str], *, depth: int, section: tuple[str, ...]
    ) -> list[Step]:
        """Steps that may use the tasks and values that certainly exist where they run."""
        steps: list[Step] = []
        for _ in range(self._draw(st.integers(1, 6 if depth == 0 else 3))):
            if self._budget <= 0:
                break
            self._budget -= 1
            steps.append(self._step(tasks, values, depth=depth, section=section))
        return steps

    def _step(self, tasks: list[str], values: list[str], *, depth: int, section: tuple[str, ...]) -> Step:
        kinds = ["activity", "activity", "activity", "sub", "timer", "event", "callEntity", "signalEntity"]
        kinds += ["sendEvent", "customStatus", "newUuid", "now"]
        if tasks:
            kinds += ["await", "await", "awaitAll", "awaitAll", "awaitAny", "group", "cancel"]
        if depth < 2:
            kinds += ["try", "if"] + ([] if section else ["lock"])
        if depth == 0:
            kinds += ["raise", "continueAsNew"]
        kind = self._draw(st.sampled_from(kinds))
        if kind in ("try", "if", "lock"):
            return self._nested(kind, tasks, values, depth=depth, section=section)
        if kind in ("await", "awaitAll", "awaitAny", "group", "cancel"):
            return self._waiting(kind, tasks, values)
        if kind in ("activity", "sub", "timer", "event", "callEntity"):
            return self._scheduling(kind, tasks, values, section)
        return self._one_way(kind, values, section)

    def _scheduling(self, kind: str, tasks: list[str], values: list[str], section: tuple[str, ...]) -> Step:
        step: Step = {"do": kind}
        if kind == "timer":
            step["delaySeconds"] = self._draw(st.sampled_from([0, 1, 5, 100]))
        elif kind == "event":
            step["name"] = self._draw(st.sampled_from([*EVENT_NAMES, "X"]))
        elif kind == "callEntity":
            step |= {"entity": self._draw(st.sampled_from([*section, *_ENTITIES])), "operation": "op"}
            step["input"] = self._value(values)
        else:
            step |= {"name": self._draw(_NAMES), "input": self._value(values)}
            if self._draw(st.booleans()):
                step["retry"] = self._draw(_RETRIES)
        if self._draw(st.booleans()):
            step["task"] = self._variable("t")
            tasks.append(step["task"])
        else:
            step["result"] = self._variable("v")
            values.append(step["result"])
        return step

    def _waiting(self, kind: str, tasks: list[str], values: list[str]) -> Step:
        some = st.lists(st.sampled_from(tasks), min_size=1, max_size=3, unique=True)
        if kind == "cancel":
            return {"do": "cancel", "task": self._draw(st.sampled_from(tasks))}
        if kind == "group":
            step = {"do": "group", "kind": self._draw(st.sampled_from(["all", "any"]))}
            step |= {"tasks": self._draw(some), "task": self._variable("g")}
            tasks.append(step["task"])
            return step
        result = self._variable("v")
        values.append(result)
        if kind == "await":
            return {"do": "await", "task": self._draw(st.sampled_from(tasks)), "result": result}
        member = "winner" if kind == "awaitAny" else "result"
        return {"do": kind, "tasks": self._draw(some), member: result}

    def _one_way(self, kind: str, values: list[str], section: tuple[str, ...]) -> Step:
        if kind == "signalEntity":
            entity = self._draw(st.sampled_from([*section, *_ENTITIES]))
            return {"do": kind, "entity": entity, "operation": "op", "input": self._value(values)}
        if kind == "sendEvent":
            return {"do": kind, "instanceId": "peer", "name": "Hello", "data": self._value(values)}
        if kind == "customStatus":
            return {"do": kind, "value": self._value(values)}
        if kind == "raise":
            return {"do": kind, "message": "on purpose"}
        if kind == "continueAsNew":
            return {"do": kind, "input": self._value(values), "keepEvents": self._draw(st.booleans())}
        result = self._variable("v")
        values.append(result)
        return {"do": kind, "result": result}

    def _nested(
        self, kind: str, tasks: list[str], values: list[str], *, depth: int, section: tuple[str, ...]
    ) -> Step:
        # What a block makes may not exist after it: it gets copies.
        inner: dict[str, Any] = {"depth": depth + 1, "section": section}
        if kind == "lock":
            entities = self._draw(st.lists(st.sampled_from(_ENTITIES), min_size=1, max_size=3))
            inner["section"] = tuple(entities)
            return {"do": kind, "entities": entities, "body": self.block(tasks, values, **inner)}
        if kind == "try":
            body = self.block(list(tasks), list(values), **inner)
            catch = self.block(list(tasks), [*values, _CAUGHT], **inner)
            return {"do": kind, "body": body, "catch": catch, "error": _CAUGHT}
        equals = [self._value(values), self._value(values)]
        return {
            "do": kind,
            "equals": equals,
            "then": self.block(list(tasks), list(values), **inner),
            "else": self.block(list(tasks), list(values), **inner),
        }


@st.composite
def programs(draw: st.DrawFn, *, size: int = 12) -> list[Step]:
    """A program of at most ``size`` steps."""
    return _Writer(draw, size=size).program()
