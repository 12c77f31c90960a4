"""What the page about Azure says is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from durabletask.azuremanaged.credentials import AUTHENTICATIONS, from_connection_string
from durabletask.core.connection import ConnectionString

PAGE = (Path(__file__).parents[2] / "docs" / "azure.md").read_text(encoding="utf-8")
STRINGS = sorted(set(re.findall(r"Endpoint=https?://[^\s`\"]+", PAGE)))


@pytest.mark.parametrize("text", STRINGS)
def test_every_connection_string_of_the_page_is_accepted(text: str) -> None:
    """Each parses, and its keys are those that its Authentication value uses."""
    found = ConnectionString.parse(text.replace("...", "8080"))

    if found.authentication in AUTHENTICATIONS:
        from_connection_string(found)


def test_every_authentication_value_is_on_the_page() -> None:
    """With a string that can be copied."""
    shown = {ConnectionString.parse(text.replace("...", "8080")).authentication for text in STRINGS}

    assert {*AUTHENTICATIONS, "None"} <= shown
