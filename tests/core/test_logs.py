"""Text from outside cannot forge log lines or steer the terminal that shows them."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from durabletask.core.logs import get_logger, guarded, printable

SOURCES = Path(__file__).parents[2] / "packages"


def test_arguments_of_records_are_printable(caplog: pytest.LogCaptureFixture) -> None:
    """Line breaks, escapes, separators and errors' texts; numbers and the message itself stay as they are."""
    logger = get_logger("durabletask.test")
    with caplog.at_level(logging.INFO, "durabletask.test"):
        logger.info(
            "id %s, %d, %.2f, %r: %s", "a\nWARNING b\x1b]0;t\x07\u2028\u202e", 3, 1.5, "x\n", ValueError("\r")
        )
    assert caplog.messages == [
        r"id a\nWARNING b\x1b]0;t\x07\u2028\u202e, 3, 1.50, 'x\\n': \r",
    ]
    assert printable("Jürgen 🎉") == "Jürgen 🎉"


def test_a_guarded_logger_follows_the_logger_behind_it(caplog: pytest.LogCaptureFixture) -> None:
    """Levels that change later, filters and handlers are those of the logger that was given."""
    behind = logging.getLogger("a.program's.own")
    logger = guarded(behind)
    assert guarded(logger) is logger
    assert logger.name == behind.name
    with caplog.at_level(logging.ERROR, behind.name):
        logger.warning("not seen")
        assert not logger.isEnabledFor(logging.WARNING)
    with caplog.at_level(logging.DEBUG, behind.name):
        logger.debug("seen")

    def refuse(record: logging.LogRecord) -> bool:
        return "secret" not in record.getMessage()

    behind.addFilter(refuse)
    try:
        logger.warning("a %s", "secret")
    finally:
        behind.removeFilter(refuse)
    assert caplog.messages == ["seen"]
    assert caplog.records[0].filename == "test_logs.py"


def test_every_module_takes_its_logger_from_one_place() -> None:
    """A logger that is made elsewhere would not be guarded."""
    own = {
        path.relative_to(SOURCES).name
        for path in SOURCES.rglob("*.py")
        if re.search(r"_(?:logger|LOGGER)(?:: Final)? = logging\.getLogger", path.read_text("utf-8"))
    }
    assert own == set()
