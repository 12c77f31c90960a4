"""The outcome of a conformance run: per capability, and one level per transport."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from .capabilities import BASE_CAPABILITIES, optional_capabilities
from .spec import SPEC_TESTS

__all__ = ["CapabilityOutcome", "ConformanceReport", "Level", "Outcome", "TransportReport"]

Outcome: TypeAlias = Literal["passed", "failed", "skipped"]
"""How a spec test ended."""


class Level(enum.Enum):
    """How far a transport conforms."""

    NONE = "none"
    BASE = "base"
    FULL = "full"


class CapabilityOutcome(msgspec.Struct):
    """Counts of one capability, and the names of the tests that did not pass.

    Attributes:
        passed: tests that passed.
        failed: tests that failed.
        skipped: tests that were skipped, or expected to fail.
        failures: the tests that failed.
        missing: the tests of the kit that have neither passed nor failed: skipped, deselected or overridden. One that is
            skipped for the lack of another capability is not missed.
    """

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = []
    missing: list[str] = []

    @property
    def word(self) -> str:
        """``failed``, ``passed``, ``incomplete``, ``skipped`` or ``not run``."""
        if self.failed:
            return "failed"
        if self.passed:
            return "incomplete" if self.missing else "passed"
        return "skipped" if self.skipped else "not run"


class TransportReport(msgspec.Struct):
    """The outcome of one transport."""

    transport: str
    capabilities: dict[str, CapabilityOutcome] = {}

    @property
    def level(self) -> Level:
        """NONE: a test of the base did not pass, whatever the reason. FULL: every optional one passed too.

        An optional capability that was opened and fails keeps a transport from any level: it promises
        what it does not do.
        """
        words = {name: self._word(name) for name in (*BASE_CAPABILITIES, *optional_capabilities())}
        if "failed" in words.values() or any(words[name] != "passed" for name in BASE_CAPABILITIES):
            return Level.NONE
        return Level.FULL if all(word == "passed" for word in words.values()) else Level.BASE

    def _word(self, capability: str) -> str:
        outcome = self.capabilities.get(capability)
        return "not run" if outcome is None else outcome.word

    def as_text(self) -> str:
        """A table for people."""
        lines = [f"{self.transport}: level {self.level.name}"]
        for title, names in (("base", BASE_CAPABILITIES), ("optional", optional_capabilities())):
            for name in names:
                outcome = self.capabilities.get(name, CapabilityOutcome())
                lines.append(f"  {title:<9}{name:<24}{outcome.word:<11}{_counts(outcome)}".rstrip())
                lines.extend(f"{'':<35}failed: {test}" for test in outcome.failures)
                if outcome.word == "incomplete":
                    lines.extend(f"{'':<35}not passed: {test}" for test in outcome.missing)
        return "\n".join(lines)


def _counts(outcome: CapabilityOutcome) -> str:
    total = outcome.passed + outcome.failed
    return f"{outcome.passed}/{total}" if total else ""


class ConformanceReport:
    """Collects results of spec tests, one report per transport."""

    def __init__(self) -> None:
        self.transports: dict[str, TransportReport] = {}

    def add(self, label: Mapping[str, str], outcome: Outcome, test: str) -> None:
        """Count one result; ``label`` is the value of ``RESULT_PROPERTY``."""
        name = label["transport"]
        report = self.transports.setdefault(name, TransportReport(name))
        capability = label["capability"]
        if capability not in report.capabilities:
            report.capabilities[capability] = CapabilityOutcome(missing=list(SPEC_TESTS.get(capability, ())))
        counts = report.capabilities[capability]
        setattr(counts, outcome, getattr(counts, outcome) + 1)
        if outcome == "failed":
            counts.failures.append(test)
        is_judged = outcome != "skipped" or "waived" in label
        if is_judged and label["test"] in counts.missing:
            counts.missing.remove(label["test"])

    def as_text(self) -> str:
        """Every transport's table."""
        return "\n\n".join(report.as_text() for report in self.transports.values())

    def as_json(self) -> bytes:
        """The same for programs: transport -> level and counts."""
        return msgspec.json.format(
            msgspec.json.encode(
                {
                    name: {"level": report.level.value, "capabilities": report.capabilities}
                    for name, report in self.transports.items()
                }
            )
        )
