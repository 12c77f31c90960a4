"""The local emulator: a task hub server for one machine, ``durabletask-emulator``."""

__all__: list[str] = []
