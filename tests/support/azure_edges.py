"""The outermost edge of Azure, on this machine: who issues tokens, and a hub that checks them.

Everything between is real: azure-identity, gRPC over TLS, client and worker. ``TokenPlaces`` is the metadata
service, the App Service endpoint and the sign-in service in one; the last is reached as
``login.microsoftonline.com`` through a proxy, which is how it needs no setting that a program would not have.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from durabletask.core.errors import TaskHubNotFoundError
from durabletask.grpc.incoming_call import Context, Handler
from durabletask.grpc.server import TaskHubServer
from durabletask.testing.hub import InMemoryBackend

SIGN_IN_HOST = "login.microsoftonline.com"
AUDIENCE = "https://durabletask.io"
TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"


@dataclass
class Certificate:
    """A certificate authority and a certificate that it gave to this machine, as files."""

    authority: Path
    chain: Path
    key: Path


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    """What a strict verifier (Python 3.13 is one by default) wants to see in a certificate."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not is_authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def make_certificate(folder: Path) -> Certificate:
    """A new authority, and a certificate for localhost and the sign-in host."""
    now = dt.datetime.now(dt.timezone.utc)

    def build(subject: str, public: Any, issuer: str, signer: Any, authority: Any | None) -> x509.Certificate:
        names = [x509.DNSName("localhost"), x509.DNSName(SIGN_IN_HOST)]
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(_key_usage(is_authority=authority is None), critical=True)
        )
        if authority is not None:
            issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority)
            builder = builder.add_extension(issuer_key, critical=False)
            builder = builder.add_extension(x509.SubjectAlternativeName([*names, address]), critical=False)
        return builder.sign(signer, hashes.SHA256())

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = build("test authority", root_key.public_key(), "test authority", root_key, None)
    leaf = build("localhost", key.public_key(), "test authority", root_key, root_key.public_key())
    pem = serialization.Encoding.PEM
    found = Certificate(folder / "authority.pem", folder / "chain.pem", folder / "key.pem")
    found.authority.write_bytes(root.public_bytes(pem))
    found.chain.write_bytes(leaf.public_bytes(pem) + root.public_bytes(pem))
    found.key.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return found


@dataclass
class Mint:
    """Issues tokens and knows which of them are good."""

    lifetime: float = 3600.0
    clock: Callable[[], float] = time.time
    revoked: set[str] = field(default_factory=set)
    issued: dict[str, dict[str, Any]] = field(default_factory=dict)

    def issue(self, identity: str, *, tenant: str = TENANT, audience: str = AUDIENCE) -> tuple[str, int]:
        """A new token and when it expires."""
        expires = int(self.clock() + self.lifetime)
        claims = {"aud": audience, "tid": tenant, "appid": identity, "exp": expires, "n": len(self.issued)}
        token = ".".join(_part(part) for part in ({"alg": "none"}, claims, {"signature": "x" * 40}))
        self.issued[token] = claims
        return token, expires

    def objection(self, token: str, tenant: str) -> str | None:
        """Why a token is not accepted."""
        claims = self.issued.get(token)
        if claims is None:
            return "the token is not known"
        if token in self.revoked:
            return "the token has been revoked"
        if claims["exp"] <= self.clock():
            return "the token has expired"
        if claims["aud"] != AUDIENCE:
            return f"the token is for the audience {claims['aud']}"
        if claims["tid"] != tenant:
            return f"the token is for the tenant {claims['tid']}, not for {tenant}"
        return None


def _part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


class TokenPlaces(ThreadingHTTPServer):
    """Where real credentials get their tokens: metadata service, App Service, sign-in service by proxy."""

    daemon_threads = True

    def __init__(self, mint: Mint, certificate: Certificate) -> None:
        super().__init__(("127.0.0.1", 0), _Places)
        self.mint = mint
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate.chain, certificate.key)

    @property
    def url(self) -> str:
        """Address of the metadata service, and of the proxy."""
        return f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def running(self) -> Iterator[TokenPlaces]:
        """Serve in a thread."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


class _Places(BaseHTTPRequestHandler):
    server: TokenPlaces
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        self.setup()
        self.close_connection = False
        while not self.close_connection:
            self.handle_one_request()

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        values = {name: found[0] for name, found in parse_qs(url.query).items()}
        self.server.requests.append((url.path, values))
        if (url.path == "/metadata/identity/oauth2/token" and self.headers.get("Metadata")) or (
            url.path == "/msi/token" and self.headers.get("X-IDENTITY-HEADER") == "header"
        ):
            self._token(values.get("client_id", "system"), TENANT, values.get("resource", ""))
        elif url.path.endswith("/discovery/instance"):
            aliases = {
                "preferred_network": SIGN_IN_HOST,
                "preferred_cache": SIGN_IN_HOST,
                "aliases": [SIGN_IN_HOST],
            }
            tenant = values["authorization_endpoint"].split("/")[3]
            self._json(200, {"tenant_discovery_endpoint": _configuration(tenant), "metadata": [aliases]})
        elif url.path.endswith("/.well-known/openid-configuration"):
            tenant = url.path.split("/")[1]
            base = f"https://{SIGN_IN_HOST}/{tenant}"
            self._json(
                200,
                {
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                    "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                    "issuer": f"https://{SIGN_IN_HOST}/{tenant}/v2.0",
                },
            )
        else:
            self._json(404, {"error": "not_found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        values = {name: found[0] for name, found in parse_qs(body).items()}
        path = urlsplit(self.path).path
        self.server.requests.append((path, values))
        if values.get("client_assertion") == "wrong" or values.get("client_secret") == "wrong":
            self._json(
                401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid secret."}
            )
            return
        scope = values.get("scope", "").split()[0].removesuffix("/.default")
        self._token(values.get("client_id", ""), path.split("/")[1], scope, code=values.get("code"))

    def _token(self, identity: str, tenant: str, audience: str, *, code: str | None = None) -> None:
        token, expires = self.server.mint.issue(identity, tenant=tenant, audience=audience)
        user = {} if code is None else _user(identity, tenant, nonce=code, expires=expires)
        self._json(
            200,
            {
                "access_token": token,
                "expires_in": str(int(expires - self.server.mint.clock())),
                "expires_on": str(expires),
                "resource": audience,
                "token_type": "Bearer",
                "client_id": identity,
                **user,
            },
        )

    def _json(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def _user(identity: str, tenant: str, *, nonce: str, expires: int) -> dict[str, str]:
    """Who signed in, as a browser sign-in is answered; the code of these tests is the nonce."""
    claims = {
        "aud": identity,
        "iss": f"https://{SIGN_IN_HOST}/{tenant}/v2.0",
        "exp": expires,
        "iat": expires - 3600,
        "sub": "user",
        "oid": "user",
        "tid": tenant,
        "preferred_username": "user@example.org",
        "nonce": nonce,
    }
    id_token = ".".join(_part(part) for part in ({"alg": "none"}, claims, {"signature": "x"}))
    return {"id_token": id_token, "client_info": _part({"uid": "user", "utid": tenant})}


def _configuration(tenant: str) -> str:
    return f"https://{SIGN_IN_HOST}/{tenant}/v2.0/.well-known/openid-configuration"


class GuardedServer(TaskHubServer):
    """A server of task hubs that lets in only calls with a good token of its tenant, over TLS.

    Attributes:
        seen: headers of the calls so far.
        refused: what was objected to.
    """

    def __init__(
        self, mint: Mint, certificate: Certificate | None, *, hubs: tuple[str, ...] = ("hub",)
    ) -> None:
        self.backends = {name: InMemoryBackend(name) for name in hubs}
        super().__init__(
            self._hub,
            tls=None
            if certificate is None
            else (certificate.key.read_bytes(), certificate.chain.read_bytes()),
        )
        self.mint = mint
        self.seen: list[dict[str, str]] = []
        self.refused: list[str] = []
        self._cut = asyncio.Event()

    @property
    def address(self) -> str:
        """The endpoint, by the name that the certificate has."""
        return f"https://localhost:{self.port}"

    def cut_streams(self) -> None:
        """End all streams of work as a hub does whose caller's token has expired."""
        self._cut.set()
        self._cut = asyncio.Event()

    def _hub(self, name: str) -> InMemoryBackend:
        if name not in self.backends:
            raise TaskHubNotFoundError(f"There is no task hub {name!r}.")
        return self.backends[name]

    def wrap_handler(self, rpc: str, handler: Handler) -> Handler:
        """Check the headers of a call before its handler runs."""
        admitted = self._until_cut(handler) if rpc == "GetWorkItems" else handler

        async def guarded(data: bytes, context: Context) -> bytes | None:
            headers = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
            self.seen.append({"rpc": rpc, **headers})
            scheme, _, token = headers.get("authorization", "").partition(" ")
            objection = (
                self.mint.objection(token, TENANT) if scheme == "Bearer" else "there is no bearer token"
            )
            if objection is not None:
                self.refused.append(objection)
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, objection)
            return await admitted(data, context)

        return guarded

    def _until_cut(self, stream: Handler) -> Handler:
        async def serve(data: bytes, context: Context) -> None:
            work, cut = asyncio.ensure_future(stream(data, context)), asyncio.ensure_future(self._cut.wait())
            try:
                await asyncio.wait({work, cut}, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    await work
                    return
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token has expired")
            finally:
                work.cancel()
                cut.cancel()
                await asyncio.wait({work, cut})

        return serve
