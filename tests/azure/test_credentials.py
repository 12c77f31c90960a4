"""Which class of azure-identity each Authentication value stands for, and what it is given."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta

import azure.identity
import pytest
from durabletask.azuremanaged import (
    DurableTaskSchedulerClient,
    DurableTaskSchedulerWorker,
    scheduler_transport,
)
from durabletask.azuremanaged.credentials import AUTHENTICATIONS, from_connection_string, from_credential
from durabletask.azuremanaged.scope import scope_of
from durabletask.core.client import DurableTaskClient
from durabletask.core.connection import ConnectionString, resolve_transport
from durabletask.core.errors import ConfigurationError, ConnectionStringError, InvalidRequestError
from durabletask.core.plugins import AUTHENTICATION_PACKAGES
from durabletask.core.worker import DurableTaskWorker
from durabletask.grpc.transport import GrpcTransport

ALL_KEYS = "ClientID=c;TenantId=t;AdditionallyAllowedTenants=a,b;TokenFilePath=/f"
EXPECTED: list[tuple[str, str, dict[str, object]]] = [
    ("DefaultAzure", "", {}),
    (
        "DefaultAzure",
        "ClientID=c",
        {"managed_identity_client_id": "c", "workload_identity_client_id": "c"},
    ),
    ("ManagedIdentity", "", {}),
    ("ManagedIdentity", "ClientID=c", {"client_id": "c"}),
    (
        "WorkloadIdentity",
        ALL_KEYS,
        {
            "client_id": "c",
            "tenant_id": "t",
            "additionally_allowed_tenants": ["a", "b"],
            "token_file_path": "/f",
        },
    ),
    ("Environment", "", {}),
    ("AzureCli", "TenantId=t", {"tenant_id": "t"}),
    ("AzurePowerShell", "TenantId=t", {"tenant_id": "t"}),
    ("VisualStudioCode", "TenantId=t", {"tenant_id": "t"}),
    ("InteractiveBrowser", "ClientID=c;TenantId=t", {"client_id": "c", "tenant_id": "t"}),
]


class Info:
    """What credentials answer."""

    token = "token"
    expires_on = int(time.time()) + 3600


class Fake:
    """Stands for a class of azure-identity; keeps what it was given."""

    def __init__(self, **given: object) -> None:
        Fake.given = given
        Fake.closed = False

    def get_token(self, *scopes: str) -> Info:
        Fake.scopes = scopes
        return Info()

    def close(self) -> None:
        Fake.closed = True


class AsyncFake:
    """An async credential."""

    async def get_token(self, *scopes: str) -> Info:
        return Info()


@pytest.mark.parametrize(("value", "keys", "arguments"), EXPECTED)
async def test_a_value_stands_for_its_class_with_the_keys_it_takes(
    value: str, keys: str, arguments: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class is made at the first token, asked for the scope of the hub, and closed at the end."""
    monkeypatch.setattr(azure.identity, AUTHENTICATIONS[value].class_name, Fake)
    text = f"Endpoint=https://x;Authentication={value};{keys}"
    provider = from_connection_string(ConnectionString.parse(text))

    assert (await provider.get_token()).value == "token"
    assert arguments == Fake.given
    assert Fake.scopes == ("https://durabletask.io/.default",)
    await provider.close()
    assert Fake.closed


@pytest.mark.parametrize("value", AUTHENTICATIONS)
def test_a_key_that_a_value_does_not_use_is_told(value: str) -> None:
    """A key that would be ignored is an error that names the values which use it."""
    unused = [
        (field, key)
        for field, key in (("client_id", "ClientID"), ("token_file_path", "TokenFilePath"))
        if field not in AUTHENTICATIONS[value].keys
    ]
    for _, key in unused:
        text = f"Endpoint=https://x;Authentication={value};{key}=v"
        with pytest.raises(ConnectionStringError, match=f"Authentication={value} does not use '{key}'"):
            from_connection_string(ConnectionString.parse(text))
    assert unused or value == "WorkloadIdentity"


def test_core_and_this_package_know_the_same_values() -> None:
    """What core names as coming from this package is what this package brings, as classes that exist."""
    assert set(AUTHENTICATION_PACKAGES) == set(AUTHENTICATIONS)
    assert all(hasattr(azure.identity, known.class_name) for known in AUTHENTICATIONS.values())


@pytest.mark.parametrize("credential", [Fake(), AsyncFake()], ids=["blocking", "async"])
async def test_a_credential_argument_may_be_blocking_or_async(credential: object) -> None:
    """Both kinds of TokenCredential work, and stay open: they are the caller's."""
    Fake.closed = False
    provider = from_credential(credential)

    assert (await provider.get_token()).value == "token"
    await provider.close()
    assert not Fake.closed


@pytest.mark.parametrize(
    ("resource", "region", "expected"),
    [
        (None, "", "https://durabletask.io/.default"),
        (None, "westus2", "https://durabletask.io/.default"),
        (None, "USGovVirginia", "https://durabletask.azure.us/.default"),
        (None, "usdodeast", "https://durabletask.azure.us/.default"),
        (" https://my.resource// ", "usgov", "https://my.resource/.default"),
        ("https://my.resource/.default", "", "https://my.resource/.default"),
    ],
)
def test_the_scope_is_that_of_the_cloud_or_of_the_given_resource(
    resource: str | None, region: str, expected: str
) -> None:
    """Public and government clouds differ; an explicit resource id wins."""
    assert expected == scope_of(resource, environ={"REGION_NAME": region})


@pytest.mark.parametrize("resource", ["", "  ", "/", "/.default", ".default"])
def test_an_empty_resource_id_is_refused(resource: str) -> None:
    """Nothing is left of it."""
    with pytest.raises(ConfigurationError, match="resource id is empty"):
        scope_of(resource, environ={})


async def test_the_scheduler_takes_any_timer_and_ids_of_a_hundred_characters() -> None:
    """Timers are not split, and an id that is too long is refused before it is sent."""
    transport = resolve_transport("Endpoint=https://x.invalid;Authentication=DefaultAzure", "hub")
    client = DurableTaskClient(transport)

    assert None is transport.maximum_timer_interval
    with pytest.raises(InvalidRequestError, match=r"101 characters; the hub takes at most 100"):
        await client.schedule_new_orchestration("any", instance_id="i" * 101)


@pytest.mark.parametrize(
    ("address", "secure", "endpoint"),
    [
        ("https://x.durabletask.io", False, "https://x.durabletask.io"),
        ("x.durabletask.io", True, "https://x.durabletask.io"),
        ("localhost:8080", False, "http://localhost:8080"),
        ("http://localhost:8080", True, "http://localhost:8080"),
    ],
)
def test_the_scheme_of_a_host_address_beats_the_secure_flag(
    address: str, secure: bool, endpoint: str
) -> None:
    """Client and worker are made from host address, task hub and credential."""
    arguments = {
        "host_address": address,
        "taskhub": "hub",
        "token_credential": Fake(),
        "secure_channel": secure,
    }
    client = DurableTaskSchedulerClient(**arguments)  # type: ignore[arg-type]
    worker = DurableTaskSchedulerWorker(**arguments, activities=[len])  # type: ignore[arg-type]

    assert endpoint == client.transport.endpoint == worker._transport.endpoint
    assert client.transport.task_hub == "hub"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"host_address": " "}, "host_address is empty"),
        ({"host_address": "Endpoint=https://x"}, "looks like a connection string"),
        ({"taskhub": ""}, "taskhub is empty"),
        ({"host_address": "http://hub.example"}, "would travel unprotected"),
        ({"token_credential": "a token"}, "must be an object with a get_token method"),
    ],
)
def test_wrong_arguments_of_the_scheduler_are_told(arguments: dict[str, object], message: str) -> None:
    """Each mistake is answered with the argument and the fix."""
    given = {"host_address": "https://x", "taskhub": "hub", "token_credential": Fake(), **arguments}

    with pytest.raises(ConfigurationError, match=message):
        scheduler_transport(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [DurableTaskClient, DurableTaskWorker])
def test_client_and_worker_send_tokens_unprotected_only_when_told_to(kind: type) -> None:
    """The same switch in both; without it the connection is refused before anything is sent."""
    text = "Endpoint=http://hub.example;TaskHub=hub;Authentication=DefaultAzure"

    with pytest.raises(ConfigurationError, match="allow_insecure_credential=True"):
        kind(text)
    kind(text, allow_insecure_credential=True)


def test_a_transport_built_by_hand_is_no_way_around() -> None:
    """The check is made where the token would be sent from."""
    provider = from_credential(Fake())

    with pytest.raises(ConfigurationError, match="would travel unprotected"):
        GrpcTransport("http://hub.example", "hub", credential=provider)
    for endpoint in ("https://hub.example", "http://localhost:8080", "http://[::1]:8080"):
        GrpcTransport(endpoint, "hub", credential=provider)
    GrpcTransport("http://hub.example", "hub", credential=provider, allow_insecure_credential=True)
    GrpcTransport("http://hub.example", "hub")


def test_the_schedulers_own_emulator_takes_what_the_scheduler_takes() -> None:
    """Without a credential nothing tells a hub apart; who uses the scheduler's classes has said it."""
    arguments = {"host_address": "http://localhost:8080", "taskhub": "default", "token_credential": None}
    scheduler = scheduler_transport(**arguments)  # type: ignore[arg-type]
    unknown = resolve_transport("Endpoint=http://localhost:8080;Authentication=None")
    limited = scheduler_transport(**arguments, transport_options={"maximum_instance_id_length": 5})  # type: ignore[arg-type]

    assert (scheduler.maximum_timer_interval, scheduler.maximum_instance_id_length) == (None, 100)
    assert (limited.maximum_timer_interval, limited.maximum_instance_id_length) == (None, 5)
    assert unknown.maximum_timer_interval == timedelta(days=3)


@pytest.mark.process
def test_azure_identity_is_not_imported_before_a_token_is_needed() -> None:
    """A connection to Azure is made without its heavy library."""
    code = (
        "import sys, durabletask.azuremanaged as a; from durabletask.core.connection import resolve_transport;"
        "resolve_transport('Endpoint=https://x;TaskHub=h;Authentication=DefaultAzure');"
        "assert not [m for m in sys.modules if m.startswith(('azure.', 'msal', 'rich'))]"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100
    )

    assert done.stderr == ""
