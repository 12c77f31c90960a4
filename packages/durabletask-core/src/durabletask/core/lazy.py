"""Packages whose names are imported at their first use.

A type checker needs ordinary imports, under ``TYPE_CHECKING``. ``lazy_names`` makes what the package has instead when
it runs, from one table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from sys import modules

__all__ = ["lazy_names"]


def lazy_names(
    package: str, homes: Mapping[str, tuple[str, ...]]
) -> tuple[list[str], Callable[[str], object], Callable[[], list[str]]]:
    """The ``__all__``, ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: its ``__name__``.
        homes: modules below it, with the names that each of them defines.
    """
    home_of = {name: home for home, names in homes.items() for name in names}
    exported = sorted(home_of)

    def find(name: str) -> object:
        home = home_of.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"{package}.{home}"), name)
        setattr(modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(modules[package]), *exported})

    return exported, find, names
