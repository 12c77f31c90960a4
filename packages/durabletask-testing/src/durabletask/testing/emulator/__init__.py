"""The local emulator: a task hub server for one machine, ``durabletask-emulator``."""
