"""One process owns a store file.

The lock is the kernel's and belongs to the open file: it ends when the last process that has the file open ends. A
forked child inherits the file, so it closes its copy at once; otherwise a child that outlives the owner would keep
the lock.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO
from weakref import WeakSet

from durabletask.core.errors import OwnershipError, StorageError

__all__ = ["OwnerLock"]

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        file.seek(1 << 20)  # beyond the text, which others may read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class OwnerLock:
    """An exclusive lock beside the store file, ``<path>.lock``.

    Raises:
        OwnershipError: another process (or another store of this one) has it.
        StorageError: the lock file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        lock_path = path.with_name(path.name + ".lock")
        try:
            # Opened without emptying it: the text is the present owner's until the lock is ours.
            descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageError(
                f"Cannot open the store {path}: its lock file {lock_path.name} cannot be written ({error.strerror}). "
                "Check that the folder exists and may be written to."
            ) from error
        self._file: IO[str] = os.fdopen(descriptor, "r+", encoding="ascii", errors="replace")
        try:
            _lock(self._file)
        except OSError as error:
            self._file.seek(0)
            owner = self._file.read(20).strip() or "unknown"
            self._file.close()
            raise OwnershipError(
                f"The store {path} is in use by process {owner}. Stop that process, or give this one another file: "
                "one process owns a store. Several processes can share it through 'durabletask-emulator --store'."
            ) from error
        _held.add(self)
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        """Let others have it."""
        self._file.close()


_held: WeakSet[OwnerLock] = WeakSet()


def _release_in_child() -> None:
    for lock in list(_held):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)
