"""Laws run thousands of careless programs; what the engine has to say about each is not shown."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from step_laws import register_profile

register_profile()


@pytest.fixture(autouse=True, scope="module")
def _no_advice() -> Iterator[None]:
    logger = logging.getLogger("durabletask.orchestration")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)
