"""Azurite, the emulator of Azure Storage, as a process of its own; installed by npm, see ``tools/other_products.py``."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from other_products import NotInstallableError, alone, install

REQUIREMENT = "azurite@3.35.0"


def _program() -> Path:
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NotInstallableError("Azurite needs Node.js and npm, which are not installed")
    with alone(REQUIREMENT.replace("@", "-")) as home:
        marker = home / "complete"
        if not marker.exists():
            home.mkdir(parents=True, exist_ok=True)
            command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home)]
            install([*command, REQUIREMENT])
            marker.touch()
        return home / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


@contextmanager
def running_azurite() -> Iterator[str]:
    """Blob storage of one test run, in memory; gives its connection string, with the key that Azurite publishes."""
    options = (
        "--blobHost 127.0.0.1 --blobPort 0 --inMemoryPersistence --skipApiVersionCheck --disableTelemetry"
    )
    with subprocess.Popen(
        ["node", str(_program()), *options.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                found = re.search(r"successfully listens on (http://127\.0\.0\.1:\d+)", line)
                if found:
                    yield (
                        "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey="
                        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
                        f"BlobEndpoint={found[1]}/devstoreaccount1;"
                    )
                    break
            else:
                raise AssertionError("Azurite did not say where it listens")
        finally:
            process.terminate()
            process.communicate(timeout=20)
