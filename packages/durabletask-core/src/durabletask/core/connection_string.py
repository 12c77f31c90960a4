"""The grammar of connection strings and their typed form (protocol section 2).

``Key=Value`` pairs joined by ``;``. The first ``=`` of a pair separates; keys are case-insensitive; keys and
values are trimmed; empty segments are ignored; the last of two equal keys wins. A value may stand in single
or double quotation marks (doubled inside), which is how it can contain ``;``.

There is no key for a secret, and unknown keys are refused. So the text of a ``ConnectionString`` may be
logged, and messages of this module show keys, hosts and names, never the value of an unknown key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from urllib.parse import urlsplit

from .errors import ConnectionStringError, nearest_names
from .plugins import (
    AUTHENTICATION_PACKAGES,
    CREDENTIAL_ADAPTER,
    CREDENTIALS_GROUP,
    SCHEME_PACKAGES,
    TRANSPORTS_GROUP,
    installed_names,
)

__all__ = ["ANONYMOUS", "CONNECTION_STRING_VARIABLE", "TASK_HUB_VARIABLE", "ConnectionString"]

CONNECTION_STRING_VARIABLE: str = "DURABLETASK_CONNECTION_STRING"
"""Environment variable that holds the connection string."""

TASK_HUB_VARIABLE: str = "DURABLETASK_TASK_HUB_NAME"
"""Environment variable that holds the name of the task hub."""

ANONYMOUS: str = "None"
"""The Authentication value that means: no credential, no ``authorization`` header."""

_EXAMPLE = "Endpoint=http://localhost:8080;TaskHub=default;Authentication=None"
_DEFAULT_TASK_HUB = "default"

_DEFAULT_PORTS: dict[str, int] = {"http": 80, "grpc": 80, "https": 443, "grpcs": 443}
_SECURE_SCHEMES = frozenset({"https", "grpcs"})
_EMBEDDED_SCHEMES = frozenset({"memory", "sqlite"})

# Values that other SDKs of the protocol know and azure-identity does not offer to Python (section 2.2).
_ELSEWHERE: dict[str, str] = {
    "visualstudio": "Authentication=VisualStudio exists in .NET only: azure-identity has no Visual Studio "
    "credential for Python. Use VisualStudioCode, AzureCli or InteractiveBrowser.",
    "intellij": "Authentication=IntelliJ exists in Java only: azure-identity has no IntelliJ credential for "
    "Python. Use AzureCli, VisualStudioCode or InteractiveBrowser.",
}
# Keys of other services' connection strings that would carry a secret, and where the secret belongs instead.
_SECRET_KEYS = frozenset(
    {"clientsecret", "accesskey", "accountkey", "sharedaccesskey", "password", "pwd", "token", "apikey"}
)

_SEGMENT = re.compile(
    r"""\s*(?:
        (?P<key>[^=;]*?)\s*=\s*(?:
            "(?P<double>(?:[^"]|"")*)"\s*(?=;|$)
          | '(?P<single>(?:[^']|'')*)'\s*(?=;|$)
          | (?P<bare>[^;]*)
        )
      | (?P<lone>[^=;]*)
    )(?:;|$)""",
    re.VERBOSE,
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_PLAIN_WORD = re.compile(r"[A-Za-z][A-Za-z0-9 _.-]{0,39}")
_ADDRESS = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?[A-Za-z0-9._\[\]:-]+/?")


@dataclass(frozen=True, kw_only=True)
class ConnectionString:
    """The content of a connection string, checked. ``str()`` gives text that ``parse`` reads back.

    Attributes:
        endpoint: address of the hub with its scheme (``https://`` when none was given), no trailing slash.
        task_hub: name of the task hub, or ``None`` when it is given elsewhere.
        authentication: an Authentication value in its usual spelling, or ``None`` when absent.
        client_id: client id of a managed or workload identity.
        tenant_id: tenant of a workload identity.
        additionally_allowed_tenants: further tenants for which a workload identity may get tokens.
        token_file_path: file with the token of a workload identity.
        scheme: scheme of the endpoint, lower case.
        host: host of the endpoint; empty for ``sqlite``; the name of the hub group for ``memory``.
        port: port of the endpoint, by default that of the scheme; ``None`` for ``memory`` and ``sqlite``.
        path: file of a ``sqlite`` endpoint (``sqlite:///relative``, ``sqlite:////absolute``); of a scheme that another
            package brings everything after host and port, with its slash; else empty.

    Raises:
        ConnectionStringError: a value cannot be used; the message names the key and the fix.
    """

    endpoint: str
    task_hub: str | None = None
    authentication: str | None = None
    client_id: str | None = None
    tenant_id: str | None = None
    additionally_allowed_tenants: tuple[str, ...] = ()
    token_file_path: str | None = None
    scheme: str = field(init=False, repr=False, compare=False)
    host: str = field(init=False, repr=False, compare=False)
    port: int | None = field(init=False, repr=False, compare=False)
    path: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        scheme, host, port, path, endpoint = _split_endpoint(self.endpoint)
        checked: dict[str, object] = {
            "scheme": scheme,
            "host": host,
            "port": port,
            "path": path,
            "endpoint": endpoint,
            "additionally_allowed_tenants": tuple(self.additionally_allowed_tenants),
        }
        if self.task_hub is not None:
            checked["task_hub"] = _checked_task_hub(self.task_hub)
        if self.authentication is not None:
            checked["authentication"] = _known_authentication(self.authentication)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @classmethod
    def parse(cls, text: str) -> ConnectionString:
        """Read a connection string.

        Args:
            text: e.g. ``Endpoint=https://x.region.durabletask.io;TaskHub=hub;Authentication=DefaultAzure``.

        Raises:
            ConnectionStringError: the text cannot be used; the message names the offending part and the fix.
        """
        values = _read_pairs(text)
        if "endpoint" not in values:
            raise ConnectionStringError(
                f"The connection string has no 'Endpoint'. Add it, for example: {_EXAMPLE}"
            )
        tenants = values.pop("additionally_allowed_tenants", None)
        known = {name: value for name, value in values.items() if name != "endpoint"}
        return cls(
            endpoint=values["endpoint"],
            additionally_allowed_tenants=() if tenants is None else _read_tenants(tenants),
            **known,
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> ConnectionString:
        """Read ``DURABLETASK_CONNECTION_STRING`` and, if set, ``DURABLETASK_TASK_HUB_NAME``.

        Args:
            environ: where to look; ``None`` means the environment of the process.

        Raises:
            ConnectionStringError: the variable is not set, or the text cannot be used.
        """
        environ = os.environ if environ is None else environ
        text = environ.get(CONNECTION_STRING_VARIABLE, "").strip()
        if not text:
            raise ConnectionStringError(
                f"The environment variable {CONNECTION_STRING_VARIABLE} is not set. Set it, for example: {_EXAMPLE}"
            )
        parsed = cls.parse(text)
        hub = environ.get(TASK_HUB_VARIABLE, "").strip()
        return parsed.with_task_hub(hub, source=TASK_HUB_VARIABLE) if hub else parsed

    def with_task_hub(
        self, task_hub: str | None, *, source: str = "the task hub argument"
    ) -> ConnectionString:
        """The same with ``task_hub``, which may come from either side but not differ.

        Args:
            task_hub: a task hub given outside of the string; ``None`` when there is none.
            source: where it comes from, for the message.

        Raises:
            ConnectionStringError: the string names another task hub, or none is named.
        """
        if task_hub is None:
            if self.task_hub is not None:
                return self
            if self.is_local:
                return replace(self, task_hub=_DEFAULT_TASK_HUB)
            raise ConnectionStringError(
                "No task hub is named. Give it as the second argument, or add 'TaskHub=<name>' to the "
                "connection string."
            )
        hub = _checked_task_hub(task_hub)
        if self.task_hub is not None and self.task_hub != hub:
            raise ConnectionStringError(
                f"The connection string says TaskHub={self.task_hub}, {source} says {hub!r}. Name the task hub in "
                "one place, or give both the same value."
            )
        return replace(self, task_hub=hub)

    @property
    def is_secure(self) -> bool:
        """Whether the scheme asks for TLS."""
        return self.scheme in _SECURE_SCHEMES

    @property
    def is_embedded(self) -> bool:
        """Whether the hub lives in this process (``memory``, ``sqlite``)."""
        return self.scheme in _EMBEDDED_SCHEMES

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        host = self.host.rstrip(".").lower()
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def is_local(self) -> bool:
        """Whether ``Authentication`` and ``TaskHub`` may be left out: no host, or plaintext to this machine."""
        return self.is_embedded or not self.host or (not self.is_secure and self.is_loopback)

    def __str__(self) -> str:
        pairs = ((key, getattr(self, name)) for key, name in _KEYS.items())
        return ";".join(f"{key}={_quoted(value)}" for key, value in pairs if value)


_KEYS: dict[str, str] = {
    "Endpoint": "endpoint",
    "TaskHub": "task_hub",
    "Authentication": "authentication",
    "ClientID": "client_id",
    "TenantId": "tenant_id",
    "AdditionallyAllowedTenants": "additionally_allowed_tenants",
    "TokenFilePath": "token_file_path",
}
_FIELDS_BY_KEY: dict[str, str] = {key.lower(): name for key, name in _KEYS.items()}
_KEYS_BY_FIELD: dict[str, str] = {name: key for key, name in _KEYS.items()}


# --- reading ------------------------------------------------------------------------------------------------------


def _read_pairs(text: object) -> dict[str, str]:
    """The pairs of a connection string by the names of the fields; the last of two equal keys wins."""
    if not isinstance(text, str):
        raise ConnectionStringError(f"A connection string must be a str, not {type(text).__name__}.")
    if not text.strip():
        raise ConnectionStringError(f"The connection string is empty. An example: {_EXAMPLE}")
    if "=" not in text:
        raise ConnectionStringError(_no_pairs(text.strip()))
    values: dict[str, str] = {}
    position, number = 0, 0
    while position < len(text):
        match = _SEGMENT.match(text, position)
        assert match is not None  # noqa: S101 - every alternative may be empty, so the pattern always matches
        position, number = match.end(), number + 1
        pair = _read_pair(match, number)
        if pair is not None:
            values[pair[0]] = pair[1]
    return values


def _read_pair(match: re.Match[str], number: int) -> tuple[str, str] | None:
    """Field name and value of one segment, ``None`` when the segment is empty."""
    key = match["key"]
    if key is None:
        if not match["lone"].strip():
            return None
        raise ConnectionStringError(
            f"Segment {number} of the connection string has no '='. Every segment is Key=Value; a value that "
            "contains ';' must stand in quotation marks."
        )
    name = _FIELDS_BY_KEY.get(key.strip().lower())
    if name is None:
        raise ConnectionStringError(_unknown_key(key.strip(), number))
    return name, _read_value(match, _KEYS_BY_FIELD[name])


def _read_value(match: re.Match[str], key: str) -> str:
    for group, mark in (("double", '"'), ("single", "'")):
        if match[group] is not None:
            value = match[group].replace(mark * 2, mark)
            break
    else:
        value = match["bare"].strip()
        if value[:1] in {'"', "'"}:
            raise ConnectionStringError(
                f"The value of '{key}' opens a quotation mark {value[0]} that does not close before the next ';'. "
                "Close it, or leave the marks out."
            )
    if not value.strip():
        raise ConnectionStringError(f"'{key}' has no value. Write {key}=<value>, or leave the key out.")
    if not value.isprintable():
        raise ConnectionStringError(
            f"The value of '{key}' contains a line break or another control character. Remove it."
        )
    return value


def _read_tenants(text: str) -> tuple[str, ...]:
    tenants = tuple(tenant.strip() for tenant in text.split(",") if tenant.strip())
    if not tenants:
        raise ConnectionStringError(
            "'AdditionallyAllowedTenants' names no tenant. Write tenant ids separated by commas, or '*'."
        )
    return tenants


def _no_pairs(text: str) -> str:
    if _ADDRESS.fullmatch(text):
        if (
            "://" not in text and ConnectionString(endpoint=text).is_loopback
        ):  # without a scheme it would mean TLS
            return (
                f"{text!r} is an address, not a connection string. For a hub on this machine, such as "
                f"durabletask-emulator, write: Endpoint=http://{text};TaskHub=default;Authentication=None"
            )
        return (
            f"{text!r} is an address, not a connection string. Write: "
            f"Endpoint={text};TaskHub=<name>;Authentication=<how to sign in>"
        )
    return f"The connection string has no Key=Value pair. An example: {_EXAMPLE}"


def _unknown_key(key: str, number: int) -> str:
    if key[:1] in {'"', "'"}:
        return (
            "The connection string begins with a quotation mark. Remove the marks around the whole string; only "
            "a value may stand in quotation marks."
        )
    if not key:
        return f"Segment {number} of the connection string has no key before its '='. Write Key=Value."
    if re.sub(r"[^a-z]", "", key.lower()) in _SECRET_KEYS:
        return (
            f"A connection string does not take secrets, but it has the key {key!r}. Remove it (and renew the "
            "secret if this text was shared); sign in by Authentication=Environment or another value instead."
        )
    known = ", ".join(_KEYS)
    if not _PLAIN_WORD.fullmatch(key):
        return f"Segment {number} of the connection string has an unknown key. Known keys are: {known}."
    near = nearest_names(key, _KEYS, limit=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"The connection string has the unknown key {key!r}. {hint}Known keys are: {known}."


def _quoted(value: str | tuple[str, ...]) -> str:
    text = value if isinstance(value, str) else ",".join(value)
    if ";" in text or text != text.strip() or text[:1] in {'"', "'"}:
        return '"' + text.replace('"', '""') + '"'
    return text


# --- checking values -------------------------------------------------------------------------------------------------


def _split_endpoint(endpoint: object) -> tuple[str, str, int | None, str, str]:
    """Scheme, host, port, path and the endpoint in its normal form."""
    if not isinstance(endpoint, str) or not endpoint.strip() or not endpoint.isprintable():
        raise ConnectionStringError(f"'Endpoint' must be an address in text. An example: {_EXAMPLE}")
    endpoint = endpoint.strip()
    match = _SCHEME.fullmatch(endpoint)
    scheme, rest = (match[1].lower(), match[2]) if match else ("https", endpoint)
    if scheme not in SCHEME_PACKAGES and scheme not in installed_names(TRANSPORTS_GROUP):
        raise ConnectionStringError(_unknown_scheme(scheme))
    if scheme == "sqlite":
        path = _sqlite_path(rest)
        return scheme, "", None, path, f"sqlite:///{path}"
    if scheme == "memory":
        return scheme, rest.rstrip("/"), None, "", f"memory://{rest.rstrip('/')}"
    if "@" in rest:
        raise ConnectionStringError(
            "'Endpoint' contains '@'. An endpoint takes no user name or password; remove them and use "
            "'Authentication' to sign in."
        )
    if scheme not in SCHEME_PACKAGES:
        return _third_party_endpoint(scheme, rest)
    host, port = _host_and_port(scheme, rest)
    shown_host = f"[{host}]" if ":" in host else host
    shown_port = "" if port is None else f":{port}"
    return scheme, host, port or _DEFAULT_PORTS.get(scheme), "", f"{scheme}://{shown_host}{shown_port}"


def _third_party_endpoint(scheme: str, rest: str) -> tuple[str, str, int | None, str, str]:
    """An endpoint of a transport that is not ours: host and port if there are any, then whatever it needs."""
    address, slash, path = rest.partition("/")
    host, port = _host_and_port(scheme, address) if address else ("", None)
    return scheme, host, port, slash + path, f"{scheme}://{rest}"


def _sqlite_path(rest: str) -> str:
    if not rest.startswith("/") or not rest[1:].strip("/"):
        raise ConnectionStringError(
            "'Endpoint' names no SQLite file. Write sqlite:///relative/path.db or sqlite:////absolute/path.db."
        )
    if rest[1:].strip().startswith(":memory:"):
        raise ConnectionStringError(
            "'Endpoint' has the name that SQLite has for a database in memory, which a task hub does not use. Write "
            "memory:// for a hub in memory, or the path of a file."
        )
    return rest[1:]


def _host_and_port(scheme: str, rest: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname or "", parts.port
        if ":" in host:
            ip_address(host)
    except ValueError:
        raise ConnectionStringError(
            "'Endpoint' has an invalid host or port. Write scheme://host:port, the port between 1 and 65535, an "
            "IPv6 address in square brackets."
        ) from None
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ConnectionStringError(
            f"'Endpoint' has something after the host. Write only {scheme}://host:port, without path or query."
        )
    if port == 0 or (":" not in host and not _HOST.fullmatch(host)):
        raise ConnectionStringError(
            f"'Endpoint' has no valid host or port. Write {scheme}://host:port, the port between 1 and 65535."
        )
    return host, port


def _unknown_scheme(scheme: str) -> str:
    known = sorted({*SCHEME_PACKAGES, *installed_names(TRANSPORTS_GROUP)})
    near = nearest_names(scheme, known, limit=1)
    hint = f"Did you mean {near[0]}://? " if near else ""
    shown = f"{scheme}://" if _PLAIN_WORD.fullmatch(scheme) else "a scheme"
    return f"'Endpoint' begins with {shown}, which is not known. {hint}Known schemes are: {', '.join(known)}."


def _checked_task_hub(task_hub: object) -> str:
    if not isinstance(task_hub, str) or not task_hub.strip():
        raise ConnectionStringError("The task hub has no name. Give a text that is not empty.")
    name = task_hub.strip()
    if not (name.isascii() and name.isprintable()):
        raise ConnectionStringError(
            "The name of the task hub travels as a request header: use printable ASCII characters only."
        )
    return name


def _known_authentication(value: object) -> str:
    """The usual spelling of an Authentication value."""
    if not isinstance(value, str) or not value.strip():
        raise ConnectionStringError(
            "'Authentication' has no value. Write Authentication=None to sign in nowhere."
        )
    folded = value.strip().lower()
    elsewhere = _ELSEWHERE.get(folded)
    if elsewhere is not None and folded not in installed_names(CREDENTIALS_GROUP):
        raise ConnectionStringError(elsewhere)
    known = {name.lower(): name for name in (ANONYMOUS, *AUTHENTICATION_PACKAGES)}
    if folded not in known:
        known.update(
            (folded, name)
            for folded, name in installed_names(CREDENTIALS_GROUP).items()
            if name != CREDENTIAL_ADAPTER
        )
    if folded in known:
        return known[folded]
    near = nearest_names(value.strip(), known.values(), limit=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    shown = f"={value.strip()}" if _PLAIN_WORD.fullmatch(value.strip()) else " has a value that"
    raise ConnectionStringError(
        f"Authentication{shown} is not known. {hint}Known values are: {', '.join(sorted(known.values()))}."
    )
