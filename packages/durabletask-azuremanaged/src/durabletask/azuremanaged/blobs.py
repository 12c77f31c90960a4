"""Azure Blob Storage as the destination of history exports.

The package ``azure-storage-blob`` is the extra ``blob``. Its blocking client is used, in threads: the async one needs an
HTTP client of its own, and credentials of another kind than the rest of this package.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import threading
from collections.abc import Callable, Collection, Mapping
from importlib.util import find_spec
from typing import Protocol, cast
from urllib.parse import quote, urlsplit

from durabletask.core.connection_string import ConnectionString
from durabletask.core.errors import ConfigurationError, InvalidRequestError, MissingPackageError, StorageError

from .credentials import make_credential
from .sources import is_async, redacted

__all__ = ["BlobStorage"]

_BAD_REQUEST = 400
_NO_CONTAINER = "ContainerNotFound"
_QUERY = re.compile(r"\?[^\s'\")>]+")
_RACE = frozenset({"ContainerAlreadyExists", "BlobAlreadyExists"})


class _Container(Protocol):
    def upload_blob(self, name: str, data: bytes, **options: object) -> object: ...
    def create_container(self) -> object: ...


class _Service(Protocol):
    def get_container_client(self, container: str) -> _Container: ...
    def close(self) -> None: ...


class BlobStorage:
    """A storage account: ``DurableTaskWorker(..., export_to=BlobStorage(...))``.

    The container is that of the export job, and is created if it does not exist. Objects have their content type and
    encoding, and the instance id as metadata; one that is not ASCII is percent-encoded there.

    Args:
        account: one of

            * the address of the account, with ``credential=`` or a shared access signature as its query:
              ``https://ACCOUNT.blob.core.windows.net``;
            * the address with a way to authenticate, as in the connection string of a task hub:
              ``Endpoint=https://ACCOUNT.blob.core.windows.net;Authentication=ManagedIdentity``;
            * a connection string of the account, which has a key, or ``UseDevelopmentStorage=true`` for Azurite.
        credential: a blocking ``TokenCredential``, which stays the caller's, or an account key.
        containers: the only containers that jobs may name; any by default.

    Raises:
        MissingPackageError: ``azure-storage-blob`` is not installed.
        ConfigurationError: the account cannot be used; the message says why.
    """

    def __init__(
        self, account: str, *, credential: object | None = None, containers: Collection[str] | None = None
    ) -> None:
        if not _is_installed():
            raise MissingPackageError(
                "BlobStorage needs the package azure-storage-blob, which is not installed. Run: "
                "pip install 'durabletask-azuremanaged[blob]'"
            )
        if isinstance(containers, str):
            containers = [containers]
        self._containers = None if containers is None else frozenset(containers)
        self._shown, self._make = _plan(account.strip(), credential)
        self._service: _Service | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"BlobStorage({self._shown!r})"

    async def write(
        self,
        container: str,
        name: str,
        content: bytes,
        *,
        content_type: str,
        content_encoding: str | None,
        metadata: Mapping[str, str],
    ) -> None:
        """See ``durabletask.core.destinations.ExportDestination``.

        Raises:
            InvalidRequestError: the container is not among those allowed, or its name or that of the object is not valid.
            StorageError: the account does not answer, or refuses the object for now.
        """
        if self._containers is not None and container not in self._containers:
            raise InvalidRequestError(
                f"This worker does not export to the container {container!r}. It may write to: "
                f"{', '.join(sorted(self._containers))}."
            )
        if not {".", ".."}.isdisjoint(f"{container}/{name}".split("/")):
            # HTTP clients resolve such parts, so that the address is that of another container.
            raise InvalidRequestError(
                f"{container}/{name} is no name of a blob: '.' and '..' lead out of the container."
            )

        def settings() -> object:  # its module takes a while to import
            make = cast(
                "Callable[..., object]", importlib.import_module("azure.storage.blob").ContentSettings
            )
            return make(content_type=content_type, content_encoding=content_encoding)

        def upload() -> None:
            client = self._client().get_container_client(container)
            options = {
                "overwrite": True,
                "content_settings": settings(),
                "metadata": {key: _as_header(value) for key, value in metadata.items()},
            }
            try:
                client.upload_blob(name, content, **options)
            except Exception as error:
                if _code_of(error) != _NO_CONTAINER:
                    raise
                _create(client)
                client.upload_blob(name, content, **options)

        try:
            await asyncio.to_thread(upload)
        except Exception as error:  # noqa: BLE001 - all kinds of its HTTP client
            # Without its cause: texts of errors can have the address with a shared access signature.
            text = f"{self!r} did not take {container}/{name}: {_reason(error)}"
            is_final = getattr(error, "status_code", None) == _BAD_REQUEST
            raise (InvalidRequestError(text) if is_final else StorageError(text)) from None

    async def close(self) -> None:
        """Close the connections; the next ``write`` opens new ones."""
        with self._lock:
            service, self._service = self._service, None
        if service is not None:
            await asyncio.to_thread(service.close)

    def _client(self) -> _Service:
        with self._lock:
            if self._service is None:
                self._service = self._make()
            return self._service


def _is_installed() -> bool:
    try:
        return find_spec("azure.storage.blob") is not None
    except (ImportError, ValueError):  # no azure.storage at all
        return False


def _plan(account: str, credential: object | None) -> tuple[str, Callable[[], _Service]]:
    """How the account is shown, and how its client is made."""
    keys = {part.partition("=")[0].strip().lower() for part in account.split(";")}
    if "authentication" in keys:
        return _of_authentication(ConnectionString.parse(account), credential)
    if account.lower().startswith(("https://", "http://")):
        return _of_address(account, credential)
    if credential is not None:
        raise ConfigurationError(
            "Give either a connection string of the storage account, or its address and credential=."
        )
    if not keys & {"usedevelopmentstorage", "accountname", "blobendpoint"}:
        raise ConfigurationError(
            "The storage account is neither an address, such as https://ACCOUNT.blob.core.windows.net, nor a connection "
            "string of a storage account."
        )
    shown = "UseDevelopmentStorage=true" if "usedevelopmentstorage" in keys else "a connection string"
    return shown, lambda: cast("_Service", _service_class().from_connection_string(account))


def _of_authentication(
    text: ConnectionString, credential: object | None
) -> tuple[str, Callable[[], _Service]]:
    if credential is not None:
        raise ConfigurationError("Give either Authentication= or credential=, and not both.")
    make = make_credential(text)
    return text.endpoint, lambda: cast("_Service", _service_class()(text.endpoint, credential=make()))


def _of_address(account: str, credential: object | None) -> tuple[str, Callable[[], _Service]]:
    address = urlsplit(account)
    shown = f"{address.scheme}://{address.netloc}{address.path}"
    if credential is None and not address.query:
        raise ConfigurationError(
            f"{shown} needs a credential: pass credential=DefaultAzureCredential(), or write "
            f"'Endpoint={shown};Authentication=DefaultAzure'."
        )
    if credential is not None and not isinstance(credential, str) and is_async(credential):
        raise ConfigurationError(
            f"credential= is an async {type(credential).__name__}; BlobStorage needs the blocking one, of azure.identity "
            "instead of azure.identity.aio."
        )
    return shown, lambda: cast("_Service", _service_class()(account, credential=credential))


class _ServiceClass(Protocol):
    def __call__(self, account_url: str, *, credential: object) -> object: ...
    def from_connection_string(self, text: str) -> object: ...


def _service_class() -> _ServiceClass:
    return cast("_ServiceClass", importlib.import_module("azure.storage.blob").BlobServiceClient)


def _create(client: _Container) -> None:
    try:
        client.create_container()
    except Exception as error:
        if _code_of(error) not in _RACE:  # another write has created it
            raise


def _code_of(error: Exception) -> str:
    """The service's code of an error; an enumeration in some versions of the package."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code))


def _reason(error: Exception) -> str:
    """The first line of an error, without the queries of addresses."""
    line = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {redacted(_QUERY.sub('?***', line))}"


def _as_header(value: str) -> str:
    return value if value.isascii() and value.isprintable() else quote(value)
