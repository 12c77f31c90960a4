"""Where the replay vectors are: in `tests/vectors`, and in the folder that ``DURABLETASK_VECTORS`` adds."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["ADDED", "EXTRA", "FOLDER", "vector_files"]

_TESTS = Path(__file__).resolve().parents[1]
FOLDER = _TESTS / "vectors"
EXTRA = _TESTS / "core" / "vectors_extra"
_NAMED = os.environ.get("DURABLETASK_VECTORS")
ADDED = _TESTS.parent / _NAMED if _NAMED else None


def vector_files() -> dict[str, Path]:
    """The vectors by the name of their test; an added one with the text of one of ours is that one."""
    found = {path.stem: path for path in sorted(FOLDER.glob("*.json"))}
    texts = {path.read_bytes() for path in found.values()}
    if ADDED is not None:
        added = [path for path in sorted(ADDED.glob("*.json")) if path.read_bytes() not in texts]
        found |= {f"added-{path.stem}": path for path in added}
    return found
