"""What the lint reports, and the comments that silence it."""

from __future__ import annotations

import io
import re
import tokenize
from dataclasses import dataclass

__all__ = ["Finding", "Silences"]

# Other tools put comments of their own before it on the same line.
_SILENCE = re.compile(r"#\s*durable:\s*ok\b(?P<rest>.*)", re.IGNORECASE)
_CODES = re.compile(r"\s*[\[(:]?\s*(DT\d{3}(?:[\s,]+DT\d{3})*)", re.IGNORECASE)
_NOT_CODE = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING})


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
    Any other text after it is taken as the reason. On the first or last line of a statement the comment
    counts for all lines of the statement; of a compound statement, for the lines up to its colon.
    """

    def __init__(self, source: str) -> None:
        self._lines: dict[int, frozenset[str]] = {}
        self._statements: dict[int, tuple[int, int]] = {}
        # Tokenizing costs more than the rest of the lint together, so only where it can matter.
        if _SILENCE.search(source) is None:
            return
        try:
            self._read(source)
        except (tokenize.TokenError, SyntaxError):
            return

    def _read(self, source: str) -> None:
        first = 0
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            line = token.start[0]
            if token.type == tokenize.COMMENT and (match := _SILENCE.search(token.string)):
                codes = _CODES.match(match["rest"])
                self._lines[line] = frozenset(re.findall(r"DT\d{3}", codes[1].upper()) if codes else ())
            elif token.type == tokenize.NEWLINE:
                self._statements.update(dict.fromkeys(range(first, line + 1), (first, line)))
                first = 0
            elif not first and token.type not in _NOT_CODE:
                first = line

    def cover(self, code: str, first: int, last: int) -> bool:
        """Whether a comment silences the rule ``code`` for what stands on the lines ``first`` to ``last``."""
        for line in (first, last, *self._statements.get(first, ())):
            codes = self._lines.get(line)
            if codes is not None and (not codes or code in codes):
                return True
        return False
