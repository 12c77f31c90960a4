"""Set up and run this repository's commands with nothing but Python 3.10 or newer.

    python3 dev.py quickstart      run the quickstart against an embedded emulator
    python3 dev.py test            pass the tests on this Python
    python3 dev.py test --all      pass the tests on every supported Python that is installed
    python3 dev.py check           lint, format check, spelling, mypy --strict on the sources
    python3 dev.py wheels          build the wheels and check what users install
    python3 dev.py hatch ARGS...   any other hatch command

The script installs hatch into `.hatch/` once and hands over; environments are described in hatch.toml.
Further arguments go to the command: `python3 dev.py test tests/core -k timer`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
HATCH_HOME = ROOT / ".hatch"
HATCH_REQUIREMENT = "hatch>=1.18,<2"
SUPPORTED = ("3.10", "3.11", "3.12", "3.13", "3.14")
OPTIONAL = ("3.14",)
BIN = "Scripts" if os.name == "nt" else "bin"


def _hatch() -> str:
    """Path of the hatch command, installed on first use."""
    found = os.environ.get("DURABLETASK_HATCH")
    if found:
        return found
    home = HATCH_HOME / f"py{sys.version_info[0]}{sys.version_info[1]}"
    command = home / BIN / ("hatch.exe" if os.name == "nt" else "hatch")
    if not command.exists():
        print("dev.py: installing hatch into .hatch/ (once)", flush=True)
        venv.create(home, with_pip=True, clear=True)
        python = home / BIN / ("python.exe" if os.name == "nt" else "python")
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", HATCH_REQUIREMENT],
            check=True,
        )
    return str(command)


def _interpreters() -> dict[str, Path]:
    """The supported Pythons of this machine: version -> executable that really starts."""
    found: dict[str, Path] = {f"{sys.version_info[0]}.{sys.version_info[1]}": Path(sys.executable)}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in SUPPORTED:
        if version in found:
            continue
        candidates = sorted(pyenv.glob(f"{version}.*/bin/python{version}"), reverse=True)
        on_path = shutil.which(f"python{version}")
        for candidate in [*candidates, *([Path(on_path)] if on_path else [])]:
            probe = subprocess.run([candidate, "-c", ""], capture_output=True, check=False)
            if probe.returncode == 0:
                found[version] = candidate
                break
    return found


def _run(arguments: list[str], extra_path: list[Path] | None = None) -> int:
    environment = dict(os.environ)
    environment.pop("VIRTUAL_ENV", None)
    if extra_path:
        environment["PATH"] = os.pathsep.join([*map(str, extra_path), environment.get("PATH", "")])
    return subprocess.run([_hatch(), *arguments], cwd=ROOT, env=environment, check=False).returncode


def _test(arguments: list[str]) -> int:
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if "--all" not in arguments:
        return _run(["test", "--python", own, *arguments], [Path(sys.executable).parent])
    arguments = [argument for argument in arguments if argument != "--all"]
    found = _interpreters()
    missing = [version for version in SUPPORTED if version not in found and version not in OPTIONAL]
    results = {
        version: _run(["test", "--python", version, *arguments], [found[version].parent])
        for version in sorted(found, key=SUPPORTED.index)
    }
    for version, code in results.items():
        print(f"Python {version}: {'passed' if code == 0 else f'failed ({code})'}")
    for version in missing:
        print(f"Python {version}: not installed here")
    return max(results.values())


def main(arguments: list[str]) -> int:
    """Run one command; returns its exit code."""
    if sys.version_info < (3, 10):  # noqa: UP036 - this script is what tells people
        print(f"dev.py: Python 3.10 or newer is needed, this is {sys.version.split()[0]}.", file=sys.stderr)
        return 2
    command, *rest = arguments or ["help"]
    if command == "test":
        return _test(rest)
    if command == "hatch":
        return _run(rest)
    if command == "wheels":
        return _run(["run", "wheels:all", *rest])
    if command in {"quickstart", "check", "fix", "laws", "proto", "editor"}:
        return _run(["run", command, *rest])
    print(__doc__)
    return 0 if command in {"help", "--help", "-h"} else 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
