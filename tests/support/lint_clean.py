"""Modules in which the determinism lint must find nothing."""

from __future__ import annotations

CLEAN: dict[str, str] = {
    "the replacements": """
        async def orch(ctx: OrchestrationContext, names: list):
            ctx.set_custom_status("x")
            ctx.send_event("other", "name")
            ctx.signal_entity("counter", "add", 1)
            ctx.logger.info("at %s", ctx.current_utc_datetime)
            print(ctx.new_uuid(), ctx.random.random())
            await ctx.create_timer(3)
            ctx.continue_as_new(names)
    """,
    "logging and print": """
        import logging
        logger = logging.getLogger(__name__)
        async def orch(ctx: OrchestrationContext):
            logger.info("x")
            print("y")
    """,
    "values of the same modules": """
        import asyncio, time, uuid, random, os
        from datetime import datetime, timedelta, timezone
        async def orch(ctx: OrchestrationContext, at: float):
            generator = random.Random(ctx.instance_id)
            try:
                await ctx.create_timer(timedelta(seconds=3))
            except asyncio.CancelledError:
                raise
            day = time.strftime("%d", time.gmtime(at))
            key = uuid.uuid5(uuid.NAMESPACE_URL, "x")
            return datetime.fromtimestamp(at, timezone.utc), day, key, generator.random(), os.path.join("a", "b")
    """,
    "names that only look like modules": """
        async def orch(ctx: OrchestrationContext, random: list, time: object):
            socket = time
            return random.random(), time.time(), socket.connect()
    """,
    "a local function that shadows a builtin": """
        def open(path): return path
        async def orch(ctx: OrchestrationContext):
            return open("x")
    """,
    "types and exceptions by name": """
        import asyncio, requests
        from pathlib import Path
        async def orch(ctx: OrchestrationContext, path: Path):
            queue: "asyncio.Queue[int] | None" = None
            try:
                await ctx.call_activity("x", str(path / "a"))
            except (requests.ConnectionError, asyncio.TimeoutError) as error:
                raise requests.HTTPError("x") from error
            return queue, path.name, path.suffix, Path("x").parent
    """,
    "sets in any order": """
        async def orch(ctx: OrchestrationContext, names: list):
            unique = set(names)
            for name in sorted(unique):
                await ctx.call_activity("a", name)
            lengths = {len(name) for name in unique}
            small = sorted([n for n in unique]) + sorted(n for n in unique)
            return "a" in unique, len(unique), max(unique), sum(lengths), any(n for n in unique), small
    """,
    "a set that became a list": """
        async def orch(ctx: OrchestrationContext, names: list):
            names = sorted(set(names))
            for name in names:
                await ctx.call_activity("a", name)
            for key in {"a": 1}:
                await ctx.call_activity("a", key)
    """,
    "tasks that are used later": """
        async def orch(ctx: OrchestrationContext, names: list):
            tasks = []
            for name in names:
                tasks.append(ctx.call_activity("a", name))
            tasks += [ctx.call_activity("b")]
            more = [ctx.call_activity("c", name) for name in names] + [ctx.call_activity("d")]
            timer = ctx.create_timer(3)
            event = ctx.wait_for_external_event("go")
            winner = await ctx.task_any([timer, event])
            if winner == timer:
                return event.result
            timer.cancel()
            by_name = {name: ctx.call_activity("e", name) for name in names}
            await ctx.task_all(list(by_name.values()))
            return await ctx.task_all(tasks + more)
    """,
    "a task that is returned, stored or closed over": """
        class Box: ...
        def start(ctx):
            return ctx.call_activity("a")
        async def orch(ctx: OrchestrationContext):
            box = Box()
            box.task = ctx.call_activity("b")
            later = ctx.call_activity("c")
            async def wait():
                return await later
            async with await ctx.lock_entities(["a"]):
                pass
            return await start(ctx), await box.task, await wait(), await (lambda: ctx.create_timer(1))()
    """,
    "generators": """
        def orch(ctx: OrchestrationContext, _):
            a = yield ctx.call_activity("a")
            b = yield ctx.task_any([ctx.call_activity("b"), ctx.create_timer(1)])
            c = yield from child(ctx)
            return a, b, c
        def child(ctx):
            return (yield ctx.call_activity("c"))
    """,
    "activities, and functions that are never called": """
        import time
        async def act(ctx: ActivityContext, n: int):
            time.sleep(1)
            return time.time()
        def main():
            return time.time()
        async def orch(ctx: OrchestrationContext):
            async def inner(ctx: ActivityContext):
                return time.time()
            return await ctx.call_activity(act, 3)
    """,
    "an annotated function registered as an activity": """
        import time
        async def act(ctx: OrchestrationContext, n: int):
            return time.time()
        Worker(activities=[act])
    """,
    "optional and union annotations of other contexts": """
        import time
        from typing import Optional, Union
        async def one(ctx: Optional[ActivityContext], n: int):
            return time.time()
        async def two(ctx: "ActivityContext | None", n: int):
            return time.time()
        async def three(ctx: Union[EntityContext, "not a type", None], n: Optional[OrchestrationContext]):
            return time.time()
        async def orch(ctx: OrchestrationContext):
            return await ctx.call_activity(one, 3)
    """,
    "entities": """
        import time
        class Counter(TaskEntity):
            def add(self, amount):
                self.time = time.time()
        Worker(entities={"counter": Counter})
    """,
    "silenced lines": """
        import time
        async def orch(ctx: OrchestrationContext):
            a = time.time()  # durable: ok
            b = time.time()  #durable:ok because it is only logged
            ctx.call_activity("fire and forget")  # durable: ok DT111, DT101
            c = dict(  # durable: ok
                at=time.time(),
            )
            d = dict(
                at=time.time(),  # durable: ok - measured, never decided upon
            )
            return a, b, c, d
    """,
    "silenced next to comments of other tools, in any case": """
        import time
        async def orch(ctx: OrchestrationContext):
            a = time.time()  # noqa: X  # durable: ok
            b = time.time()  # type: ignore  # durable: ok DT101 only printed
            return a, b, time.time()  # Durable: OK dt101
    """,
    "silenced at the end of a statement of several lines": """
        import time
        async def orch(ctx: OrchestrationContext, path: str):
            a = max(
                time.time(),
                1,
            )  # durable: ok
            with open(
                path
            ) as file:  # durable: ok
                b = file
            if a and (
                time.time() > 3 or
                time.time() < 2  # why
            ):  # durable: ok DT101
                pass
            return [
                time.time(),
                a, b]  # durable: ok
    """,
    "star imports and relative imports": """
        from os import *
        from .random import choice
        from . import time
        async def orch(ctx: OrchestrationContext):
            return choice([1]), time.time()
    """,
    "match statements and walrus": """
        async def orch(ctx: OrchestrationContext, order: dict):
            match order:
                case {"kind": "a", **time}:
                    return time.time()
                case [random, *uuid]:
                    return random.random(), uuid.uuid4()
            if (value := await ctx.call_activity("x")) is not None:
                return value
    """,
    "names that refer to themselves": """
        async def orch(ctx: OrchestrationContext, a, b):
            x = a | b
            x = x | x - x & x
            y = z = x
            z = y
            y = z
            for item in y:
                print(item)
    """,
    "tasks in several targets, attributes and unusual annotations": """
        import asyncio
        async def orch(ctx: OrchestrationContext, broken: "not a type"):
            a, b = ctx.call_activity("a"), ctx.call_activity("b")
            c = d = ctx.call_activity("c")
            winner = await ctx.task_any([a, b, c])
            done = {winner is a: "a", winner in (b, d): "b"}
            return broken, done, ctx.call_activity("e").is_complete
    """,
    "nonlocal names": """
        async def orch(ctx: OrchestrationContext):
            pending = None
            def start():
                nonlocal pending
                pending = ctx.call_activity("a")
            start()
            return await pending
    """,
    "an orchestrator without parameters, and undefined names": """
        import time
        def nothing():
            return time.time()
        Worker(activities=[missing, 3, "name"], orchestrators=[also_missing, module.attribute, *more])
    """,
    "functions that only look a little like orchestrators": """
        import random, time
        import click
        async def act(ctx, n):
            time.sleep(1)
            return ctx.instance_id, random.random()
        async def registered(ctx, n):
            time.sleep(1)
            return ctx.call_activity("a")
        def node(node):
            time.sleep(1)
            node.create_timer(0.5, print)
        def other(ctx: click.Context):
            ctx.call_activity("a", time.time())
        def test_of_a_double(ctx):
            ctx.call_activity("a", time.time())
        def main(ctx):
            async def orch(ctx, n):
                return await ctx.call_activity("a")
            time.sleep(1)
        def rebound(ctx):
            ctx = make(time.time())
            ctx.call_activity("a")
        class Fake:
            def call_activity(self, activity):
                time.sleep(1)
            def run(self, activity):
                return self.call_activity(time.time())
        class Charge(TaskActivity):
            async def run(self, ctx, n):
                return ctx.call_activity(time.time())
        client = lambda c: c.call_activity(time.time())
        Worker(activities=[registered])
    """,
    "helpers that return a task": """
        def plain(ctx, n):
            return ctx.call_activity("a", n)
        async def chosen(ctx, n):
            return ctx.call_activity("a") if n else ctx.call_activity("b")
        def generator(ctx):
            yield ctx.create_timer(1)
            return ctx.call_activity("c")
        class Steps:
            async def start(self, c):
                return c.call_activity("d")
        async def orch(ctx: OrchestrationContext):
            task = await chosen(ctx, 1)
            other = await Steps().start(ctx)
            return await plain(ctx, 1), await task, await other
        def other(ctx: OrchestrationContext):
            task = yield from generator(ctx)
            return (yield task)
        def alias(ctx: OrchestrationContext):
            return orch(ctx)
    """,
    "locks that are waited for": """
        async def one(ctx: OrchestrationContext):
            async with ctx.lock_entities(["@a@1"]):
                pass
            with await ctx.lock_entities(["@a@1"]) as lock:
                pass
            later = ctx.lock_entities(["@a@1"])
            async with later:
                pass
        def two(ctx: OrchestrationContext):
            with (yield ctx.lock_entities(["@a@1"])):
                pass
    """,
    "generators and context managers of the module": """
        import contextlib
        def pairs(names):
            for name in names:
                yield name, name
        async def rows(ctx):
            yield await ctx.call_activity("a")
        def tasks(ctx, names):
            for name in names:
                yield ctx.call_activity("b", name)
        @contextlib.contextmanager
        def section(ctx, name):
            ctx.set_custom_status(name)
            yield
        @contextlib.asynccontextmanager
        async def locked(ctx):
            async with ctx.lock_entities(["@a@1"]):
                yield
        async def orch(ctx: OrchestrationContext, names: list):
            for a, b in pairs(names):
                print(a, b)
            more = pairs(names)
            for a, b in more:
                print(a, b)
            async for row in rows(ctx):
                print(row)
            with section(ctx, "x"):
                everything = [*pairs(names), *(a for a in pairs(names))]
            async with locked(ctx):
                return everything, await ctx.task_all([task for task in tasks(ctx, names)])
    """,
    "objects and functions of the module that do nothing wrong": """
        import functools
        from dataclasses import dataclass, field
        @dataclass
        class Order:
            lines: list = field(default_factory=list)
            @property
            def total(self): return sum(self.lines)
            def add(self, line): self.lines.append(line)
            @classmethod
            def of(cls, data): return cls(data)
            @staticmethod
            def empty(): return Order()
        double = lambda n: 2 * n
        add = functools.partial(sum, [1, 2])
        async def orch(ctx: OrchestrationContext, data: dict):
            order = Order.of(data) or Order.empty()
            made = Order()
            made.add(double(3))
            made.missing(ctx)
            functools.partial(unknown, 1)(ctx)
            return order.total + made.total + add()
    """,
    "sets that go into what takes them in any order": """
        async def orch(ctx: OrchestrationContext, names: list):
            unique = set(names)
            a = sorted(list(unique)), len(list(filter(None, unique))), set(map(str, unique))
            b = sorted(n.lower() for n in list(unique)), sorted([*unique, "x"], key=len), max((*unique,))
            c = "a" in list(unique), "b" not in [n for n in unique], {*unique}
            d = sorted(list(filter(None, map(str, unique)))), sum([1 for n in unique if n])
            e = sorted(list(set(await ctx.call_activity("a")))), len({k: 1 for k in unique})
            return a, b, c, d, e, frozenset([n for n in unique]), any([n == "a" for n in unique])
    """,
    "names that a star import may or may not bring": """
        from time import *
        from .helpers import *
        async def orch(ctx: OrchestrationContext):
            sleep(1)
            task_all([ctx.call_activity("a")])
    """,
    "decorators that make something else of a coroutine": """
        @registry[0]
        async def one(ctx): return await ctx.call_activity("a")
        @tools.started(limit=3)
        async def two(ctx): return await ctx.call_activity("a")
        async def orch(ctx: OrchestrationContext):
            one(ctx)
            with two(ctx):
                pass
    """,
    "calls that lead in circles or nowhere": """
        from functools import partial
        Alias = Alias | None
        again = partial(again, 1)
        first = second
        second = first
        class Steps(Other):
            def __init__(self): super().__init__()
            async def run(self, ctx: Alias):
                self.missing(ctx)
                return super().run(ctx)
            @staticmethod
            def loose(self, ctx):
                return self.run(ctx)
        async def orch(ctx: OrchestrationContext):
            super().run(ctx)
            again(ctx)
            first(ctx)
            twice = Steps()
            twice = other
            twice.run(ctx)
            return (twice.a or twice.b).run(ctx), Steps.loose(twice, ctx)
    """,
    "an activity that is called by the context, and a helper that is also an activity": """
        async def greet(ctx: ActivityContext, name: str) -> str: ...
        def double(amount): ...
        async def orch(ctx: OrchestrationContext, name: str):
            await ctx.call_activity(greet, name)
            return double(2)
        worker = DurableTaskWorker(hub, orchestrators=[orch], activities=[greet, double])
    """,
}
