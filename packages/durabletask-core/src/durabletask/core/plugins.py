"""What other distributions provide, found by entry points; core imports none of them.

* ``durabletask.transports``: endpoint scheme -> ``TransportFactory``;
* ``durabletask.credentials``: Authentication value -> ``CredentialFactory``. The entry named ``credential``
  is different: ``factory(credential, connection_string)`` adapts an object given as ``credential=``.

The tables name the distributions of this project, so that the message about a missing one names it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, cast

from .errors import MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.metadata import EntryPoint

__all__ = [
    "AUTHENTICATION_PACKAGES",
    "CREDENTIALS_GROUP",
    "CREDENTIAL_ADAPTER",
    "SCHEME_PACKAGES",
    "TRANSPORTS_GROUP",
    "installed_names",
    "load_plugin",
]

TRANSPORTS_GROUP: str = "durabletask.transports"
"""Entry points: endpoint scheme -> ``TransportFactory``."""

CREDENTIALS_GROUP: str = "durabletask.credentials"
"""Entry points: Authentication value -> ``CredentialFactory``."""

CREDENTIAL_ADAPTER: str = "credential"
"""Name of the entry point that adapts an object given as ``credential=``."""

SCHEME_PACKAGES: dict[str, str] = {
    "http": "durabletask-grpc",
    "https": "durabletask-grpc",
    "grpc": "durabletask-grpc",
    "grpcs": "durabletask-grpc",
    "memory": "durabletask-testing",
    "sqlite": "durabletask-testing",
}
"""Endpoint scheme -> distribution of this project that provides it."""

AUTHENTICATION_PACKAGES: dict[str, str] = dict.fromkeys(
    (
        "DefaultAzure",
        "ManagedIdentity",
        "WorkloadIdentity",
        "Environment",
        "AzureCli",
        "AzurePowerShell",
        "VisualStudioCode",
        "InteractiveBrowser",
    ),
    "durabletask-azuremanaged",
)
"""Authentication value in its usual spelling -> distribution of this project that provides it."""


_BUILT_IN: dict[str, dict[str, str]] = {
    TRANSPORTS_GROUP: {
        **dict.fromkeys(
            ("http", "https", "grpc", "grpcs"), "durabletask.grpc.transport:from_connection_string"
        ),
        **dict.fromkeys(("memory", "sqlite"), "durabletask.testing.hub.embedded:from_connection_string"),
    },
    CREDENTIALS_GROUP: {
        **dict.fromkeys(
            AUTHENTICATION_PACKAGES, "durabletask.azuremanaged.credentials:from_connection_string"
        ),
        CREDENTIAL_ADAPTER: "durabletask.azuremanaged.credentials:from_credential",
    },
}
# The entry points of this project's distributions once more, for programs without their metadata: frozen ones
# (PyInstaller) and zip files. A test compares the table with the metadata.


@cache
def _entry_points(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by folded name; read once, because it opens every distribution's metadata."""
    # Imported here: it costs more than the rest of this module, and an embedded or direct transport needs none.
    from importlib.metadata import EntryPoint, entry_points  # noqa: PLC0415
    from importlib.util import find_spec  # noqa: PLC0415

    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        found.setdefault(entry.name.lower(), entry)
    for name, value in _BUILT_IN.get(group, {}).items():
        package = ".".join(value.split(".")[:2])
        if name.lower() not in found and _is_installed(package, find_spec):
            found[name.lower()] = EntryPoint(name, value, group)
    return found


def _is_installed(package: str, find_spec: Callable[[str], object]) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # ValueError: an import of it has failed, or is forbidden
        return False


def installed_names(group: str) -> dict[str, str]:
    """Names of the entry points of a group: folded -> as spelled by their distribution."""
    return {folded: entry.name for folded, entry in _entry_points(group).items()}


def load_plugin(group: str, name: str, what: str, package: str | None) -> object:
    """The object behind an entry point.

    Args:
        group: group of entry points.
        name: its name, without regard to case.
        what: what needs it, as the first words of a message.
        package: distribution of this project that brings it, if it is one of this project.

    Raises:
        MissingPackageError: it is not installed, or cannot be imported.
    """
    entry = _entry_points(group).get(name.lower())
    install = f"pip install {package}" if package else f"install the package that provides it ({group})"
    if entry is None:
        raise MissingPackageError(f"{what} needs a package that is not installed. Run: {install}")
    try:
        return cast("object", entry.load())
    except ImportError as error:
        raise MissingPackageError(
            f"{what} is provided by {entry.value}, which cannot be imported ({error}). Run: {install}"
        ) from error
