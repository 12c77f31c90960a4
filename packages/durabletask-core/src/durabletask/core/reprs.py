"""How the models show themselves: with the length of a payload instead of its content.

Reprs end up in logs, in tracebacks and in the texts of errors, also of programs that never meant to show a payload.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["WithPayloads"]

_PAYLOADS: Final = frozenset(
    {
        "custom_status",
        "data",
        "entity_state",
        "input",
        "result",
        "serialized_custom_status",
        "serialized_input",
        "serialized_output",
        "serialized_state",
        "state",
    }
)


class WithPayloads(msgspec.Struct, frozen=True):
    """A model with payloads, as serialized text, among its fields."""

    def __repr__(self) -> str:
        parts = [f"{name}={_shown(name, getattr(self, name))}" for name in self.__struct_fields__]
        return f"{type(self).__name__}({', '.join(parts)})"


def _shown(name: str, value: object) -> str:
    if name in _PAYLOADS and isinstance(value, str):
        return f"<{len(value)} characters>"
    return repr(value)
