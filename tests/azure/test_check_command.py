"""``python -m durabletask.azuremanaged check``: what is in the way is named, with what to do."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
from dataclasses import dataclass

import pytest
from azure_edges import GuardedServer, Mint, TokenPlaces
from durabletask.azuremanaged.__main__ import _write_plain, _writer
from durabletask.azuremanaged.doctor import Check, Doctor, Outcome

pytestmark = pytest.mark.process

CHECKS = ["connection string", "DNS", "TCP", "TLS", "token", "Hello", "task hub", "query"]


@dataclass
class Examined:
    """What the command said."""

    code: int
    output: str

    @property
    def checks(self) -> dict[str, dict[str, str]]:
        return {row["check"]: row for row in json.loads(self.output)["checks"]}

    @property
    def failed(self) -> list[str]:
        return [name for name, row in self.checks.items() if row["outcome"] == "failed"]


async def examine(*arguments: str, **environment: str) -> Examined:
    """Run the command in a process of its own, warnings being errors."""
    command = [
        sys.executable,
        "-W",
        "error",
        "-X",
        "dev",
        "-m",
        "durabletask.azuremanaged",
        "check",
        *arguments,
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), 100)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert b"Traceback" not in errors, errors.decode()
    return Examined(process.returncode or 0, output.decode())


async def examine_here(text: str) -> Examined:
    """The same without a process of its own, for what ends before gRPC is reached."""
    findings: list[Check] = []
    is_well = await Doctor(text, timeout=20).examine(findings.append)
    rows = [
        {"check": f.name, "outcome": f.outcome.value, "detail": f.detail, "advice": f.advice}
        for f in findings
    ]
    return Examined(0 if is_well else 1, json.dumps({"checks": rows}))


@pytest.fixture
def identity(edge: TokenPlaces, monkeypatch: pytest.MonkeyPatch) -> None:
    """A managed identity."""
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", edge.url)


def free_port() -> int:
    """A port without a listener."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def test_all_is_well_is_told_line_by_line_and_by_exit_code(
    server: GuardedServer, identity: None, mint: Mint
) -> None:
    """Every examination is reported; the token itself is not."""
    found = await examine(f"Endpoint={server.address};TaskHub=hub;Authentication=ManagedIdentity")

    assert found.code == 0
    assert [f"    OK  {name}" for name in CHECKS] == [
        line[: 8 + len(name)] for line, name in zip(found.output.splitlines(), CHECKS, strict=True)
    ]
    assert "tenant 11111111-2222-3333-4444-555555555555" in found.output
    assert not [token for token in mint.issued if token in found.output]


async def test_the_environment_is_read_when_no_string_is_given(server: GuardedServer, identity: None) -> None:
    """Both variables, and one JSON object for machines."""
    found = await examine(
        "--json",
        DURABLETASK_CONNECTION_STRING=f"Endpoint={server.address};Authentication=ManagedIdentity",
        DURABLETASK_TASK_HUB_NAME="hub",
    )

    assert found.code == 0
    assert list(found.checks) == CHECKS
    assert {"ok"} == {row["outcome"] for row in found.checks.values()}


async def test_a_wrong_task_hub_is_found(server: GuardedServer, identity: None) -> None:
    """The host answers, the task hub does not exist: it is named, and what needs it is skipped."""
    found = await examine("--json", f"Endpoint={server.address};TaskHub=hubb;Authentication=ManagedIdentity")

    assert (found.code, found.failed) == (1, ["task hub"])
    assert "'hubb'" in found.checks["task hub"]["detail"]
    assert "Create the task hub" in found.checks["task hub"]["advice"]
    assert found.checks["query"]["outcome"] == "skipped"


async def test_a_token_that_the_hub_refuses_is_found(
    server: GuardedServer, identity: None, mint: Mint
) -> None:
    """The hub's objection is shown."""
    mint.objection = lambda token, tenant: "the token is for the tenant other"  # type: ignore[method-assign]
    found = await examine("--json", f"Endpoint={server.address};TaskHub=hub;Authentication=ManagedIdentity")

    assert (found.code, found.failed) == (1, ["Hello"])
    assert "the token is for the tenant other" in found.checks["Hello"]["detail"]
    assert "tenant" in found.checks["Hello"]["advice"]


async def test_a_certificate_that_is_not_trusted_is_found(
    server: GuardedServer, identity: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The advice names the variable that gRPC reads."""
    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
    found = await examine_here(f"Endpoint={server.address};TaskHub=hub;Authentication=ManagedIdentity")

    assert (found.code, found.failed) == (1, ["TLS"])
    assert "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH" in found.checks["TLS"]["advice"]


async def test_plaintext_behind_https_is_found(identity: None, mint: Mint) -> None:
    """The most usual mistake with a local hub."""
    server = GuardedServer(mint, None)
    await server.start()
    try:
        address = f"Endpoint=https://localhost:{server.port};TaskHub=hub;Authentication=None"
        found = await examine_here(address)
    finally:
        await server.stop(grace=0)

    assert (found.code, found.failed) == (1, ["TLS"])
    assert "use http://" in found.checks["TLS"]["advice"]


@pytest.mark.parametrize(
    ("text", "failed", "advice"),
    [
        ("Endpoint=http://localhost:{port};Authentication=None", "TCP", "Nothing listens there"),
        ("Endpoint=https://no-such-host.invalid;TaskHub=h;Authentication=None", "DNS", "Check the spelling"),
        ("Endpont=http://localhost", "connection string", ""),
        ("Endpoint=http://hub.example;TaskHub=h;Authentication=AzureCli", "connection string", ""),
    ],
)
async def test_what_fails_before_the_hub_is_found(text: str, failed: str, advice: str) -> None:
    """Each station has its own advice."""
    found = await examine_here(text.format(port=free_port()))

    assert (1, [failed]) == (found.code, found.failed)
    assert advice in found.checks[failed]["advice"]


async def test_a_credential_that_is_not_set_up_is_found(
    server: GuardedServer, edge: TokenPlaces, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """The token is examined even where it is the only thing that fails."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found = await examine_here(f"Endpoint={server.address};TaskHub=hub;Authentication=AzureCli")

    assert (found.code, found.failed) == (1, ["token"])
    assert "Run 'az login'" in found.checks["token"]["detail"]


async def test_rich_output_says_the_same_as_plain_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With rich installed and a terminal, colours and columns; the words stay."""
    pytest.importorskip("rich")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    write = _writer()
    write(
        Check(
            "TCP", Outcome.FAILED, "a detail [with] brackets that is longer than the line is wide", "Do it."
        )
    )
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)

    assert write is not _write_plain
    assert shown.split() == [
        "FAILED",
        "TCP",
        "a",
        "detail",
        "[with]",
        "brackets",
        "that",
        "is",
        "longer",
        "than",
        "the",
        "line",
        "is",
        "wide",
        "->",
        "Do",
        "it.",
    ]


async def test_wrong_arguments_have_their_own_exit_code() -> None:
    """As usual for commands: 2."""
    assert (await examine("--nonsense")).code == 2
