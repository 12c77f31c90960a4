"""Test orchestrations without a server: a local task hub, virtual time, and what is built on them.

Each name is imported when it is first asked for: the pytest plugin of this package is loaded by every test run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .activity_environment import ActivityTestEnvironment as ActivityTestEnvironment
    from .clock import Clock as Clock
    from .clock import SystemClock as SystemClock
    from .clock import VirtualClock as VirtualClock
    from .entity_environment import EntityTestEnvironment as EntityTestEnvironment
    from .entity_environment import SentSignal as SentSignal
    from .entity_environment import StartedOrchestration as StartedOrchestration
    from .entity_fakes import FakeEntity as FakeEntity
    from .entity_fakes import FakeOperation as FakeOperation
    from .entity_fakes import OperationCall as OperationCall
    from .environment import OrchestrationTestEnvironment as OrchestrationTestEnvironment
    from .fakes import ActivityCall as ActivityCall
    from .fakes import FakeActivity as FakeActivity
    from .faults import Chaos as Chaos
    from .faults import ChaosDivergenceError as ChaosDivergenceError
    from .faults import FaultCounts as FaultCounts
    from .history_files import read_history as read_history
    from .hub import HubRegistry as HubRegistry
    from .hub import InMemory as InMemory
    from .hub import InMemoryBackend as InMemoryBackend
    from .hub import LocalTaskHub as LocalTaskHub
    from .hub import Sqlite as Sqlite
    from .hub import SqliteStore as SqliteStore
    from .pytest_plugin import DurableEnv as DurableEnv
    from .replay_check import ReplayReport as ReplayReport
    from .replay_check import assert_replays as assert_replays
    from .replay_check import check_replay as check_replay
    from .run import OrchestrationRun as OrchestrationRun
    from .run import StuckOrchestrationError as StuckOrchestrationError
    from .wrapping import WrappedTransport as WrappedTransport
else:
    from durabletask.core.lazy import lazy_names

    __all__, __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "activity_environment": ("ActivityTestEnvironment",),
            "hub": (
                "HubRegistry",
                "InMemory",
                "InMemoryBackend",
                "LocalTaskHub",
                "Sqlite",
                "SqliteStore",
            ),
            "clock": ("Clock", "SystemClock", "VirtualClock"),
            "entity_environment": ("EntityTestEnvironment", "SentSignal", "StartedOrchestration"),
            "entity_fakes": ("OperationCall", "FakeEntity", "FakeOperation"),
            "environment": ("OrchestrationTestEnvironment",),
            "fakes": ("ActivityCall", "FakeActivity"),
            "faults": ("Chaos", "ChaosDivergenceError", "FaultCounts"),
            "history_files": ("read_history",),
            "pytest_plugin": ("DurableEnv",),
            "replay_check": ("ReplayReport", "assert_replays", "check_replay"),
            "run": ("OrchestrationRun", "StuckOrchestrationError"),
            "wrapping": ("WrappedTransport",),
        },
    )
