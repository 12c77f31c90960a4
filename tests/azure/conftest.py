"""A task hub behind TLS that checks tokens, and the places where tokens come from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from azure_edges import Certificate, GuardedServer, Mint, TokenPlaces, make_certificate

_AZURE_VARIABLES = ("AZURE_", "IDENTITY_", "IMDS_", "MSI_")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """An authority that only these tests trust."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def mint() -> Mint:
    """Who issues tokens."""
    return Mint()


@pytest.fixture
def edge(
    mint: Mint, certificate: Certificate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[TokenPlaces]:
    """The places where tokens come from, and an environment in which they are found."""
    import os

    for name in list(os.environ):
        if name.startswith(_AZURE_VARIABLES) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    with TokenPlaces(mint, certificate).running() as places:
        monkeypatch.setenv("HTTPS_PROXY", places.url)
        monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.authority))
        monkeypatch.setenv("HOME", str(tmp_path))
        yield places


@pytest_asyncio.fixture
async def server(
    mint: Mint, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[GuardedServer]:
    """A task hub named ``hub`` that checks tokens."""
    # gRPC reads this when the first secure channel of the process is made; the tests give the authority, too.
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(certificate.authority))
    guarded = GuardedServer(mint, certificate)
    await guarded.start()
    try:
        yield guarded
    finally:
        await guarded.stop(grace=0.5)
        for backend in guarded.backends.values():
            await backend.close()
