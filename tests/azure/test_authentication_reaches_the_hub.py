"""Each Authentication value: the real class of azure-identity gets a token, and the hub accepts it."""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from azure_edges import CLIENT, TENANT, Certificate, GuardedServer, Mint, TokenPlaces
from durabletask.core.client import DurableTaskClient
from durabletask.core.connection import resolve_transport
from durabletask.core.errors import UnauthenticatedError
from durabletask.grpc.channel import ChannelOptions

pytestmark = pytest.mark.process

Prepare = Callable[[pytest.MonkeyPatch, TokenPlaces, Path], str]


def client_of(
    server: GuardedServer, certificate: Certificate, keys: str, hub: str = "hub"
) -> DurableTaskClient:
    """A client that trusts the authority of the tests."""
    options = ChannelOptions(root_certificates=certificate.authority.read_bytes())
    return DurableTaskClient(resolve_transport(f"Endpoint={server.address};{keys}", hub, options=options))


def script(folder: Path, name: str, text: str) -> None:
    """An executable at the front of PATH."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def imds(patch: pytest.MonkeyPatch, edge: TokenPlaces, folder: Path) -> str:
    patch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", edge.url)
    return "Authentication=ManagedIdentity"


def imds_user_assigned(patch: pytest.MonkeyPatch, edge: TokenPlaces, folder: Path) -> str:
    return f"{imds(patch, edge, folder)};ClientID={CLIENT}"


def app_service(patch: pytest.MonkeyPatch, edge: TokenPlaces, folder: Path) -> str:
    patch.setenv("IDENTITY_ENDPOINT", f"{edge.url}/msi/token")
    patch.setenv("IDENTITY_HEADER", "header")
    return f"Authentication=ManagedIdentity;ClientID={CLIENT}"


def workload(patch: pytest.MonkeyPatch, edge: TokenPlaces, folder: Path) -> str:
    (folder / "token").write_text("federated")
    return (
        f"Authentication=WorkloadIdentity;ClientID={CLIENT};TenantId={TENANT};"
        f"AdditionallyAllowedTenants=*;TokenFilePath={folder / 'token'}"
    )


def environment(patch: pytest.MonkeyPatch, edge: TokenPlaces, folder: Path) -> str:
    patch.setenv("AZURE_TENANT_ID", TENANT)
    patch.setenv("AZURE_CLIENT_ID", CLIENT)
    patch.setenv("AZURE_CLIENT_SECRET", "secret")
    return "Authentication=Environment"


def default(patch: pytest.MonkeyPatch, edge: TokenPlaces, folder: Path) -> str:
    environment(patch, edge, folder)
    return "Authentication=DefaultAzure"


def azure_cli(patch: pytest.MonkeyPatch, edge: TokenPlaces, folder: Path) -> str:
    token, expires = edge.mint.issue("cli")
    answer = f'{{"accessToken": "{token}", "expires_on": {expires}}}'
    check = f"import sys\nassert sys.argv[sys.argv.index('--tenant') + 1] == '{TENANT}'\n"
    script(folder, "az", f"{check}print('{answer}')\n")
    patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return f"Authentication=AzureCli;TenantId={TENANT}"


def azure_powershell(patch: pytest.MonkeyPatch, edge: TokenPlaces, folder: Path) -> str:
    token, expires = edge.mint.issue("powershell")
    script(folder, "pwsh", f"print('azsdk%{token}%{expires}')\n")
    patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return "Authentication=AzurePowerShell"


class FakeBrowser(webbrowser.BaseBrowser):
    """Signs in at once: goes back to the address that the page would go back to."""

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        asked = {name: found[0] for name, found in parse_qs(urlsplit(url).query).items()}
        answer = f"{asked['redirect_uri']}/?code={asked['nonce']}&state={asked['state']}"

        def go_back() -> None:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(answer) as page:
                page.read()

        threading.Thread(target=go_back, daemon=True).start()
        return True


def browser(patch: pytest.MonkeyPatch, edge: TokenPlaces, folder: Path) -> str:
    patch.setattr(webbrowser, "_browsers", {})
    patch.setattr(webbrowser, "_tryorder", [])
    webbrowser.register("fake", None, FakeBrowser("fake"), preferred=True)
    return f"Authentication=InteractiveBrowser;ClientID={CLIENT};TenantId={TENANT}"


CASES: list[tuple[Prepare, str]] = [
    (imds, "system"),
    (imds_user_assigned, CLIENT),
    (app_service, CLIENT),
    (workload, CLIENT),
    (environment, CLIENT),
    (default, CLIENT),
    (azure_cli, "cli"),
    (azure_powershell, "powershell"),
    (browser, CLIENT),
]


@pytest.mark.filterwarnings("ignore:response_mode")  # of older versions of azure-identity
@pytest.mark.parametrize(("prepare", "identity"), CASES, ids=[prepare.__name__ for prepare, _ in CASES])
async def test_the_token_of_each_authentication_reaches_the_hub(
    prepare: Prepare,
    identity: str,
    edge: TokenPlaces,
    server: GuardedServer,
    certificate: Certificate,
    mint: Mint,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """From the connection string to a call that the hub accepts, with one token for all calls."""
    keys = prepare(monkeypatch, edge, tmp_path)
    async with client_of(server, certificate, keys) as client:
        instance = await client.schedule_new_orchestration("anything")
        state = await client.get_orchestration_state(instance)

    assert state is not None
    assert {identity} == {
        mint.issued[call["authorization"].removeprefix("Bearer ")]["appid"] for call in server.seen
    }
    assert server.refused == []
    assert len(mint.issued) == 1


async def test_the_headers_of_the_protocol_are_on_every_call(
    edge: TokenPlaces,
    server: GuardedServer,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Task hub, agent and token travel with each call (section 1.3)."""
    async with client_of(server, certificate, imds(monkeypatch, edge, tmp_path)) as client:
        await client.get_orchestration_state("unknown")

    assert "GetInstance" in [call["rpc"] for call in server.seen]
    for call in server.seen:
        assert call["taskhub"] == "hub"
        assert call["x-user-agent"].startswith("durabletask-python/")
        assert call["authorization"].startswith("Bearer ")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("Authentication=VisualStudioCode", r"Authentication=VisualStudioCode: .* use AzureCli"),
        ("Authentication=AzureCli", r"Azure CLI not found.* Run 'az login'"),
        (
            "Authentication=WorkloadIdentity",
            r"Authentication=WorkloadIdentity: .* Check ClientID, TenantId and TokenFilePath",
        ),
        ("Authentication=Environment", r"Check AZURE_TENANT_ID and AZURE_CLIENT_ID"),
    ],
)
async def test_a_credential_that_is_not_set_up_is_told_with_what_to_do(
    keys: str,
    message: str,
    edge: TokenPlaces,
    server: GuardedServer,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The call fails at once, with the reason of the credential and the next step."""
    monkeypatch.setenv("PATH", str(tmp_path))
    started = time.monotonic()
    async with client_of(server, certificate, keys) as client:
        with pytest.raises(UnauthenticatedError, match=message):
            await client.get_orchestration_state("x")

    assert time.monotonic() - started < 30
    assert server.seen == []


async def test_a_refusal_of_the_sign_in_service_is_told_without_the_secret(
    edge: TokenPlaces,
    server: GuardedServer,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The code of the service is in the message, the secret is not."""
    keys = environment(monkeypatch, edge, tmp_path)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong")
    async with client_of(server, certificate, keys) as client:
        with pytest.raises(UnauthenticatedError, match="AADSTS7000215") as raised:
            await client.get_orchestration_state("x")

    assert raised.value.__context__ is None
