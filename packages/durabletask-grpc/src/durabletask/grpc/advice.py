"""What to do when a hub cannot be reached: the usual causes, recognised by the address and the words of gRPC."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .address import Address

__all__ = ["explain_unavailable"]


def explain_unavailable(
    address: Address, details: str, environment: Mapping[str, str] = os.environ
) -> tuple[str, str]:
    """What happened, in plain words where they are known, and what to do.

    Args:
        address: where the hub should be.
        details: the words of gRPC.
        environment: environment variables, for the proxy in force.
    """
    if address.is_secure and "WRONG_VERSION_NUMBER" in details:
        return (
            "the server there does not speak TLS",
            f"A plaintext hub, such as durabletask-emulator, is reached at http://{address.target}.",
        )
    if address.is_secure and "CERTIFICATE_VERIFY_FAILED" in details:
        return (
            "the certificate of the server is not trusted",
            "Check the host name, or name the certificate authority with ChannelOptions(root_certificates=...).",
        )
    if address.is_local:
        return details, f"Is durabletask-emulator running, and at port {address.target.rpartition(':')[2]}?"
    advice = "Check the endpoint and that a hub is running there."
    variable = proxy_variable(address, environment)
    if variable is not None:
        advice += (
            f" Connections go through the proxy that the environment variable {variable} names; to go around it, add "
            "the host to no_proxy."
        )
    return details, advice


def proxy_variable(address: Address, environment: Mapping[str, str]) -> str | None:
    """The environment variable whose proxy gRPC uses for an address, in gRPC's order."""
    variable = next(
        (name for name in ("grpc_proxy", "https_proxy", "http_proxy") if environment.get(name)), None
    )
    exempt = environment.get("no_grpc_proxy") or environment.get("no_proxy") or ""
    host = address.target.rpartition(":")[0]
    if any(host.endswith(suffix.strip()) for suffix in exempt.split(",") if suffix.strip()):
        return None
    return variable
