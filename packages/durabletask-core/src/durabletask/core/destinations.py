"""Where exported files go: what a worker is given as ``export_to=``, and a directory as such a destination."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Mapping
from os import PathLike
from pathlib import Path, PureWindowsPath
from typing import Protocol

from .errors import InvalidRequestError

__all__ = ["Directory", "ExportDestination"]


class ExportDestination(Protocol):
    """A store of named objects in containers. A worker calls it from its event loop, several times at once."""

    async def write(
        self,
        container: str,
        name: str,
        content: bytes,
        *,
        content_type: str,
        content_encoding: str | None,
        metadata: Mapping[str, str],
    ) -> None:
        """Write an object, or replace the one of that name. An object is complete, or it is not there.

        The container is created if it does not exist. A ``ValueError`` is not tried again; any other error is.

        Args:
            container: container of the job.
            name: name of the object in it; parts are separated by ``/``.
            content: the bytes.
            content_type: media type of the content.
            content_encoding: ``gzip``, or ``None``.
            metadata: names and values to keep with the object, where the destination can.
        """

    async def close(self) -> None:
        """Release connections; the worker calls it when it stops. ``write`` may open them again."""


class Directory:
    """Exports to files: the container is a folder in ``path``, and the name of an object a path in that folder.

    Folders are created when they are needed. A file is written under a temporary name and then renamed, so a reader
    never finds an incomplete one. Headers and metadata are not kept.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path: Path = Path(path)

    def __repr__(self) -> str:
        return f"Directory({str(self.path)!r})"

    async def write(
        self,
        container: str,
        name: str,
        content: bytes,
        *,
        content_type: str,
        content_encoding: str | None,
        metadata: Mapping[str, str],
    ) -> None:
        """See ``ExportDestination``.

        Raises:
            InvalidRequestError: the container or the name leads out of ``path``.
        """
        target = self.path.joinpath(*_parts(container), *_parts(name))
        await asyncio.to_thread(_write, target, content)

    async def close(self) -> None:
        """Nothing stays open."""


def _parts(name: str) -> list[str]:
    """The parts of a name; each is the name of one file or folder."""
    parts = [part for part in name.split("/") if part]
    # Windows knows more ways out of a folder, and its rules are harmless elsewhere.
    if not parts or any(not part.strip(". ") or PureWindowsPath(part).name != part for part in parts):
        raise InvalidRequestError(
            f"{name!r} is not a path below the directory of the exports. A container and a prefix consist of names "
            "separated by '/', without '..', ':' and '\\'."
        )
    return parts


def _write(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
