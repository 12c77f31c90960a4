"""Commands of a test: carried out in the order in which they were given, awaited or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator

__all__ = ["Command", "CommandQueue"]

__tracebackhide__ = True


class Command(Awaitable[None]):
    """A command in progress. Awaiting it waits for its effects, and raises what went wrong."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task: asyncio.Task[None] = task
        self.is_awaited: bool = False

    def __await__(self) -> Generator[object, None, None]:
        """Wait for the effects."""
        self.is_awaited = True
        yield from self.task.__await__()


class CommandQueue:
    """Runs commands one after another."""

    def __init__(self) -> None:
        self._commands: list[Command] = []

    @property
    def is_busy(self) -> bool:
        """Whether a command is in progress or waits to run."""
        return any(not command.task.done() for command in self._commands)

    def submit(self, action: Callable[[], Awaitable[None]]) -> Command:
        """Carry out ``action`` after every earlier command."""
        previous = self._commands[-1].task if self._commands else None

        async def follow() -> None:
            if previous is not None and not previous.done():
                await asyncio.wait([previous])
            await action()

        command = Command(asyncio.ensure_future(follow()))
        self._commands.append(command)
        return command

    async def drain(self) -> None:
        """Wait for every command; raise the error of one that was not awaited."""
        commands, self._commands = self._commands, []
        for command in commands:
            if not command.is_awaited:
                await command
            elif not command.task.done():
                await asyncio.wait([command.task])

    async def cancel(self) -> None:
        """Cancel what is still in progress."""
        commands, self._commands = self._commands, []
        for command in commands:
            command.task.cancel()
        await asyncio.gather(*(command.task for command in commands), return_exceptions=True)
