"""Prove that core needs nothing of its siblings: import all of it where only core is installed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

PROBE = """
import importlib, pkgutil, sys
import durabletask, durabletask.core
for module in pkgutil.walk_packages(durabletask.__path__, "durabletask."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
foreign = {name.partition(".")[0] for name in sys.modules} & {"grpc", "google", "azure", "opentelemetry"}
assert not foreign, f"core imports {foreign}"
assert importlib.util.find_spec("durabletask.grpc") is None
print(f"core alone: {sum(name.startswith('durabletask') for name in sys.modules)} modules imported")
"""


def main(dist: str) -> None:
    """Install the core wheel into an empty environment and import every module of it."""
    wheel = next(Path(dist).glob("durabletask_core-*.whl"))
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
        subprocess.run([python, "-W", "error", "-c", PROBE], check=True, cwd=folder)


if __name__ == "__main__":
    main(sys.argv[1])
