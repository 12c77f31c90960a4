"""Where in the user's code something happened, remembered cheaply and spelled out only for messages."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Collection
from types import CodeType, FrameType, TracebackType
from typing import Final

__all__ = [
    "OWN_PACKAGE",
    "UNKNOWN",
    "calling_frame",
    "frame_location",
    "here",
    "innermost_user_frame",
    "locate",
    "traceback_location",
    "user_line",
]

UNKNOWN: Final = "an unknown place"
OWN_PACKAGE: Final = "durabletask.core."
_STANDARD_LIBRARY = sysconfig.get_path("stdlib")
_INSTALLED = ("site-packages", "dist-packages")


def locate(code: CodeType | None, lasti: int) -> str:
    """``file:line`` of an instruction; a code object and an offset cost nothing to keep."""
    if code is None:
        return UNKNOWN
    line: int | None = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= lasti < end:
            line = number or line
            break
    return f"{code.co_filename}:{line}"


def frame_location(frame: FrameType | None) -> str:
    """``file:line`` where a frame stands."""
    return UNKNOWN if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def calling_frame() -> FrameType:
    """The nearest frame outside core: the line of user code that called."""
    frame: FrameType = sys._getframe(1)  # noqa: SLF001 - there is no public name
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(OWN_PACKAGE):
        frame = frame.f_back
    return frame


def here() -> str:
    """``file:line`` of the user code that runs: of the call that led into core."""
    return frame_location(calling_frame())


def user_line(frame: FrameType | None = None) -> str:
    """``file:line`` of the nearest code outside core and the standard library, from a frame (or here) outwards."""
    nearest = found = frame or calling_frame()
    while found.f_back is not None and not _is_users(found.f_code):
        found = found.f_back
    return frame_location(found if _is_users(found.f_code) else nearest)


def _is_users(code: CodeType) -> bool:
    name = code.co_filename
    return not name.startswith(_STANDARD_LIBRARY) or any(part in name for part in _INSTALLED)


def innermost_user_frame(frames: list[FrameType]) -> FrameType | None:
    """The last frame that is not the standard library's, else the first."""
    for frame in reversed(frames):
        if _is_users(frame.f_code):
            return frame
    return frames[0] if frames else None


def traceback_location(trace: TracebackType | None, libraries: Collection[str] = ()) -> str:
    """``file:line`` of the user code in which an exception came up; the code of ``libraries`` is not the user's."""
    frames: list[FrameType] = []
    lines: dict[int, int] = {}
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if not module.startswith(OWN_PACKAGE) and module.partition(".")[0] not in libraries:
            frames.append(trace.tb_frame)
            lines[id(trace.tb_frame)] = trace.tb_lineno
        trace = trace.tb_next
    frame = innermost_user_frame(frames)
    return UNKNOWN if frame is None else f"{frame.f_code.co_filename}:{lines[id(frame)]}"
