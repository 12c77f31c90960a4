"""From an Authentication value to the class of azure-identity (protocol section 2.2).

azure-identity is imported when the first token is needed, and its classes are made then: it takes longer to
import than everything else, and a program that runs against a local hub never needs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from durabletask.core.connection import CredentialProvider
from durabletask.core.connection_string import ConnectionString
from durabletask.core.errors import ConnectionStringError

from .scope import scope_of
from .sources import AsyncSource, BlockingSource, is_async
from .token_cache import AzureCredentialProvider

__all__ = [
    "AUTHENTICATIONS",
    "Authentication",
    "from_connection_string",
    "from_credential",
    "make_credential",
]


@dataclass(frozen=True)
class Authentication:
    """What an Authentication value stands for.

    Attributes:
        class_name: class of ``azure.identity``.
        keys: field of ``ConnectionString`` -> arguments of that class which take it.
        hint: what to do when it gives no token.
    """

    class_name: str
    keys: Mapping[str, tuple[str, ...]]
    hint: str


_TENANTS = {"tenant_id": ("tenant_id",), "additionally_allowed_tenants": ("additionally_allowed_tenants",)}
_KEY_NAMES = {
    "client_id": "ClientID",
    "tenant_id": "TenantId",
    "additionally_allowed_tenants": "AdditionallyAllowedTenants",
    "token_file_path": "TokenFilePath",
}

AUTHENTICATIONS: Mapping[str, Authentication] = {
    "DefaultAzure": Authentication(
        "DefaultAzureCredential",
        {
            "client_id": ("managed_identity_client_id", "workload_identity_client_id"),
            "additionally_allowed_tenants": ("additionally_allowed_tenants",),
        },
        "In Azure, give the host a managed identity; on your machine, run 'az login'.",
    ),
    "ManagedIdentity": Authentication(
        "ManagedIdentityCredential",
        {"client_id": ("client_id",)},
        "Check that this host runs in Azure and has a managed identity; a user-assigned one needs "
        "'ClientID=<its client id>'. On your machine use AzureCli.",
    ),
    "WorkloadIdentity": Authentication(
        "WorkloadIdentityCredential",
        {"client_id": ("client_id",), **_TENANTS, "token_file_path": ("token_file_path",)},
        "Check ClientID, TenantId and TokenFilePath (or the variables AZURE_CLIENT_ID, AZURE_TENANT_ID and "
        "AZURE_FEDERATED_TOKEN_FILE that AKS sets), and the federated credential of the identity.",
    ),
    "Environment": Authentication(
        "EnvironmentCredential",
        {},
        "Check AZURE_TENANT_ID and AZURE_CLIENT_ID, with AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH.",
    ),
    "AzureCli": Authentication(
        "AzureCliCredential",
        _TENANTS,
        "Run 'az login', for the tenant of the scheduler: 'az login --tenant <id>'.",
    ),
    "AzurePowerShell": Authentication(
        "AzurePowerShellCredential",
        _TENANTS,
        "Run 'Connect-AzAccount', for the tenant of the scheduler: 'Connect-AzAccount -Tenant <id>'.",
    ),
    "VisualStudioCode": Authentication(
        "VisualStudioCodeCredential",
        _TENANTS,
        "Sign in with the Azure Resources extension of VS Code, and run 'pip install azure-identity-broker'; or use "
        "AzureCli.",
    ),
    "InteractiveBrowser": Authentication(
        "InteractiveBrowserCredential",
        {"client_id": ("client_id",), **_TENANTS},
        "A browser must be able to open on this machine; elsewhere use ManagedIdentity or Environment.",
    ),
}
"""Authentication value -> what it stands for."""


def from_connection_string(
    connection_string: ConnectionString, *, resource_id: str | None = None
) -> CredentialProvider:
    """The entry point of all Authentication values of this package.

    Args:
        connection_string: its ``authentication`` and the keys that belong to it.
        resource_id: the resource to request tokens for; ``None`` means that of the cloud.

    Raises:
        ConnectionStringError: the string has a key that this value does not use.
    """
    value = connection_string.authentication or ""
    source = BlockingSource(make_credential(connection_string), scope_of(resource_id), is_owner=True)
    return AzureCredentialProvider(source, what=f"Authentication={value}", hint=AUTHENTICATIONS[value].hint)


def make_credential(connection_string: ConnectionString) -> Callable[[], object]:
    """What makes the blocking credential of azure-identity for an Authentication value.

    Raises:
        ConnectionStringError: the value is not of azure-identity, or the string has a key that it does not use.
    """
    value = connection_string.authentication or ""
    authentication = AUTHENTICATIONS.get(value)
    if authentication is None:
        raise ConnectionStringError(
            f"Authentication={value} gives no Azure credential. Use one of: {', '.join(AUTHENTICATIONS)}."
        )
    arguments = _arguments(connection_string, value, authentication)

    def make() -> object:
        module = importlib.import_module("azure.identity")
        return cast("Callable[..., object]", getattr(module, authentication.class_name))(**arguments)

    return make


def from_credential(
    credential: object,
    connection_string: ConnectionString | None = None,  # noqa: ARG001 - entry points of this kind are given it
    *,
    resource_id: str | None = None,
) -> CredentialProvider:
    """The entry point for a sync or async ``TokenCredential`` that is given as ``credential=``.

    The credential stays the caller's, who closes it.

    Args:
        credential: an object with ``get_token(*scopes)``, blocking or async.
        connection_string: where the token will be sent.
        resource_id: the resource to request tokens for; ``None`` means that of the cloud.
    """
    scope = scope_of(resource_id)
    source = (
        AsyncSource(credential, scope)
        if is_async(credential)
        else BlockingSource(lambda: credential, scope, is_owner=False)
    )
    return AzureCredentialProvider(
        source,
        what=f"the credential argument ({type(credential).__name__})",
        hint="Check that the credential can be used on this machine.",
    )


def _arguments(
    connection_string: ConnectionString, value: str, authentication: Authentication
) -> dict[str, object]:
    arguments: dict[str, object] = {}
    for field, key in _KEY_NAMES.items():
        given: str | tuple[str, ...] | None = getattr(connection_string, field)
        if not given:
            continue
        if field not in authentication.keys:
            users = [name for name, other in AUTHENTICATIONS.items() if field in other.keys]
            raise ConnectionStringError(
                f"Authentication={value} does not use '{key}'. Remove it, or use one of: {', '.join(users)}."
            )
        for argument in authentication.keys[field]:
            arguments[argument] = given if isinstance(given, str) else list(given)
    return arguments
