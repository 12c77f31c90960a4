"""``BlobStorage``: the destination of exports in Azure Blob Storage, against Azurite."""

from __future__ import annotations

import gzip
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
from azurite import running_azurite
from durabletask import DurableTaskClient, DurableTaskWorker, MissingPackageError, OrchestrationContext
from durabletask.azuremanaged import BlobStorage, blobs
from durabletask.core.destinations import ExportDestination
from durabletask.core.errors import ConfigurationError, InvalidRequestError, StorageError
from durabletask.core.exports.job import ExportStatus
from durabletask.core.history import decode_history
from durabletask.testing.clock import VirtualClock
from durabletask.testing.hub import InMemoryBackend
from other_products import NotInstallableError

ADDRESS = "https://archive.blob.core.windows.net"
azurite_test = [pytest.mark.process, pytest.mark.network, pytest.mark.timeout(300)]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package counts as installed; it is imported with the first write only."""
    monkeypatch.setattr(blobs, "_is_installed", lambda: True)


# --- without a server -------------------------------------------------------------------------------------------------


def test_the_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch):
    """Where the destination is made, and not with the first export."""
    monkeypatch.setattr(blobs, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'durabletask-azuremanaged\[blob\]'"):
        BlobStorage(ADDRESS, credential="key")


def test_a_package_above_that_is_missing_is_the_same(monkeypatch: pytest.MonkeyPatch):
    """``azure.storage`` itself need not exist."""

    def fail(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(blobs, "find_spec", fail)
    with pytest.raises(MissingPackageError):
        BlobStorage(ADDRESS, credential="key")


class AsyncCredential:
    async def get_token(self, *scopes: str) -> object: ...


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("account", "credential", "words"),
    [
        (ADDRESS, None, "needs a credential: pass credential=DefaultAzureCredential"),
        (ADDRESS, AsyncCredential(), "is an async AsyncCredential; BlobStorage needs the blocking one"),
        ("archive", None, "neither an address, such as"),
        (
            "AccountName=a;AccountKey=k",
            "key",
            "either a connection string of the storage account, or its address",
        ),
        (f"Endpoint={ADDRESS};Authentication=DefaultAzure", "key", "either Authentication= or credential="),
        (f"Endpoint={ADDRESS};Authentication=None", None, "Authentication=None gives no Azure credential"),
        (f"Endpoint={ADDRESS};Authentication=AzureCli;ClientID=c", None, "AzureCli does not use 'ClientID'"),
        (f"Endpoint={ADDRESS};Authentication=AzurCli", None, "AzureCli"),
    ],
)
def test_an_account_that_cannot_be_used_is_refused(account: str, credential: object, words: str):
    """With what to write instead."""
    with pytest.raises(ConfigurationError, match=words):
        BlobStorage(account, credential=credential)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("account", "credential", "shown"),
    [
        (f"{ADDRESS}/?sv=2024&sig=SECRET", None, f"{ADDRESS}/"),
        (ADDRESS, "SECRET", ADDRESS),
        ("AccountName=a;AccountKey=SECRET", None, "a connection string"),
        ("UseDevelopmentStorage=true", None, "UseDevelopmentStorage=true"),
        (f"Endpoint={ADDRESS};Authentication=ManagedIdentity;ClientID=c", None, ADDRESS),
    ],
)
def test_secrets_are_not_shown(account: str, credential: object, shown: str):
    """The repr ends up in logs."""
    assert repr(BlobStorage(account, credential=credential)) == f"BlobStorage({shown!r})"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("container", "name"), [("exports", "../secret/f"), ("exports", "a/./f"), ("..", "f")]
)
async def test_a_name_cannot_lead_out_of_the_container(container: str, name: str):
    """The HTTP client would resolve it, to a container that the worker may not write to."""
    storage = BlobStorage("UseDevelopmentStorage=true", containers=[container])
    with pytest.raises(InvalidRequestError, match="lead out of the container"):
        await storage.write(
            container, name, b"", content_type="text/plain", content_encoding=None, metadata={}
        )


@pytest.mark.usefixtures("installed")
async def test_an_authentication_value_becomes_its_credential(monkeypatch: pytest.MonkeyPatch):
    """As in the connection string of a task hub; made in a thread, with the first write."""
    made: dict[str, Any] = {}

    class Service:
        def __init__(self, address: str, *, credential: object) -> None:
            made.update(address=address, credential=credential, thread=threading.current_thread())

        def get_container_client(self, container: str) -> object:
            return SimpleNamespace(upload_blob=lambda name, data, **options: made.update(name=name))

        def close(self) -> None:
            made["closed"] = True

    modules = {
        "azure.storage.blob": SimpleNamespace(BlobServiceClient=Service, ContentSettings=dict),
        "azure.identity": SimpleNamespace(ManagedIdentityCredential=lambda **given: ("identity", given)),
    }
    monkeypatch.setattr("importlib.import_module", modules.__getitem__)
    storage = BlobStorage(f"Endpoint={ADDRESS};Authentication=ManagedIdentity;ClientID=c")
    assert made == {}
    await put(storage, "a.json", b"[]")
    assert (made["address"], made["credential"]) == (ADDRESS, ("identity", {"client_id": "c"}))
    assert made["thread"] is not threading.main_thread()
    await storage.close()
    await storage.close()
    assert made["closed"]


@pytest.mark.usefixtures("installed")
async def test_only_the_given_containers_can_be_named():
    """A job may be created by any client."""
    storage = BlobStorage("UseDevelopmentStorage=true", containers="exports")
    with pytest.raises(
        InvalidRequestError, match=r"does not export to the container 'other'.* write to: exports"
    ):
        await put(storage, "a.json", b"[]", "other")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("status", "kind"), [(400, InvalidRequestError), (403, StorageError), (None, StorageError)]
)
async def test_errors_do_not_show_a_signature(
    monkeypatch: pytest.MonkeyPatch, status: int | None, kind: type[Exception]
):
    """HTTP clients put the whole address into their errors; those become the state of the job."""

    class Refused(Exception):
        status_code = status

    class Service:
        def __init__(self, address: str, **options: object) -> None: ...

        def get_container_client(self, container: str) -> object:
            return self

        def upload_blob(self, *_: object, **options: object) -> None:
            raise Refused(
                "Max retries exceeded with url: /c/b?sv=2024&sig=SECRET%3D (Caused by ...)\nRequestId: 1"
            )

    module = SimpleNamespace(BlobServiceClient=Service, ContentSettings=dict)
    monkeypatch.setattr("importlib.import_module", {"azure.storage.blob": module}.__getitem__)
    with pytest.raises(kind) as caught:
        await put(BlobStorage(f"{ADDRESS}?sv=2024&sig=SECRET%3D"), "a.json", b"[]")
    assert str(caught.value).endswith(
        "exports/a.json: Refused: Max retries exceeded with url: /c/b?*** (Caused by ...)"
    )
    assert caught.value.__suppress_context__


async def put(storage: ExportDestination, name: str, content: bytes, container: str = "exports") -> None:
    await storage.write(
        container,
        name,
        content,
        content_type="application/json",
        content_encoding=None,
        metadata={"instanceId": "Zoë"},
    )


# --- against Azurite --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def azurite() -> Iterator[str]:
    if find_spec("azure.storage") is None:
        raise NotInstallableError("azure-storage-blob is not installed; create the environment again")
    with running_azurite() as account:
        yield account


@pytest.fixture
async def storage(azurite: str) -> AsyncIterator[BlobStorage]:
    storage = BlobStorage(azurite)
    yield storage
    await storage.close()


def read(azurite: str, container: str, name: str) -> Any:
    """An object as another program finds it: content and properties."""
    from azure.storage.blob import BlobServiceClient

    with BlobServiceClient.from_connection_string(azurite) as service:
        blob = service.get_blob_client(container, name)
        return blob.download_blob(decompress=False).readall(), blob.get_blob_properties()


class TestAgainstAzurite:
    pytestmark = azurite_test

    async def test_an_object_is_written_into_a_new_container(self, azurite: str, storage: BlobStorage):
        """With its headers; metadata that no header can carry is percent-encoded."""
        await put(storage, "a/b.json", b"[1]", "fresh")
        content, properties = read(azurite, "fresh", "a/b.json")
        assert content == b"[1]"
        assert properties.content_settings.content_type == "application/json"
        assert properties.metadata == {"instanceId": "Zo%C3%AB"}

    async def test_an_object_is_replaced(self, azurite: str, storage: BlobStorage):
        """A repeated export changes nothing but the time."""
        await put(storage, "a.json", b"first, and longer")
        await put(storage, "a.json", b"second")
        assert read(azurite, "exports", "a.json")[0] == b"second"

    async def test_a_destination_may_be_used_again_after_it_was_closed(
        self, azurite: str, storage: BlobStorage
    ):
        """A worker may be started again."""
        await put(storage, "b.json", b"1")
        await storage.close()
        await put(storage, "b.json", b"2")
        assert read(azurite, "exports", "b.json")[0] == b"2"

    async def test_a_container_that_cannot_exist_is_named(self, storage: BlobStorage):
        """It is a mistake in the job, which no retry mends."""
        with pytest.raises(InvalidRequestError, match=r"did not take No_Such/a\.json: HttpResponseError"):
            await put(storage, "a.json", b"1", "No_Such")

    async def test_a_job_exports_to_blobs(self, azurite: str):
        """Histories in gzip, with the headers that the other SDKs give them."""
        from azure.storage.blob import BlobServiceClient

        clock = VirtualClock()
        hub = InMemoryBackend("exports", clock=clock)
        client = DurableTaskClient(hub)
        start = clock.now()

        async def greet(ctx: OrchestrationContext, name: str) -> str:
            await ctx.create_timer(1)
            return f"Hello {name}"

        async with DurableTaskWorker(hub, orchestrators=[greet], export_to=BlobStorage(azurite)):
            for number in range(5):
                await client.schedule_new_orchestration(greet, "you", instance_id=f"i{number}")
            for number in range(5):
                await client.wait_for_orchestration_completion(f"i{number}")
            await clock.advance(timedelta(seconds=1))  # what ends at the end of the window is not in it
            await client.exports.create(
                "nightly", completed_from=start, completed_to=clock.now(), container="nightly"
            )
            job = await client.exports.wait("nightly")
        await hub.close()

        assert job is not None
        assert (job.status, job.exported, job.last_error) == (ExportStatus.COMPLETED, 5, None)
        with BlobServiceClient.from_connection_string(azurite) as service:
            names = [each.name for each in service.get_container_client("nightly").list_blobs()]
        assert len(names) == 5
        found = set()
        for name in names:
            content, properties = read(azurite, "nightly", name)
            assert name.startswith("batch-nightly/")
            assert properties.content_settings.content_encoding == "gzip"
            assert properties.content_settings.content_type == "application/jsonl+gzip"
            events = decode_history(b"[" + b",".join(gzip.decompress(content).splitlines()) + b"]")
            found.add(properties.metadata["instanceId"])
            assert events[1].instance_id == properties.metadata["instanceId"]  # type: ignore[union-attr]
        assert found == {f"i{number}" for number in range(5)}
