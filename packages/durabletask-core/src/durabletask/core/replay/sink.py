"""The sink: all that contexts and tasks may do to the engine.

A context and its tasks hold one sink, and the sink is the only part of the engine that they hold. It numbers
actions, takes them into the open work, encodes and decodes payloads, and queues fibers.

When an orchestration ends, ``seal`` puts fresh tables in the place of those that are sent to the hub. Code that is
being closed may go on to call the context, in a ``finally`` block or after it has caught ``GeneratorExit``. It gets
what it asks for, its actions go to tables that nothing reads, and at its next wait it can be closed again. Refusing
such calls instead would let code that catches every exception run in a loop without a wait, where nothing can
stop it.

Code that does not end after many attempts is kept until its session is collected. Then Python closes it once more, in
any thread; ``is_endless`` lets it go on to a wait there too.

Only the engine sets ``thread``. While it is 0, or another thread's, contexts refuse to schedule.
"""

from __future__ import annotations

import uuid
from _thread import get_ident
from types import CodeType
from typing import TYPE_CHECKING, Final

from durabletask.core.actions import OrchestratorAction
from durabletask.core.errors import OrchestratorMisuseError, SchedulingError

from .execution import Execution
from .locations import here
from .observed import Observable, Unobserved
from .open_work import OneWay, OpenWork
from .scheduler import Failing, Scheduler
from .sections import CriticalSection

if TYPE_CHECKING:
    from durabletask.core.serialization import DataConverter

    from .options import ReplayOptions

__all__ = ["Sink"]

# Namespace of deterministic UUIDs, the same in every SDK of the protocol (protocol section 8.12).
_UUID_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_OID, "9e952958-5e33-4daf-827f-2fa12937b875")


class Sink:
    """See the module."""

    __slots__ = (
        "_failures",
        "_uuids",
        "converter",
        "execution",
        "groups",
        "is_endless",
        "misuse",
        "options",
        "scheduler",
        "section",
        "thread",
        "unseen",
        "work",
    )

    def __init__(
        self, execution: Execution, options: ReplayOptions, work: OpenWork, scheduler: Scheduler
    ) -> None:
        self.execution: Execution = execution
        self.options: ReplayOptions = options
        self.converter: DataConverter = options.converter
        self.work: OpenWork = work
        self.scheduler: Scheduler = scheduler
        self.section: CriticalSection | None = None
        self.thread: int = 0  # the thread that may schedule now; no thread has the id 0
        self.unseen: Unobserved[Observable] = Unobserved(256)  # tasks that ended before they were looked at
        self.groups: Unobserved[Observable] = Unobserved(64)
        self.is_endless: bool = False  # code that refuses to end may go on to its next wait, in any thread
        self.misuse: OrchestratorMisuseError | None = None  # see ``fail_for``
        self._failures = 0
        self._uuids = 0

    def seal(self) -> None:
        """Record nothing from here on."""
        self.work = OpenWork()
        self.section = None

    # --- actions -----------------------------------------------------------------------------------------

    def check_open(self, what: str) -> None:
        """Refuse to schedule from another thread, between episodes, and after completion."""
        if self.thread == get_ident() or self.is_endless:
            return
        where = here()
        if self.execution.status is not None:
            reason = (
                "after the orchestration had completed. Nothing that follows a completion can have an effect"
            )
        elif self.thread:
            reason = "from another thread. Only the orchestrator's own code may schedule; move threaded work into an activity"
        else:
            reason = (
                "while the orchestrator was not running. Do not hand its context to asyncio tasks, threads or other "
                "orchestrations"
            )
        raise SchedulingError(f"{what} was used at {where} {reason}.")

    def fail_for(self, error: OrchestratorMisuseError) -> None:
        """Fail the execution for a mistake of the running code, even if the code catches the error.

        The caller raises the error. When the code waits or ends, the execution fails. Code that makes a mistake
        again before it waits is in a loop that catches the error each time; it is ended by an exception that
        ``except Exception`` does not catch.

        Raises:
            GeneratorExit: the running code has made a mistake before.
        """
        if self.thread != get_ident() or self.work.restart is not None:
            return
        if self.misuse is not None:
            raise GeneratorExit(str(error))
        self.misuse = error
        self.scheduler.ready.appendleft(Failing(error))

    def send(self, action: OrchestratorAction, code: CodeType | None = None, lasti: int = 0) -> None:
        """Add an action that no answer follows."""
        self.work.add(OneWay(action, code, lasti))

    def release_section(self) -> None:
        """Leave the critical section, if there is one."""
        section, self.section = self.section, None
        if section is not None:
            section.release(self.work, self.execution.instance_id)

    def new_uuid(self) -> str:
        """The next deterministic UUID."""
        execution = self.execution
        name = f"{execution.instance_id}_{execution.clock:%Y-%m-%dT%H:%M:%S.%f}Z_{self._uuids}"
        self._uuids += 1
        return str(uuid.uuid5(_UUID_NAMESPACE, name))

    # --- tasks -------------------------------------------------------------------------------------------

    def count_failure(self) -> int:
        """The number of failures up to now; gives failures their order in history."""
        self._failures += 1
        return self._failures
