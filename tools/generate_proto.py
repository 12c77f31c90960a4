"""Make the Python code of the ``.proto`` files: ``hatch run proto``.

Needs ``grpcio-tools`` in the version of ``GENERATOR``: code of an old enough protoc is loaded by every
supported runtime, code of a newer one is not. ``--check`` changes nothing and fails when the code in the
tree is not what would be made.
"""

from __future__ import annotations

import importlib.metadata
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["GENERATOR", "SOURCES", "generate", "main", "outdated"]

GENERATOR: Final[str] = "1.63.2"
"""The version of ``grpcio-tools``; its protoc is 26.1, whose code runs on protobuf 5.26 and later."""

SOURCES: Final[tuple[str, ...]] = ("orchestrator_service", "lean")
"""Names of the ``.proto`` files, without the suffix."""

_SOURCE = Path(__file__).parent.parent / "packages/durabletask-grpc/src"
_FOLDER = (
    "durabletask/grpc/proto"  # part of the files' names in the pool, where another SDK has files as well
)
_PROTO = _SOURCE / _FOLDER
_TARGET = _PROTO / "_generated"
_PACKAGE = "durabletask.grpc.proto._generated"


def _well_known_types() -> Path:
    import grpc_tools  # type: ignore[import-untyped]  # noqa: PLC0415 - only contributors have it

    return Path(str(grpc_tools.__file__)).parent / "_proto"


def _relocate(code: str) -> str:
    """Make the code importable from inside the package instead of from the top."""
    code = code.replace(f"from {_FOLDER.replace('/', '.')} import ", "from . import ")
    for name in SOURCES:
        # A bare Mapping is an unknown type to checkers.
        code = code.replace(", _Mapping]", ", _Mapping[str, object]]")
        made = f"{_FOLDER.replace('/', '.')}.{name}_pb2"
        code = code.replace(f"(DESCRIPTOR, '{made}', ", f"(DESCRIPTOR, '{_PACKAGE}.{name}_pb2', ")
    return code


def generate() -> dict[str, str]:
    """File name -> content of everything that is generated.

    Raises:
        RuntimeError: another version of grpcio-tools is installed, or protoc refused a file.
    """
    found = importlib.metadata.version("grpcio-tools")
    if found != GENERATOR:
        raise RuntimeError(f"grpcio-tools {GENERATOR} makes the code, but {found} is installed.")
    from grpc_tools import protoc  # noqa: PLC0415 - only contributors have it

    with tempfile.TemporaryDirectory() as folder:
        arguments = [
            "protoc",
            f"-I{_SOURCE}",
            f"-I{_well_known_types()}",
            f"--python_out={folder}",
            f"--pyi_out={folder}",
            *(f"{_FOLDER}/{name}.proto" for name in SOURCES),
        ]
        if protoc.main(arguments) != 0:
            raise RuntimeError("protoc failed; its messages are above.")
        return {
            path.name: _relocate(path.read_text("utf-8"))
            for path in sorted((Path(folder) / _FOLDER).iterdir())
        }


def outdated() -> list[str]:
    """Names of the files in the tree that are not what would be made now."""
    made = generate()
    present = {path.name for path in _TARGET.glob("*_pb2.py*")}
    wrong = [name for name, code in made.items() if name not in present or _read(name) != code]
    return sorted([*wrong, *(present - set(made))])


def _read(name: str) -> str:
    return (_TARGET / name).read_text("utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the code, or with ``--check`` compare it; the exit code says whether all is well."""
    if "--check" in (sys.argv[1:] if arguments is None else arguments):
        stale = outdated()
        if stale:
            sys.stderr.write(f"Not current: {', '.join(stale)}. Run: hatch run proto\n")
        return 1 if stale else 0
    for name, code in generate().items():
        (_TARGET / name).write_text(code, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
