"""Build the wheel of every package into dist/, from a clean folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Build; the exit code of the first failing build ends the script."""
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    for package in sorted((ROOT / "packages").iterdir()):
        subprocess.run(
            [
                os.environ.get("HATCH_UV", "uv"),
                "build",
                "--quiet",
                "--wheel",
                "--out-dir",
                str(dist),
                str(package),
            ],
            check=True,
        )
    names = sorted(wheel.name for wheel in dist.glob("*.whl"))
    print(f"built {len(names)} wheels: {', '.join(names)}")
    if len(names) != 5:
        sys.exit("expected five wheels")


if __name__ == "__main__":
    main()
