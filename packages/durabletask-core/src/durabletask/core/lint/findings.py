"""What the lint reports, and the comments that silence it."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Finding", "Silences"]

_SILENCE = re.compile(r"#\s*durable:\s*ok\b(?P<rest>.*)")
_CODES = re.compile(r"\s*[\[(:]?\s*(DT\d{3}(?:[\s,]+DT\d{3})*)")


@dataclass(frozen=True, order=True)
class Finding:
    """One place where an orchestrator does what a replay would not repeat.

    Attributes:
        file: the file, as it was named to the lint or as Python knows it.
        line: line number, from 1.
        column: column number, from 1.
        code: stable rule code, ``DT101`` and up; see `durabletask.core.lint.RULES`.
        message: what was found and what to write instead.
        function: qualified name of the function that holds the line.
    """

    file: str
    line: int
    column: int
    code: str
    message: str
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.code} {self.message}"


class Silences:
    """The lines of one source that carry a ``# durable: ok`` comment.

    Codes after the ``ok`` limit the comment to these rules: ``# durable: ok DT101, DT104``.
    Any other text after it is taken as the reason.
    """

    def __init__(self, source: str) -> None:
        self._lines: dict[int, frozenset[str]] = {}
        # Tokenizing costs more than the rest of the lint together, so only where it can matter.
        if _SILENCE.search(source) is None:
            return
        try:
            for token in tokenize.generate_tokens(io.StringIO(source).readline):
                if token.type == tokenize.COMMENT and (match := _SILENCE.match(token.string)):
                    codes = _CODES.match(match["rest"])
                    named = re.findall(r"DT\d{3}", codes[1]) if codes else []
                    self._lines[token.start[0]] = frozenset(named)
        except (tokenize.TokenError, SyntaxError):
            return

    def cover(self, code: str, lines: Iterable[int]) -> bool:
        """Whether a comment on one of these lines silences the rule ``code``."""
        for line in lines:
            codes = self._lines.get(line)
            if codes is not None and (not codes or code in codes):
                return True
        return False
