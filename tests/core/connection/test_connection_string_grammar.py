"""What a connection string may say, and what is answered when it says something else."""

from __future__ import annotations

import pytest
from durabletask.core.connection_string import ConnectionString
from durabletask.core.errors import ConnectionStringError, DurableTaskError
from hypothesis import example, given
from hypothesis import strategies as st

KEYS = "Endpoint, TaskHub, Authentication, ClientID, TenantId, AdditionallyAllowedTenants, TokenFilePath"
VALUES = (
    "AzureCli, AzurePowerShell, DefaultAzure, Environment, InteractiveBrowser, ManagedIdentity, None, "
    "VisualStudioCode, WorkloadIdentity"
)
SAMPLE = "Endpoint=http://localhost:8080;TaskHub=default;Authentication=None"
NO_HOST = "'Endpoint' has no valid host or port. Write {}://host:port, the port between 1 and 65535."
BAD_PORT = (
    "'Endpoint' has an invalid host or port. Write scheme://host:port, the port between 1 and 65535, an IPv6 "
    "address in square brackets."
)

ACCEPTED: list[tuple[str, dict[str, object]]] = [
    ("Endpoint=http://localhost:8080;Authentication=None", {"endpoint": "http://localhost:8080", "port": 8080}),
    ("Endpoint=https://x.westus.durabletask.io", {"scheme": "https", "host": "x.westus.durabletask.io", "port": 443}),
    ("Endpoint=x.westus.durabletask.io", {"endpoint": "https://x.westus.durabletask.io", "is_secure": True}),
    ("Endpoint=localhost:8080", {"endpoint": "https://localhost:8080", "is_local": False}),
    ("Endpoint=HTTPS://X.IO/", {"endpoint": "https://x.io"}),
    ("Endpoint=grpc://h:4001", {"scheme": "grpc", "is_secure": False, "port": 4001}),
    ("Endpoint=grpcs://h", {"scheme": "grpcs", "is_secure": True, "port": 443}),
    ("Endpoint=http://h", {"port": 80, "is_local": False}),
    ("Endpoint=http://[::1]:8080", {"host": "::1", "port": 8080, "is_loopback": True}),
    ("Endpoint=http://127.3.2.1", {"is_local": True}),
    ("Endpoint=memory://", {"scheme": "memory", "port": None, "is_embedded": True}),
    ("Endpoint=memory://Orders", {"host": "Orders", "endpoint": "memory://Orders"}),
    ("Endpoint=sqlite:///hub.db", {"path": "hub.db", "is_local": True}),
    ("Endpoint=sqlite:////var/lib/hub.db", {"path": "/var/lib/hub.db"}),
    ("Endpoint=sqlite:///C:/data/hub.db", {"path": "C:/data/hub.db"}),
    ("ENDPOINT=http://h;taskhub=a;AUTHENTICATION=defaultazure", {"task_hub": "a", "authentication": "DefaultAzure"}),
    ("  Endpoint = http://h ; TaskHub = a  ", {"endpoint": "http://h", "task_hub": "a"}),
    (";;Endpoint=http://h;; ;", {"endpoint": "http://h"}),
    ("Endpoint=http://a;Endpoint=http://b", {"endpoint": "http://b"}),
    ("Endpoint=http://h;TaskHub=a=b", {"task_hub": "a=b"}),
    ("Endpoint=http://h;TaskHub=\"a;b\"", {"task_hub": "a;b"}),
    ("Endpoint=http://h;TaskHub='it''s'", {"task_hub": "it's"}),
    ("Endpoint=http://h;ClientID=c;TenantId=t", {"client_id": "c", "tenant_id": "t"}),
    ("Endpoint=h;AdditionallyAllowedTenants=a, b,,c", {"additionally_allowed_tenants": ("a", "b", "c")}),
    ("Endpoint=h;TokenFilePath=/var/run/token", {"token_file_path": "/var/run/token"}),
    ("Endpoint=h;Authentication=none", {"authentication": "None"}),
    ("Endpoint=h;Authentication=WORKLOADIDENTITY", {"authentication": "WorkloadIdentity"}),
]  # fmt: skip

REFUSED: list[tuple[str, str]] = [
    ("", f"The connection string is empty. An example: {SAMPLE}"),
    ("   ", f"The connection string is empty. An example: {SAMPLE}"),
    ("x.durabletask.io:443", ("'x.durabletask.io:443' is an address, not a connection string. Write: "
        "Endpoint=x.durabletask.io:443;TaskHub=<name>;Authentication=<how to sign in>")),
    # Without a scheme the endpoint would mean TLS, which no hub on this machine speaks.
    ("localhost:8080", ("'localhost:8080' is an address, not a connection string. For a hub on this machine, such as "
        f"durabletask-emulator, write: {SAMPLE}")),
    ("hello world", f"The connection string has no Key=Value pair. An example: {SAMPLE}"),
    ("TaskHub=a", f"The connection string has no 'Endpoint'. Add it, for example: {SAMPLE}"),
    ("Endpoint=", "'Endpoint' has no value. Write Endpoint=<value>, or leave the key out."),
    ("Endpoint=h;TaskHub=", "'TaskHub' has no value. Write TaskHub=<value>, or leave the key out."),
    ("Endpoint=h;clientid=;", "'ClientID' has no value. Write ClientID=<value>, or leave the key out."),
    ("EndPont=http://h", ("The connection string has the unknown key 'EndPont'. Did you mean 'Endpoint'? "
        f"Known keys are: {KEYS}.")),
    ("Endpoint=h;Task Hub=a", ("The connection string has the unknown key 'Task Hub'. Did you mean 'TaskHub'? "
        f"Known keys are: {KEYS}.")),
    ("Endpoint=h;Colour=red", f"The connection string has the unknown key 'Colour'. Known keys are: {KEYS}."),
    ("Endpoint=h;AccountKey=s3cr3t==", ("A connection string does not take secrets, but it has the key 'AccountKey'. "
        "Remove it (and renew the secret if this text was shared); sign in by Authentication=Environment or another "
        "value instead.")),
    ("Endpoint=h;=x", "Segment 2 of the connection string has no key before its '='. Write Key=Value."),
    ("Endpoint=h;foo", ("Segment 2 of the connection string has no '='. Every segment is Key=Value; a value that "
        "contains ';' must stand in quotation marks.")),
    ("Endpoint=h;a+/b=x", f"Segment 2 of the connection string has an unknown key. Known keys are: {KEYS}."),
    ('"Endpoint=h"', ("The connection string begins with a quotation mark. Remove the marks around the whole "
        "string; only a value may stand in quotation marks.")),
    ('Endpoint="h', ("The value of 'Endpoint' opens a quotation mark \" that does not close before the next ';'. "
        "Close it, or leave the marks out.")),
    ("Endpoint=h;TaskHub=a\nb", ("The value of 'TaskHub' contains a line break or another control character. "
        "Remove it.")),
    ("Endpoint=h;TaskHub=hüb", ("The name of the task hub travels as a request header: use printable ASCII "
        "characters only.")),
    ("Endpoint=http://", NO_HOST.format("http")),
    ("Endpoint=http://h:0", NO_HOST.format("http")),
    ("Endpoint=http://h h", NO_HOST.format("http")),
    ("Endpoint=http://h:99999", BAD_PORT),
    ("Endpoint=http://h:port", BAD_PORT),
    ("Endpoint=http://[::1", BAD_PORT),
    ("Endpoint=http://h/hub", ("'Endpoint' has something after the host. Write only http://host:port, without path "
        "or query.")),
    ("Endpoint=https://h?sig=s3cr3t", ("'Endpoint' has something after the host. Write only https://host:port, "
        "without path or query.")),
    ("Endpoint=https://me:s3cr3t@h", ("'Endpoint' contains '@'. An endpoint takes no user name or password; remove "
        "them and use 'Authentication' to sign in.")),
    ("Endpoint=htps://h", ("'Endpoint' begins with htps://, which is not known. Did you mean https://? Known "
        "schemes are: grpc, grpcs, http, https, memory, sqlite.")),
    ("Endpoint=sqlite://", ("'Endpoint' names no SQLite file. Write sqlite:///relative/path.db or "
        "sqlite:////absolute/path.db.")),
    ("Endpoint=h;Authentication=DefaultAzur", ("Authentication=DefaultAzur is not known. Did you mean "
        f"'DefaultAzure'? Known values are: {VALUES}.")),
    ("Endpoint=h;Authentication=Kerberos", f"Authentication=Kerberos is not known. Known values are: {VALUES}."),
    ("Endpoint=h;Authentication=Bearer s3cr3t==", ("Authentication has a value that is not known. Known values are: "
        f"{VALUES}.")),
    ("Endpoint=h;Authentication=VisualStudio", ("Authentication=VisualStudio exists in .NET only: azure-identity has "
        "no Visual Studio credential for Python. Use VisualStudioCode, AzureCli or InteractiveBrowser.")),
    ("Endpoint=h;Authentication=intellij", ("Authentication=IntelliJ exists in Java only: azure-identity has no "
        "IntelliJ credential for Python. Use AzureCli, VisualStudioCode or InteractiveBrowser.")),
    ("Endpoint=h;AdditionallyAllowedTenants=,", ("'AdditionallyAllowedTenants' names no tenant. Write tenant ids "
        "separated by commas, or '*'.")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), ACCEPTED)
def test_an_accepted_string_has_the_stated_fields(text: str, expected: dict[str, object]) -> None:
    """Every form of the grammar arrives in the typed fields."""
    found = ConnectionString.parse(text)

    assert expected == {name: getattr(found, name) for name in expected}


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_a_refused_string_is_answered_with_its_own_message(text: str, message: str) -> None:
    """Every mistake has a message of its own that names the offending part and the fix."""
    with pytest.raises(ConnectionStringError) as raised:
        ConnectionString.parse(text)

    assert message == str(raised.value)
    assert "s3cr3t" not in repr(raised.value)


@pytest.mark.parametrize("text", [text for text, _ in ACCEPTED])
def test_the_text_of_a_connection_string_parses_to_the_same(text: str) -> None:
    """``str`` and ``parse`` are inverse to each other."""
    found = ConnectionString.parse(text)

    assert found == ConnectionString.parse(str(found))


PIECES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["Endpoint", "TaskHub", "Authentication", "ClientID", "AdditionallyAllowedTenants", "=", ";", '"', "'", "\x00",
         "http://", "https://", "sqlite:///", "memory://", "None", "DefaultAzure", "[", "]", "::1", ":8080", "@", " "]
    ),
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)))
@example("Endpoint=http://[v1.a]")
@example("Endpoint=http://\u2100")
@example("Endpoint=http://h:\u0661")
@example("Endpoint=" + "a" * 10_000 + "=;'")
def test_no_text_raises_anything_but_a_connection_string_error(text: str) -> None:
    """Whatever the text: a connection string that survives a round trip, or our error."""
    try:
        found = ConnectionString.parse(text)
    except ConnectionStringError:
        return

    assert found == ConnectionString.parse(str(found))


@given(st.one_of(st.none(), st.integers(), st.binary(), st.lists(st.text())))
def test_what_is_no_text_is_refused(value: object) -> None:
    """A value of another type is our error, too."""
    with pytest.raises(ConnectionStringError):
        ConnectionString.parse(value)  # type: ignore[arg-type]


SECRETS = st.text("abcdefghijklmnopqrstuvwxyz0123456789+/", min_size=16, max_size=40).map(
    lambda s: s + "Zq9=="
)


@given(st.sampled_from(["AccountKey", "Password", "Foo", "Endpoin", "x y"]), SECRETS)
def test_the_value_of_an_unknown_key_is_never_shown(key: str, secret: str) -> None:
    """Neither the message nor the chain of the error holds what stood behind an unknown key."""
    with pytest.raises(DurableTaskError) as raised:
        ConnectionString.parse(f"Endpoint=http://h;{key}={secret}")

    assert secret not in repr(raised.value)
    assert raised.value.__context__ is None


def test_the_environment_gives_the_string_and_the_task_hub() -> None:
    """``from_env`` reads both variables, and both may name the hub if they agree."""
    environ = {
        "DURABLETASK_CONNECTION_STRING": "Endpoint=http://h;TaskHub=a",
        "DURABLETASK_TASK_HUB_NAME": " a ",
    }

    assert ConnectionString.from_env(environ).task_hub == "a"


def test_an_environment_without_the_variable_is_told() -> None:
    """A missing variable is named."""
    with pytest.raises(ConnectionStringError, match="DURABLETASK_CONNECTION_STRING is not set"):
        ConnectionString.from_env({})


def test_an_environment_that_contradicts_itself_is_told() -> None:
    """Two different task hubs are an error that shows both and where they come from."""
    environ = {
        "DURABLETASK_CONNECTION_STRING": "Endpoint=http://h;TaskHub=a",
        "DURABLETASK_TASK_HUB_NAME": "b",
    }

    with pytest.raises(ConnectionStringError, match="says TaskHub=a, DURABLETASK_TASK_HUB_NAME says 'b'"):
        ConnectionString.from_env(environ)


def test_the_memory_database_of_sqlite_is_no_hub() -> None:
    """It used to make a file of that name."""
    with pytest.raises(ConnectionStringError, match="memory://"):
        ConnectionString.parse("Endpoint=sqlite:///:memory:")
