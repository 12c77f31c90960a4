"""The context that orchestrators get during replay: it turns calls into actions and tasks."""

# ruff: noqa: A002 - "input" is the protocol's word; the abstract class documents the methods

from __future__ import annotations

import logging
from _thread import get_ident
from collections.abc import Mapping
from datetime import datetime, timedelta
from sys import _getframe
from types import CodeType, MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar, cast

from durabletask.core.actions import (
    CreateSubOrchestration,
    SendEvent,
)
from durabletask.core.context import LoggerT, OrchestrationContext, seeded_random
from durabletask.core.errors import SerializationError
from durabletask.core.logs import get_logger
from durabletask.core.tasks import Awaitables, Task

from . import misuse
from .annotations import declared_result
from .calls import ActivityTask, ChildTask
from .entity_actions import EntityActions
from .events import EventWait
from .groups import Groups
from .locations import here
from .loggers import replay_safe
from .open_work import Restart
from .timers import Timer

if TYPE_CHECKING:
    import random

    from durabletask.core.retry import RetryPolicy

    from .sink import Sink

__all__ = ["ReplayContext"]

T = TypeVar("T")
_logger = get_logger("durabletask.orchestration")
_NO_TAGS: Final[Mapping[str, str]] = MappingProxyType({})


class ReplayContext(EntityActions, OrchestrationContext):
    """See ``OrchestrationContext``. Signatures are those of its overloads taken together, hence the ignores."""

    __slots__ = ("_logger", "_random")

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self._random: random.Random | None = None
        self._logger: logging.Logger | None = None

    # --- who and when ------------------------------------------------------------------------------------

    @property
    def instance_id(self) -> str:
        return self._sink.execution.instance_id

    @property
    def execution_id(self) -> str | None:
        return self._sink.execution.execution_id

    @property
    def parent_instance_id(self) -> str | None:
        started = self._sink.execution.started
        return started.parent.instance_id if started is not None and started.parent is not None else None

    @property
    def name(self) -> str:
        started = self._sink.execution.started
        return started.name if started is not None else ""

    @property
    def version(self) -> str | None:
        return self._sink.execution.version

    @property
    def tags(self) -> Mapping[str, str]:
        started = self._sink.execution.started
        return (started.tags if started is not None else None) or _NO_TAGS

    @property
    def is_replaying(self) -> bool:
        return self._sink.execution.is_replaying

    @property
    def current_utc_datetime(self) -> datetime:
        return self._sink.execution.clock

    def new_uuid(self) -> str:
        return self._sink.new_uuid()

    @property
    def random(self) -> random.Random:
        if self._random is None:
            self._random = seeded_random(self._sink.execution.seed())
        return self._random

    @property
    def logger(self) -> logging.Logger:
        if self._logger is None:
            self._logger = self.create_replay_safe_logger(logging.getLogger("durabletask.orchestration"))
        return self._logger

    def create_replay_safe_logger(self, logger: LoggerT) -> LoggerT:
        return cast("LoggerT", replay_safe(self._sink.execution, logger))

    # --- calls -------------------------------------------------------------------------------------------

    def call_activity(  # type: ignore[override]
        self,
        activity: object,
        input: object = None,
        *,
        return_type: object = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[object]:
        sink = self._sink
        if sink.thread != get_ident():
            sink.check_open("call_activity")
        frame = _getframe(1)
        if type(activity) is not str:
            return_type = return_type or declared_result(activity)
            activity = misuse.callee_name(activity, "call_activity")
        elif not activity:
            misuse.callee_name(activity, "call_activity")
        if version is not None or tags is not None or retry_policy is not None:
            version, tags = misuse.check_options("call_activity", version, tags, retry_policy)
        if version is None:
            version = sink.execution.version
        try:
            payload = None if input is None else sink.converter.serialize(input)
        except SerializationError as error:
            raise misuse.unserializable(
                input, f"The input of activity {activity!r}, called at {here()},", error
            ) from error
        return ActivityTask(
            sink,
            activity,
            version or None,
            payload,
            tags,
            return_type,
            retry_policy,
            frame.f_code,
            frame.f_lasti,
        )

    def call_sub_orchestrator(  # type: ignore[override]
        self,
        orchestrator: object,
        input: object = None,
        *,
        return_type: object = None,
        instance_id: str | None = None,
        retry_policy: RetryPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Task[object]:
        sink = self._sink
        sink.check_open("call_sub_orchestrator")
        code, lasti = _place()
        if sink.section is not None:
            sink.section.check_child()
        if not isinstance(orchestrator, str):
            return_type = return_type or declared_result(orchestrator)
        name = misuse.callee_name(orchestrator, "call_sub_orchestrator")
        version, tags = misuse.check_options("call_sub_orchestrator", version, tags, retry_policy)
        if instance_id is not None:
            instance_id = misuse.check_text(instance_id, "The instance id of a sub-orchestration")
        if not version and sink.options.versioning is not None:  # an empty version is none
            version = sink.options.versioning.default_version
        payload = misuse.encode(sink.converter, input, f"The input of sub-orchestration {name!r}")
        action_id = sink.work.next_id()
        action = CreateSubOrchestration(
            id=action_id,
            name=name,
            instance_id=instance_id
            or f"{sink.execution.execution_id or sink.execution.instance_id}:{action_id:04x}",
            version=version or None,
            input=payload,
            tags=tags,
        )
        return ChildTask(sink, action, return_type, retry_policy, code, lasti)

    # --- time and events ---------------------------------------------------------------------------------

    def create_timer(self, fire_at: datetime | timedelta | float) -> Task[None]:
        sink = self._sink
        sink.check_open("create_timer")
        return Timer(sink, sink.execution.time_of(fire_at), *_place())

    def wait_for_external_event(  # type: ignore[override]
        self, name: str, data_type: object = None, timeout: timedelta | float | None = None
    ) -> Task[object]:
        sink = self._sink
        sink.check_open("wait_for_external_event")
        name = misuse.check_text(name, "The name of an event", may_be_empty=True)
        wait = EventWait(sink, name, data_type, *_place())
        if not sink.work.mailbox.enter(wait) and timeout is not None:
            wait.limit_to(sink.execution.time_of(timeout))
        return wait

    def send_event(self, instance_id: str, name: str, data: object = None) -> None:
        sink = self._sink
        sink.check_open("send_event")
        instance_id = misuse.check_text(instance_id, "The instance id to which an event is sent")
        if instance_id.startswith("@"):
            raise ValueError(
                f"{instance_id!r} is the id of an entity, and entities take no events: use signal_entity."
            )
        name = misuse.check_text(name, "The name of an event")
        payload = misuse.encode(sink.converter, data, f"The data of event {name!r}")
        action = SendEvent(id=sink.work.next_id(), instance_id=instance_id, name=name, data=payload)
        sink.send(action, *_place())

    # --- the instance itself -----------------------------------------------------------------------------

    def set_custom_status(self, custom_status: object) -> None:
        sink = self._sink
        sink.check_open("set_custom_status")
        sink.work.custom_status = misuse.encode(sink.converter, custom_status, "The custom status")

    def continue_as_new(
        self, new_input: object = None, *, save_events: bool = True, new_version: str | None = None
    ) -> None:
        sink = self._sink
        sink.check_open("continue_as_new")
        new_version, _ = misuse.check_options("continue_as_new", new_version)
        payload = misuse.encode(sink.converter, new_input, "The new input of continue_as_new")
        if sink.work.restart is None:
            sink.work.restart = Restart(payload, save_events, new_version)
            sink.release_section()
        elif not sink.execution.is_replaying:
            _logger.warning(
                "Instance %r: continue_as_new was called again at %s; the first call stands.",
                sink.execution.instance_id,
                here(),
            )

    # --- groups ------------------------------------------------------------------------------------------

    def task_all(  # type: ignore[override]
        self,
        tasks: object,
        *more: object,
        return_exceptions: bool = False,
        fail_fast: bool = True,
        limit: int | None = None,
    ) -> Task[list[object]]:
        return Groups(self._sink).make_all(
            cast("Awaitables[object]", (tasks, *more) if more else tasks),
            return_exceptions=return_exceptions,
            fail_fast=fail_fast,
            limit=limit,
            as_tuple=bool(more),
        )

    def task_any(self, tasks: Awaitables[T]) -> Task[Task[T]]:
        return Groups(self._sink).make_any(tasks)  # type: ignore[return-value]


def _place() -> tuple[CodeType, int]:
    """The line of user code that called the context's method."""
    frame = _getframe(2)
    return frame.f_code, frame.f_lasti
