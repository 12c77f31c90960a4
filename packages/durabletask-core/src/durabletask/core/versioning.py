"""Which instances a worker accepts by their version (protocol section 9, decisions row 9)."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

__all__ = ["VersionFailureStrategy", "VersionMatchStrategy", "VersioningOptions", "compare_versions"]


class VersionMatchStrategy(enum.Enum):
    """How the version of an instance is compared with the worker's."""

    NONE = 0
    STRICT = 1
    CURRENT_OR_OLDER = 2


class VersionFailureStrategy(enum.Enum):
    """What happens to an instance of another version: REJECT leaves it to another worker."""

    REJECT = 0
    FAIL = 1


_NUMERIC = re.compile(r"\d+(\.\d+)*\Z", re.ASCII)


def compare_versions(left: str | None, right: str | None) -> int:
    """Negative, zero or positive as ``left`` is lower than, equal to or higher than ``right``.

    Unset and empty are equal and lower than any version. Dotted numbers compare part by part with missing
    parts as zero; anything else compares as text.
    """
    a, b = (left or "").strip(), (right or "").strip()
    if not a or not b:
        return bool(a) - bool(b)
    if _NUMERIC.match(a) and _NUMERIC.match(b):
        x, y = [int(part) for part in a.split(".")], [int(part) for part in b.split(".")]
        width = max(len(x), len(y))
        x += [0] * (width - len(x))
        y += [0] * (width - len(y))
        return (x > y) - (x < y)
    return (a > b) - (a < b)


@dataclass(frozen=True, kw_only=True)
class VersioningOptions:
    """Versioning of a worker.

    Attributes:
        version: the worker's own version.
        default_version: version of sub-orchestrations that are started without one.
        match_strategy: which instances are accepted.
        failure_strategy: what happens to the others.
    """

    version: str | None = None
    default_version: str | None = None
    match_strategy: VersionMatchStrategy = VersionMatchStrategy.NONE
    failure_strategy: VersionFailureStrategy = VersionFailureStrategy.REJECT

    def accepts(self, version: str | None) -> bool:
        """Whether an instance of that version may run here."""
        if self.match_strategy is VersionMatchStrategy.STRICT:
            return compare_versions(version, self.version) == 0
        if self.match_strategy is VersionMatchStrategy.CURRENT_OR_OLDER:
            return compare_versions(version, self.version) <= 0
        return True
