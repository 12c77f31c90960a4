"""Conformance kit: does a ``Transport`` do what its contract requires?

Adopt it with one import and one fixture in a test module of your own::

    import pytest
    from durabletask.testing.conformance import *
    from my_transport import MyHub  # a subclass of ConformanceHub

    @pytest.fixture
    def conformance_hub():
        return MyHub()

Every ``Test*`` class is then collected there. ``pytest --conformance-report=FILE`` writes the report; the
summary prints it. ``docs/writing-a-transport.md`` is the long form.
"""

from .capabilities import BASE_CAPABILITIES, Capabilities, optional_capabilities
from .client_control import TestControl, TestExternalEvents, TestWait
from .client_create import TestConnection, TestCreate, TestRead
from .client_lists import TestHistory, TestListInstanceIds, TestPurge, TestQuery, TestRestart, TestRewind
from .end_to_end import TestEndToEnd
from .entities import TestEntities, TestEntityLocks
from .hub import ConformanceHub
from .probe import Probe, ScriptedWorker, complete, of_type
from .report import CapabilityOutcome, ConformanceReport, Level, TransportReport
from .spec import requires, run_spec, spec
from .worker_episodes import TestActivities, TestEpisodes, TestFilters, TestLimits, TestRedelivery, TestTokens
from .worker_flow import TestChildren, TestContinueAsNew, TestMessages, TestTimers

__all__ = [
    "BASE_CAPABILITIES",
    "Capabilities",
    "CapabilityOutcome",
    "ConformanceHub",
    "ConformanceReport",
    "Level",
    "Probe",
    "ScriptedWorker",
    "TestActivities",
    "TestChildren",
    "TestConnection",
    "TestContinueAsNew",
    "TestControl",
    "TestCreate",
    "TestEndToEnd",
    "TestEntities",
    "TestEntityLocks",
    "TestEpisodes",
    "TestExternalEvents",
    "TestFilters",
    "TestHistory",
    "TestLimits",
    "TestListInstanceIds",
    "TestMessages",
    "TestPurge",
    "TestQuery",
    "TestRead",
    "TestRedelivery",
    "TestRestart",
    "TestRewind",
    "TestTimers",
    "TestTokens",
    "TestWait",
    "TransportReport",
    "complete",
    "of_type",
    "optional_capabilities",
    "requires",
    "run_spec",
    "spec",
]
