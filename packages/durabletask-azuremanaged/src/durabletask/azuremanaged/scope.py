"""The scope of the tokens that are requested (protocol section 2.3)."""

from __future__ import annotations

import os
from collections.abc import Mapping

from durabletask.core.errors import ConfigurationError

__all__ = ["PUBLIC_RESOURCE_ID", "US_GOVERNMENT_RESOURCE_ID", "scope_of"]

PUBLIC_RESOURCE_ID: str = "https://durabletask.io"
"""Resource id of the public cloud."""

US_GOVERNMENT_RESOURCE_ID: str = "https://durabletask.azure.us"
"""Resource id where the environment variable ``REGION_NAME`` names a US government or DoD region."""

_GOVERNMENT_REGIONS = ("usgov", "usdod")
_SUFFIX = "/.default"


def scope_of(resource_id: str | None = None, *, environ: Mapping[str, str] | None = None) -> str:
    """The scope to request.

    Args:
        resource_id: the resource; slashes and ``/.default`` at its end do not matter. ``None`` means the cloud
            that ``REGION_NAME`` belongs to.
        environ: where ``REGION_NAME`` is looked up; ``None`` means the environment of the process.

    Raises:
        ConfigurationError: nothing is left of the resource id.
    """
    if resource_id is None:
        region = (os.environ if environ is None else environ).get("REGION_NAME", "").strip().lower()
        is_government = region.startswith(_GOVERNMENT_REGIONS)
        return (US_GOVERNMENT_RESOURCE_ID if is_government else PUBLIC_RESOURCE_ID) + _SUFFIX
    text = resource_id.strip().rstrip("/")
    if text.lower().endswith(_SUFFIX) or text.lower() == _SUFFIX[1:]:
        text = text[: -len(_SUFFIX)].rstrip("/")
    if not text:
        raise ConfigurationError(f"The resource id is empty. Leave it out, or write {PUBLIC_RESOURCE_ID!r}.")
    return text + _SUFFIX
