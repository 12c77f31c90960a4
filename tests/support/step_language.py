"""The neutral step notation of the vectors, run through the public ``OrchestrationContext``.

``async_orchestrator(steps)`` and ``generator_orchestrator(steps)`` make orchestrators of the two authoring
forms out of one program: the interpreter itself is a generator that yields whatever it waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from durabletask.core.context import OrchestrationContext
from durabletask.core.entities import EntityId
from durabletask.core.errors import TaskFailedError
from durabletask.core.retry import RetryPolicy
from durabletask.core.tasks import Task
from proto_json import time_from_json

__all__ = ["FORMS", "Steps", "async_orchestrator", "generator_orchestrator"]

Steps = Sequence[Mapping[str, Any]]
Waits = Generator[Any, Any, bool]

_RETURNED = True
_GOES_ON = False


class Interpreter:
    """One run of one program. Methods named ``_do_<step>`` are the table of steps.

    ``fail_fast`` is what ``awaitAll`` and groups of kind ``all`` ask of ``task_all``: the notation waits
    for every member (decisions, row 1).
    """

    def __init__(
        self, context: OrchestrationContext, input_value: object, *, fail_fast: bool = False
    ) -> None:
        self._context = context
        self._input = input_value
        self._fail_fast = fail_fast
        self._variables: dict[str, Any] = {}
        self.result: object = None

    # --- values -----------------------------------------------------------------------------------------

    def value(self, expression: Any) -> Any:
        """Evaluate a value of the notation."""
        if isinstance(expression, list):
            return [self.value(item) for item in expression]
        if isinstance(expression, dict) and len(expression) == 1:
            (operator, operand), *_ = expression.items()
            evaluate = self._OPERATORS.get(operator)
            if evaluate is not None:
                return evaluate(self, operand)
        return expression

    _OPERATORS: Mapping[str, Callable[[Interpreter, Any], Any]] = {
        "var": lambda self, name: self._variables[name],
        "input": lambda self, _: self._input,
        "concat": lambda self, items: "".join(str(self.value(item)) for item in items),
        "sum": lambda self, items: sum(self.value(item) for item in items),
        "obj": lambda self, members: {name: self.value(member) for name, member in members.items()},
    }

    def _member(self, step: Mapping[str, Any], name: str) -> Any:
        return self.value(step[name]) if name in step else None

    # --- running ----------------------------------------------------------------------------------------

    def run(self, steps: Steps) -> Waits:
        """Run a block; true when the program returned."""
        for step in steps:
            if (yield from getattr(self, f"_do_{step['do']}")(step)):
                return _RETURNED
        return _GOES_ON

    def _hand_out(self, step: Mapping[str, Any], task: Task[Any]) -> Waits:
        """Store the handle and go on, or wait at once."""
        if "task" in step:
            self._variables[step["task"]] = task
        else:
            value = yield task
            if "result" in step:
                self._variables[step["result"]] = value
        return _GOES_ON

    def _name_of(self, value: Any, among: Sequence[str] | None = None) -> Any:
        """A task handle is shown as the name of its variable; any other value as it is."""
        if isinstance(value, list):
            return [self._name_of(item, among) for item in value]
        if isinstance(value, Task):
            for name in self._variables if among is None else among:
                if self._variables[name] is value:
                    return name
        return value

    # --- the five scheduling steps ------------------------------------------------------------------------

    def _do_activity(self, step: Mapping[str, Any]) -> Waits:
        options = _options(step, retry="retry_policy", tags="tags", version="version")
        task: Task[Any] = self._context.call_activity(step["name"], self._member(step, "input"), **options)
        return (yield from self._hand_out(step, task))

    def _do_sub(self, step: Mapping[str, Any]) -> Waits:
        options = _options(
            step, retry="retry_policy", tags="tags", version="version", instanceId="instance_id"
        )
        task: Task[Any] = self._context.call_sub_orchestrator(
            step["name"], self._member(step, "input"), **options
        )
        return (yield from self._hand_out(step, task))

    def _do_timer(self, step: Mapping[str, Any]) -> Waits:
        if "fireAt" in step:
            task = self._context.create_timer(time_from_json(self._member(step, "fireAt")))
        else:
            task = self._context.create_timer(timedelta(seconds=self._member(step, "delaySeconds")))
        return (yield from self._hand_out(step, task))

    def _do_event(self, step: Mapping[str, Any]) -> Waits:
        return (yield from self._hand_out(step, self._context.wait_for_external_event(step["name"])))

    def _do_callEntity(self, step: Mapping[str, Any]) -> Waits:
        entity = EntityId.parse(step["entity"])
        task: Task[Any] = self._context.call_entity(entity, step["operation"], self._member(step, "input"))
        return (yield from self._hand_out(step, task))

    # --- waiting ------------------------------------------------------------------------------------------

    def _members(self, step: Mapping[str, Any]) -> list[Task[Any]]:
        return [self._variables[name] for name in step["tasks"]]

    def _do_await(self, step: Mapping[str, Any]) -> Waits:
        value = yield self._variables[step["task"]]
        if "result" in step:
            self._variables[step["result"]] = self._name_of(value)
        return _GOES_ON

    def _do_awaitAll(self, step: Mapping[str, Any]) -> Waits:
        values = yield self._context.task_all(self._members(step), fail_fast=self._fail_fast)
        if "result" in step:
            self._variables[step["result"]] = self._name_of(list(values))
        return _GOES_ON

    def _do_awaitAny(self, step: Mapping[str, Any]) -> Waits:
        winner = yield self._context.task_any(self._members(step))
        if "winner" in step:
            self._variables[step["winner"]] = self._name_of(winner, step["tasks"])
        return _GOES_ON

    def _do_group(self, step: Mapping[str, Any]) -> Waits:
        yield from ()
        members = self._members(step)
        if step["kind"] == "all":
            self._variables[step["task"]] = self._context.task_all(members, fail_fast=self._fail_fast)
        else:
            self._variables[step["task"]] = self._context.task_any(members)
        return _GOES_ON

    def _do_cancel(self, step: Mapping[str, Any]) -> Waits:
        yield from ()
        self._variables[step["task"]].cancel()
        return _GOES_ON

    # --- one way ------------------------------------------------------------------------------------------

    def _do_signalEntity(self, step: Mapping[str, Any]) -> Waits:
        yield from ()
        options = {"at": time_from_json(self._member(step, "at"))} if step.get("at") else {}
        self._context.signal_entity(
            EntityId.parse(step["entity"]), step["operation"], self._member(step, "input"), **options
        )
        return _GOES_ON

    def _do_sendEvent(self, step: Mapping[str, Any]) -> Waits:
        yield from ()
        self._context.send_event(step["instanceId"], step["name"], self._member(step, "data"))
        return _GOES_ON

    def _do_lock(self, step: Mapping[str, Any]) -> Waits:
        section = yield self._context.lock_entities([EntityId.parse(text) for text in step["entities"]])
        with section:
            return (yield from self.run(step["body"]))

    def _do_customStatus(self, step: Mapping[str, Any]) -> Waits:
        yield from ()
        self._context.set_custom_status(self._member(step, "value"))
        return _GOES_ON

    def _do_continueAsNew(self, step: Mapping[str, Any]) -> Waits:
        yield from ()
        options = _options(step, newVersion="new_version")
        self._context.continue_as_new(
            self._member(step, "input"), save_events=bool(step.get("keepEvents", False)), **options
        )
        return _GOES_ON

    # --- values of the context ------------------------------------------------------------------------------

    def _do_newUuid(self, step: Mapping[str, Any]) -> Waits:
        yield from ()
        value = self._context.new_uuid()
        if "result" in step:
            self._variables[step["result"]] = value
        return _GOES_ON

    def _do_now(self, step: Mapping[str, Any]) -> Waits:
        yield from ()
        now = self._context.current_utc_datetime
        self._variables[step["result"]] = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return _GOES_ON

    # --- control flow ---------------------------------------------------------------------------------------

    def _do_if(self, step: Mapping[str, Any]) -> Waits:
        left, right = (self.value(side) for side in step["equals"])
        return (yield from self.run(step["then"] if left == right else step.get("else", [])))

    def _do_try(self, step: Mapping[str, Any]) -> Waits:
        try:
            return (yield from self.run(step["body"]))
        except TaskFailedError as error:
            caught = {"type": error.details.error_type, "message": error.details.message}
        if "error" in step:
            self._variables[step["error"]] = caught
        return (yield from self.run(step["catch"]))

    def _do_raise(self, step: Mapping[str, Any]) -> Waits:
        yield from ()
        raise ValueError(self._member(step, "message"))

    def _do_return(self, step: Mapping[str, Any]) -> Waits:
        yield from ()
        self.result = self._member(step, "value")
        return _RETURNED


def _retry_policy(retry: Mapping[str, Any]) -> RetryPolicy:
    longest = retry.get("maxDelaySeconds")
    return RetryPolicy(
        first_retry_interval=timedelta(seconds=retry["firstDelaySeconds"]),
        max_number_of_attempts=retry["maxAttempts"],
        backoff_coefficient=retry.get("coefficient", 1),
        max_retry_interval=None if longest is None else timedelta(seconds=longest),
    )


def _options(step: Mapping[str, Any], **names: str) -> dict[str, Any]:
    """The members of a step that are given, under the names of our keyword arguments."""
    options: dict[str, Any] = {}
    for member, option in names.items():
        if step.get(member) is not None:
            options[option] = _retry_policy(step[member]) if member == "retry" else step[member]
    return options


def generator_orchestrator(steps: Steps, *, fail_fast: bool = False) -> Callable[..., Any]:
    """The program as a generator orchestrator."""

    def orchestrator(context: OrchestrationContext, input: object = None) -> Generator[Any, Any, object]:  # noqa: A002
        interpreter = Interpreter(context, input, fail_fast=fail_fast)
        yield from interpreter.run(steps)
        return interpreter.result

    return orchestrator


def async_orchestrator(steps: Steps, *, fail_fast: bool = False) -> Callable[..., Any]:
    """The program as an ``async def`` orchestrator."""

    async def orchestrator(context: OrchestrationContext, input: object = None) -> object:  # noqa: A002
        interpreter = Interpreter(context, input, fail_fast=fail_fast)
        waits = interpreter.run(steps)
        send: Callable[[Any], Any] = waits.send
        given: Any = None
        try:
            while True:
                try:
                    awaited = send(given)
                except StopIteration:
                    return interpreter.result
                try:
                    send, given = waits.send, await awaited
                except Exception as error:
                    send, given = waits.throw, error
        finally:
            waits.close()

    return orchestrator


FORMS: Mapping[str, Callable[..., Callable[..., Any]]] = {
    "async": async_orchestrator,
    "generator": generator_orchestrator,
}
"""The authoring forms through which every program is run."""
