"""From a connection string to a transport: what is looked up, what is refused."""

from __future__ import annotations

import re
import sys
from datetime import datetime, timezone
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from durabletask.core import plugins
from durabletask.core.connection import AccessToken, ConnectionString, CredentialProvider, resolve_transport
from durabletask.core.errors import ConfigurationError, ConnectionStringError, MissingPackageError

CLOUD = "Endpoint=https://x.durabletask.io;TaskHub=h"


class Provider(CredentialProvider):
    """A provider that gives nothing away."""

    @property
    def transport_options(self) -> dict[str, object]:
        return {"maximum_instance_id_length": 100, "user_agent": "mine"}

    async def get_token(self, *, force_new: bool = False) -> AccessToken:
        return AccessToken("secret", datetime.now(timezone.utc))

    async def close(self) -> None:
        """Nothing to close."""


class Made:
    """What the transport factory of these tests was called with."""

    def __init__(self, connection: ConnectionString, task_hub: str, **options: object) -> None:
        self.connection, self.task_hub, self.options = connection, task_hub, options


def make_transport(connection: ConnectionString, task_hub: str, **options: object) -> Made:
    return Made(connection, task_hub, **options)


def make_provider(connection: ConnectionString) -> CredentialProvider:
    return Provider()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """Entry points that this test may change: group -> name -> object of this module."""
    names: dict[str, dict[str, str]] = {
        plugins.TRANSPORTS_GROUP: {
            "https": "make_transport",
            "http": "make_transport",
            "memory": "make_transport",
        },
        plugins.CREDENTIALS_GROUP: {"DefaultAzure": "make_provider"},
    }
    module = globals()

    class Entry(EntryPoint):
        def load(self) -> object:
            if self.value == "broken":
                raise ModuleNotFoundError("No module named 'grpc'")
            return module[self.value]

    def entry_points(group: str) -> dict[str, EntryPoint]:
        return {name.lower(): Entry(name, value, group) for name, value in names.get(group, {}).items()}

    monkeypatch.setattr(plugins, "_entry_points", entry_points)
    return names


def resolve(*args: object, **kwargs: object) -> Made:
    made = resolve_transport(*args, **kwargs)  # type: ignore[arg-type]
    assert isinstance(made, Made)
    return made


def test_scheme_and_authentication_choose_the_factories(installed: object) -> None:
    """The transport is made with the provider and with what the provider knows of its hubs."""
    made = resolve(f"{CLOUD};Authentication=DefaultAzure", user_agent="theirs")

    assert (
        made.task_hub,
        made.options["user_agent"],
        made.options["maximum_instance_id_length"],
    ) == ("h", "theirs", 100)
    assert isinstance(made.options["credential"], Provider)


@pytest.mark.parametrize("endpoint", ["http://localhost:8080", "http://127.0.0.1", "memory://"])
def test_a_local_endpoint_needs_neither_task_hub_nor_authentication(installed: object, endpoint: str) -> None:
    """For the hub on this machine the shortest string is enough."""
    made = resolve(f"Endpoint={endpoint}")

    assert (made.task_hub, made.options["credential"]) == ("default", None)


@pytest.mark.parametrize(
    ("text", "hub", "message"),
    [
        (f"{CLOUD};Authentication=None", "other", "says TaskHub=h, the task hub argument says 'other'"),
        (f"{CLOUD};Authentication=None", " ", "The task hub has no name"),
        ("Endpoint=https://x;Authentication=None", None, "No task hub is named"),
        (CLOUD, None, "has no 'Authentication', which https://x.durabletask.io needs"),
    ],
)
def test_what_is_missing_or_contradictory_is_told(
    installed: object, text: str, hub: str | None, message: str
) -> None:
    """A task hub in two places must be the same; a hub elsewhere needs a name and a way to sign in."""
    with pytest.raises(ConnectionStringError, match=message):
        resolve_transport(text, hub)


def test_a_credential_argument_replaces_authentication(installed: object) -> None:
    """A provider given as argument is used as it is."""
    provider = Provider()

    assert provider is resolve(CLOUD, credential=provider).options["credential"]


def test_authentication_none_wins_over_a_credential_argument(installed: object) -> None:
    """One program runs locally and in Azure; locally no token is asked for."""
    assert None is resolve(f"{CLOUD};Authentication=None", credential=Provider()).options["credential"]


def test_two_ways_to_sign_in_are_refused(installed: object) -> None:
    """Authentication and a credential argument contradict each other."""
    with pytest.raises(ConfigurationError, match=r"Authentication=DefaultAzure and a credential argument"):
        resolve_transport(f"{CLOUD};Authentication=DefaultAzure", credential=Provider())


@pytest.mark.parametrize("credential", ["a token", object(), Provider])
def test_a_credential_argument_that_is_none_is_refused(installed: object, credential: object) -> None:
    """Text, classes and other objects are refused without being shown."""
    with pytest.raises(ConfigurationError, match="must be an object with a get_token method") as raised:
        resolve_transport(CLOUD, credential=credential)

    assert "a token" not in str(raised.value)


def test_a_credential_over_plaintext_to_another_machine_is_refused(installed: object) -> None:
    """A bearer token must not travel unprotected, unless that is asked for."""
    text = "Endpoint=http://hub.example;TaskHub=h;Authentication=DefaultAzure"

    with pytest.raises(
        ConfigurationError, match=r"http://hub.example is plaintext .* allow_insecure_credential"
    ):
        resolve_transport(text)
    assert isinstance(resolve(text, allow_insecure_credential=True).options["credential"], Provider)
    assert resolve("Endpoint=http://localhost;Authentication=DefaultAzure").options["credential"]


@pytest.mark.parametrize(
    ("text", "group", "message"),
    [
        (
            "Endpoint=http://localhost",
            plugins.TRANSPORTS_GROUP,
            r"Endpoint=http:// .* pip install durabletask-grpc",
        ),
        (
            "Endpoint=memory://",
            plugins.TRANSPORTS_GROUP,
            r"Endpoint=memory:// .* pip install durabletask-testing",
        ),
        ("Endpoint=sqlite:///a", plugins.TRANSPORTS_GROUP, r"sqlite:// .* pip install durabletask-testing"),
        (
            f"{CLOUD};Authentication=AzureCli",
            plugins.CREDENTIALS_GROUP,
            r"Authentication=AzureCli needs .* pip install durabletask-azuremanaged",
        ),
    ],
)
def test_a_missing_package_is_named_with_its_install_line(
    installed: dict[str, dict[str, str]], text: str, group: str, message: str
) -> None:
    """What is not installed is an error that says what to install."""
    installed[group].clear()

    with pytest.raises(MissingPackageError, match=message):
        resolve_transport(text)


def test_a_credential_argument_without_the_azure_package_is_told(installed: object) -> None:
    """A TokenCredential needs the package that adapts it."""

    class Credential:
        def get_token(self, *scopes: str) -> None: ...

    with pytest.raises(
        MissingPackageError, match=r"credential argument .* pip install durabletask-azuremanaged"
    ):
        resolve_transport(CLOUD, credential=Credential())


def test_a_package_that_cannot_be_imported_is_told(installed: dict[str, dict[str, str]]) -> None:
    """An installed package with a missing dependency says which."""
    installed[plugins.TRANSPORTS_GROUP]["https"] = "broken"

    with pytest.raises(MissingPackageError, match="No module named 'grpc'"):
        resolve_transport(f"{CLOUD};Authentication=None")


def test_another_distribution_may_bring_schemes_and_authentications(
    installed: dict[str, dict[str, str]],
) -> None:
    """An unknown scheme or value becomes known by an entry point."""
    installed[plugins.TRANSPORTS_GROUP]["redis"] = "make_transport"
    installed[plugins.CREDENTIALS_GROUP]["Kerberos"] = "make_provider"

    made = resolve("Endpoint=redis://h:1;TaskHub=h;Authentication=kerberos", allow_insecure_credential=True)

    assert (made.connection.scheme, made.connection.authentication) == ("redis", "Kerberos")


def test_a_token_is_not_shown() -> None:
    """Neither ``repr`` nor ``str`` of a token holds its text."""
    token = AccessToken("s3cr3t", datetime(2026, 1, 1, tzinfo=timezone.utc))

    assert "s3cr3t" not in f"{token!r} {token}"


@pytest.mark.parametrize(
    ("endpoint", "host", "port", "path"),
    [
        ("mine://hub.example:7000/room/1?x=2", "hub.example", 7000, "/room/1?x=2"),
        ("mine:///var/hub.db", "", None, "/var/hub.db"),
        ("mine://", "", None, ""),
    ],
)
def test_a_scheme_of_another_package_has_an_endpoint_of_its_own_form(
    installed: dict[str, dict[str, str]], endpoint: str, host: str, port: int | None, path: str
) -> None:
    """A transport of another author may be a file or have a path; its factory gets everything."""
    installed[plugins.TRANSPORTS_GROUP]["mine"] = "make_transport"
    connection = resolve(f"Endpoint={endpoint};TaskHub=h;Authentication=None").connection
    assert (connection.scheme, connection.host, connection.port, connection.path) == (
        "mine",
        host,
        port,
        path,
    )
    assert connection.endpoint == endpoint


def test_what_has_no_host_needs_no_sign_in(installed: dict[str, dict[str, str]]) -> None:
    """A file of another package's transport is as local as one of ours; a host has to say that it asks for nothing."""
    installed[plugins.TRANSPORTS_GROUP]["mine"] = "make_transport"
    assert resolve("Endpoint=mine:///var/hub.db").task_hub == "default"
    with pytest.raises(ConnectionStringError, match="Authentication=None"):
        resolve("Endpoint=mine://hub.example", "h")


def test_the_built_in_table_says_what_the_metadata_says() -> None:
    """Frozen programs find with the table what others find by entry points."""
    root = Path(__file__).resolve().parents[3] / "packages"
    declared: dict[str, dict[str, str]] = {}
    for name in ("grpc", "azuremanaged", "testing"):
        text = (root / f"durabletask-{name}/pyproject.toml").read_text()
        for group in (plugins.TRANSPORTS_GROUP, plugins.CREDENTIALS_GROUP):
            section = re.search(rf'entry-points\."{group}"\]\n((?:\w+ = "[^"]+"\n)+)', text)
            if section is not None:
                declared.setdefault(group, {}).update(re.findall(r'(\w+) = "([^"]+)"', section[1]))

    assert declared == plugins._BUILT_IN


def test_a_program_without_metadata_finds_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """As PyInstaller makes it: the modules, and no ``*.dist-info``."""
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: ())
    plugins._entry_points.cache_clear()
    try:
        transport = resolve_transport("Endpoint=http://localhost:1", "hub")
        assert type(transport).__name__ == "GrpcTransport"
        assert "DefaultAzure" in plugins.installed_names(plugins.CREDENTIALS_GROUP).values()
        monkeypatch.setitem(sys.modules, "durabletask.grpc", None)
        plugins._entry_points.cache_clear()
        with pytest.raises(MissingPackageError, match="pip install durabletask-grpc"):
            resolve_transport("Endpoint=http://localhost:1", "hub")
    finally:
        plugins._entry_points.cache_clear()
