"""The page about errors knows every error."""

from __future__ import annotations

import re
from pathlib import Path

from durabletask.core import errors

PAGE = (Path(__file__).parents[3] / "docs" / "error-messages.md").read_text()
CLASSES = {
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)
}


def test_every_error_is_on_the_page() -> None:
    """A new class of errors comes with a line for its reader."""
    assert {name for name in CLASSES if f"`{name}" not in PAGE} == set()


def test_the_page_names_no_error_that_does_not_exist() -> None:
    """Renamed and removed classes leave the page too."""
    named = set(re.findall(r"`(\w+(?:Error|Exception))", PAGE))

    assert named - CLASSES == {"TimeoutError", "TypeError", "ValueError"}
