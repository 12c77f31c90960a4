"""Every public name of the installed wheels has a known type: 100% or fail."""

from __future__ import annotations

import json
import subprocess
import sys

MODULES = (
    "durabletask",
    "durabletask.core",
    "durabletask.grpc",
    "durabletask.azuremanaged",
    "durabletask.testing",
)


def main() -> None:
    """Ask the type checker about each distribution and list what is not fully known."""
    failed = False
    for module in MODULES:
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "basedpyright",
                "--ignoreexternal",
                "--outputjson",
                "--verifytypes",
                module,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        report = json.loads(run.stdout)["typeCompleteness"]
        counts = report["exportedSymbolCounts"]
        total = sum(counts[kind] for kind in ("withKnownType", "withAmbiguousType", "withUnknownType"))
        print(
            f"{module}: {counts['withKnownType']}/{total} public names typed, score {report['completenessScore']:.2%}"
        )
        if total == 0 or report["completenessScore"] < 1:
            failed = True
            for symbol in report["symbols"]:
                if symbol["isExported"] and not symbol["isTypeKnown"]:
                    text = "; ".join(d["message"].splitlines()[0] for d in symbol["diagnostics"])
                    print(f"  {symbol['name']}: {text}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
