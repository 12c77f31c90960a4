"""Prove that ``pip install durabletask-azuremanaged`` is all that the quickstart needs.

The built wheels go into an empty environment in which only that one is named. The program runs there, untouched,
against the emulator of the environment that runs this file. ``DURABLETASK_QUICKSTART`` names another program than
the quickstart of the repository.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
WANTED = "durabletask-azuremanaged"
VERSIONS = """
from importlib.metadata import distributions
print(*sorted(f"{d.name}=={d.version}" for d in distributions() if d.name.startswith("durabletask")))
"""

EXTRA = """
from durabletask.azuremanaged import BlobStorage
from durabletask import MissingPackageError
try:
    BlobStorage("UseDevelopmentStorage=true")
except MissingPackageError as error:
    print(error)
"""


def main(dist: str) -> None:
    """Install by one name, run the program, and look at what it prints."""
    programs = [ROOT / "examples" / "quickstart.py"]
    given = Path(os.environ.get("DURABLETASK_QUICKSTART", ROOT.parent / "shared" / "quickstart.py"))
    if given.is_file():
        programs.append(given)
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        command = [python, "-m", "pip", "install", "--quiet", "--find-links", dist, WANTED]
        subprocess.run(command, check=True)
        found = subprocess.run(
            [python, "-c", VERSIONS], check=True, capture_output=True, text=True
        ).stdout.split()
        assert {entry.partition("==")[0] for entry in found} == {
            "durabletask-azuremanaged",
            "durabletask-core",
            "durabletask-grpc",
        }, found
        assert len({entry.partition("==")[2] for entry in found}) == 1, found
        said = subprocess.run(
            [python, "-W", "error", "-c", EXTRA], check=True, capture_output=True, text=True
        ).stdout
        assert "pip install 'durabletask-azuremanaged[blob]'" in said, said
        for program in programs:
            emulator = [sys.executable, "-m", "durabletask.testing.emulator", "exec", "--"]
            ended = subprocess.run(
                [*emulator, python, "-W", "error", "-X", "dev", str(program.resolve())],
                check=False,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=60,
            )
            output = ended.stdout + ended.stderr
            assert ended.returncode == 0, output
            assert "Hello, World!" in ended.stdout, output
            assert "COMPLETED" in ended.stdout, output
            print(f"{WANTED} alone: {program.name} says hello")


if __name__ == "__main__":
    main(sys.argv[1])
