"""The transports of the project pass the conformance kit; ``tests/conftest.py`` has the fixture."""

from durabletask.testing.conformance import *  # noqa: F403
