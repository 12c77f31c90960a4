"""Modules with something for the determinism lint to find."""

from __future__ import annotations

# Each snippet is the body of a module. A line that ends in `#! DT101` must have exactly these findings.
FINDINGS: dict[str, str] = {
    "datetime.now": """
        from datetime import datetime
        async def orch(ctx: OrchestrationContext):
            started = datetime.now()  #! DT101
            return started
    """,
    "datetime through a module alias": """
        import datetime as dt
        async def orch(ctx: OrchestrationContext):
            return dt.datetime.now(dt.timezone.utc), dt.date.today()  #! DT101 DT101
    """,
    "a renamed function": """
        from time import time as now
        async def orch(ctx: OrchestrationContext):
            return now()  #! DT101
    """,
    "an alias at module level": """
        import time
        clock = time.monotonic
        async def orch(ctx: OrchestrationContext):
            return clock()  #! DT101
    """,
    "an alias inside of the function": """
        import time
        async def orch(ctx: OrchestrationContext):
            clock = time.perf_counter  #! DT101
            return clock()
    """,
    "an import inside of the function": """
        async def orch(ctx: OrchestrationContext):
            import time
            return time.time_ns()  #! DT101
    """,
    "bare localtime": """
        import time
        async def orch(ctx: OrchestrationContext):
            return time.localtime(), time.strftime("%H")  #! DT101 DT101
    """,
    "random functions": """
        import random
        from random import choice
        async def orch(ctx: OrchestrationContext):
            return random.random() + choice([1, 2])  #! DT102 DT102
    """,
    "unseeded generators": """
        import random
        async def orch(ctx: OrchestrationContext):
            return random.Random().random(), random.SystemRandom()  #! DT102 DT102
    """,
    "secrets and urandom": """
        import os, secrets
        async def orch(ctx: OrchestrationContext):
            return secrets.token_hex(), os.urandom(8)  #! DT102 DT102
    """,
    "numpy": """
        import numpy as np
        async def orch(ctx: OrchestrationContext):
            return np.random.rand(3)  #! DT102
    """,
    "a function handed on": """
        import random
        async def orch(ctx: OrchestrationContext, names: list):
            return sorted(names, key=random.random)  #! DT102
    """,
    "uuid1 and uuid4": """
        import uuid
        from uuid import uuid4 as new_id
        async def orch(ctx: OrchestrationContext):
            return [uuid.uuid1(), str(new_id())]  #! DT103 DT103
    """,
    "os.environ": """
        import os
        async def orch(ctx: OrchestrationContext):
            a = os.environ["A"]  #! DT104
            b = os.environ.get("B")  #! DT104
            return a, b, os.getenv("C")  #! DT104
    """,
    "environ imported by name": """
        from os import environ
        async def orch(ctx: OrchestrationContext):
            return "DEBUG" in environ  #! DT104
    """,
    "the machine": """
        import platform, socket
        async def orch(ctx: OrchestrationContext):
            return platform.node(), socket.gethostname()  #! DT104 DT104
    """,
    "time.sleep": """
        import time
        async def orch(ctx: OrchestrationContext):
            time.sleep(1)  #! DT105
    """,
    "asyncio.sleep and gather": """
        import asyncio
        async def orch(ctx: OrchestrationContext):
            await asyncio.sleep(1)  #! DT106
            return await asyncio.gather(ctx.call_activity("a"))  #! DT106
    """,
    "asyncio waits": """
        import asyncio
        async def orch(ctx: OrchestrationContext):
            task = ctx.call_activity("a")
            await asyncio.wait([task])  #! DT106
            return await asyncio.wait_for(task, 3)  #! DT106
    """,
    "asyncio tasks": """
        import asyncio
        async def helper(): ...
        async def orch(ctx: OrchestrationContext):
            await asyncio.create_task(helper())  #! DT106
            loop = asyncio.get_event_loop()  #! DT106
            await loop.run_in_executor(None, print)
    """,
    "asyncio synchronisation": """
        from asyncio import Event, Lock, Queue
        async def orch(ctx: OrchestrationContext):
            things = [Queue(), Event(), Lock()]  #! DT106 DT106 DT106
            return things
    """,
    "asyncio.to_thread and timeout": """
        import asyncio
        async def orch(ctx: OrchestrationContext):
            async with asyncio.timeout(3):  #! DT106
                await asyncio.to_thread(print)  #! DT106
    """,
    "other event loops": """
        import anyio, trio
        async def orch(ctx: OrchestrationContext):
            await anyio.sleep(1)  #! DT106
            await trio.sleep(1)  #! DT106
    """,
    "threads": """
        import threading
        from concurrent.futures import ThreadPoolExecutor
        async def orch(ctx: OrchestrationContext):
            threading.Thread(target=print).start()  #! DT107
            with ThreadPoolExecutor() as pool:  #! DT107
                pool.submit(print)
    """,
    "processes": """
        import multiprocessing, os, subprocess
        async def orch(ctx: OrchestrationContext):
            subprocess.run(["ls"])  #! DT107
            os.system("ls")  #! DT107
            multiprocessing.Process(target=print).start()  #! DT107
    """,
    "open": """
        import json
        async def orch(ctx: OrchestrationContext, path: str):
            with open(path) as file:  #! DT108
                return json.load(file)
    """,
    "pathlib": """
        from pathlib import Path
        async def orch(ctx: OrchestrationContext):
            folder = Path("data")
            text = (folder / "a.txt").read_text()  #! DT108
            Path("out").write_text(text)  #! DT108
            return Path.cwd(), folder.exists()  #! DT108 DT108
    """,
    "a path given as parameter": """
        from pathlib import Path
        async def orch(ctx: OrchestrationContext, path: Path):
            return path.read_bytes()  #! DT108
    """,
    "os and shutil": """
        import os, shutil
        async def orch(ctx: OrchestrationContext):
            os.remove("a")  #! DT108
            shutil.copy("a", "b")  #! DT108
            return os.path.exists("a") or os.listdir(".")  #! DT108 DT108
    """,
    "input and stdin": """
        import sys
        async def orch(ctx: OrchestrationContext):
            return input("name? ") + sys.stdin.readline()  #! DT108 DT108
    """,
    "a database": """
        import sqlite3
        async def orch(ctx: OrchestrationContext):
            return sqlite3.connect("a.db")  #! DT108
    """,
    "HTTP clients": """
        import httpx, requests
        from urllib.request import urlopen
        async def orch(ctx: OrchestrationContext):
            requests.get("http://example.org")  #! DT109
            async with httpx.AsyncClient() as client:  #! DT109
                await client.get("http://example.org")
            return urlopen("http://example.org")  #! DT109
    """,
    "aiohttp, sockets and mail": """
        import aiohttp, http.client, smtplib, socket
        async def orch(ctx: OrchestrationContext):
            async with aiohttp.ClientSession() as session:  #! DT109
                await session.get("http://example.org")
            socket.create_connection(("example.org", 80))  #! DT109
            smtplib.SMTP("example.org")  #! DT109
            http.client.HTTPConnection("example.org")  #! DT109
    """,
    "a loop over a set": """
        async def orch(ctx: OrchestrationContext):
            for name in {"a", "b"}:  #! DT110
                await ctx.call_activity("x", name)
    """,
    "a loop over set(...)": """
        async def orch(ctx: OrchestrationContext, names: list):
            for name in set(names):  #! DT110
                await ctx.call_activity("x", name)
    """,
    "a comprehension over a variable that is a set": """
        async def orch(ctx: OrchestrationContext, names: list):
            unique = frozenset(names)
            return await ctx.task_all([ctx.call_activity("x", name) for name in unique])  #! DT110
    """,
    "set algebra": """
        async def orch(ctx: OrchestrationContext, a: list, b: dict):
            rest = set(a) - {"x"}
            rest |= {"y"}
            for name in rest.union(b):  #! DT110
                await ctx.call_activity("x", name)
            for name in b.keys() & rest:  #! DT110
                await ctx.call_activity("x", name)
    """,
    "a set as annotated": """
        async def orch(ctx: OrchestrationContext, names: set[str]):
            for name in names:  #! DT110
                await ctx.call_activity("x", name)
    """,
    "sets turned into sequences": """
        async def orch(ctx: OrchestrationContext, names: list):
            unique = {name for name in names}
            first = list(unique)[0]  #! DT110
            second = unique.pop()  #! DT110
            for index, name in enumerate(unique):  #! DT110
                await ctx.call_activity("x", [index, name])
            a, b = {1, 2}  #! DT110
            return first, second, a, b, ",".join(unique), [*unique]  #! DT110 DT110
    """,
    "a task that is never awaited": """
        async def orch(ctx: OrchestrationContext):
            ctx.call_activity("a")  #! DT111
            ctx.create_timer(3)  #! DT111
            ctx.wait_for_external_event("go")  #! DT111
            ctx.call_sub_orchestrator("child")  #! DT111
            ctx.task_all([ctx.call_activity("b")])  #! DT111
    """,
    "a list of tasks that is never awaited": """
        async def orch(ctx: OrchestrationContext, names: list):
            [ctx.call_activity("a", name) for name in names]  #! DT111
    """,
    "a task in a variable that is never used": """
        async def orch(ctx: OrchestrationContext):
            result = ctx.call_activity("a")  #! DT111
            timer: object = ctx.create_timer(3)  #! DT111
            return "done"
    """,
    "a task used as a value": """
        async def orch(ctx: OrchestrationContext):
            if ctx.call_activity("a") > 3:  #! DT111
                return f"{ctx.call_activity('b')}"  #! DT111
            rows = ctx.call_activity("c")  #! DT111
            return rows[0] + rows["x"]
    """,
    "a generator that forgets to yield": """
        def orch(ctx: OrchestrationContext, _):
            ctx.call_activity("a")  #! DT111
            result = yield ctx.call_activity("b")
            return result
    """,
    "a coroutine that is never awaited": """
        async def helper(ctx): ...
        async def orch(ctx: OrchestrationContext):
            helper(ctx)  #! DT111
    """,
    "a generator helper without yield from": """
        def helper(ctx):
            yield ctx.call_activity("a")
        def orch(ctx: OrchestrationContext):
            helper(ctx)  #! DT111
            yield from helper(ctx)
    """,
    "module level task_all": """
        from durabletask import Task, task_all as every
        async def orch(ctx: OrchestrationContext):
            every([ctx.call_activity("a")])  #! DT111
            Task.any([ctx.call_activity("a")])  #! DT111
            await every([ctx.call_activity("b")])
    """,
    "hash, id and the process": """
        import os
        async def orch(ctx: OrchestrationContext, name: str):
            return hash(name), id(name), os.getpid()  #! DT112 DT112 DT112
    """,
    "a global": """
        COUNT = 0
        async def orch(ctx: OrchestrationContext):
            global COUNT  #! DT113
            COUNT += 1
    """,
    "helpers that take the context": """
        import time
        def stamp(context, label):
            return label, time.time()  #! DT101
        async def deeper(c):
            c.create_timer(1)  #! DT111
        async def helper(x, *, context):
            await deeper(context)
        async def orch(ctx: OrchestrationContext):
            await helper(1, context=ctx)
            return stamp(ctx, "x")
    """,
    "helpers that do not take it but run with the orchestrator": """
        import os
        def limit():
            return int(os.environ["LIMIT"])  #! DT104
        async def orch(ctx: OrchestrationContext):
            return limit()
    """,
    "nested functions, lambdas and comprehensions": """
        import random, time
        async def orch(ctx: OrchestrationContext, names: list):
            async def branch(name):
                time.sleep(1)  #! DT105
                return await ctx.call_activity("a", name)
            jitter = lambda: random.random()  #! DT102
            await ctx.task_all([branch(name) for name in names])
            return [time.time() for _ in names], jitter()  #! DT101
    """,
    "methods through self, also inherited": """
        import time
        class Base:
            def stamp(self):
                return time.time()  #! DT101
        class Order(Base, TaskOrchestrator):
            async def run(self, ctx, input):
                self.stamp()
                await self.pay(ctx)
            async def pay(self, c):
                c.call_activity("pay")  #! DT111
    """,
    "an orchestrator by registration in a mapping": """
        import time
        def make(worker_type):
            async def orch(c, _):
                c.call_activity("a")  #! DT111
                return time.time()  #! DT101
            async def act(c, _):
                return time.time()
            return worker_type("x", orchestrators={"orch": orch}, activities={"act": act})
    """,
    "an orchestrator by registration in a list held in a variable": """
        import time
        async def orch(c, _):
            return time.time()  #! DT101
        PROCESSES = [orch, lambda c, _: time.time()]  #! DT101
        worker = Worker(orchestrators=PROCESSES)
    """,
    "add_orchestrator": """
        import time
        def orch(c, _):
            yield c.call_activity("a")
            return time.time()  #! DT101
        worker.add_orchestrator(orch)
    """,
    "started by the client": """
        import time
        def orch(c):
            return time.time()  #! DT101
        async def main(client):
            return await client.schedule_new_orchestration(orch), time.time()
    """,
    "registration wins over the base class": """
        import time
        class Hello(TaskActivity):
            async def run(self, context: OrchestrationContext, input: str):
                return time.time()
        class Greet(TaskActivity):
            async def run(self, context: OrchestrationContext, input: str):
                return time.time()  #! DT101
        Worker(orchestrators={"Greet": Greet()}, activities={"Hello": Hello()})
    """,
    "the context under an import alias, and quoted": """
        import time
        import durabletask as d
        from durabletask import OrchestrationContext as Ctx
        async def one(ctx: Ctx):
            return time.time()  #! DT101
        async def two(ctx: d.OrchestrationContext):
            return time.time()  #! DT101
        async def three(ctx: "d.OrchestrationContext"):
            return time.time()  #! DT101
    """,
    "the context in optional and union annotations": """
        import time
        import typing as t
        import durabletask as d
        from typing import Annotated, Optional, Union
        from durabletask import OrchestrationContext as Ctx
        Alias: t.TypeAlias = "OrchestrationContext"
        async def one(ctx: Optional[Ctx]):
            return time.time()  #! DT101
        async def two(ctx: d.OrchestrationContext | None = None):
            return time.time()  #! DT101
        async def three(ctx: "Ctx | None"):
            return time.time()  #! DT101
        async def four(ctx: "t.Optional['Ctx']"):
            ctx.create_timer(1)  #! DT111
        async def five(ctx: Union[Ctx, ActivityContext]):
            return time.time()  #! DT101
        async def six(ctx: Annotated[Ctx, "injected"]):
            return time.time()  #! DT101
        async def seven(ctx: Alias):
            return time.time()  #! DT101
    """,
    "codes on the silencing comment": """
        import time, uuid
        async def orch(ctx: OrchestrationContext):
            a = time.time()  # durable: ok DT103  #! DT101
            return a, uuid.uuid4()  # durable: ok DT103
    """,
    "a silencing comment reaches no further than its statement": """
        import time
        async def orch(ctx: OrchestrationContext):
            # durable: ok
            a = time.time()  #! DT101
            if (
                a
            ):  # durable: ok
                a = time.time()  #! DT101
            b = [
                time.time(),  #! DT101
                a,  # durable: ok
                time.time(),  #! DT101
            ]
            return b  # durable: ok
    """,
    "the comment in a string is no comment": """
        import time
        async def orch(ctx: OrchestrationContext):
            return time.time(), "# durable: ok"  #! DT101
    """,
    "a set by choice or walrus": """
        async def orch(ctx: OrchestrationContext, names: list):
            chosen = {"a"} if names else {"b", "c"}
            for name in chosen:  #! DT110
                print(name)
            for name in (rest := set(names)):  #! DT110
                print(name, rest)
            return [await ctx.call_activity("x", name) for name in chosen]  #! DT110
    """,
    "paths by choice, home and joining": """
        from pathlib import Path
        async def orch(ctx: OrchestrationContext, name: str):
            base = Path(name) if name else Path("x")
            (base / "a").touch()  #! DT108
            return (Path.home() / name).exists()  #! DT108 DT108
    """,
    "tests of tasks": """
        async def orch(ctx: OrchestrationContext):
            while ctx.call_activity("more"):  #! DT111
                pass
            assert ctx.call_activity("sane")  #! DT111
            for row in ctx.call_activity("rows"):  #! DT111
                print(row)
            if not ctx.wait_for_external_event("go"):  #! DT111
                return ctx.call_activity("first")[0]  #! DT111
            return 1 if ctx.call_activity("a") else 2  #! DT111
    """,
    "a context under a second name": """
        async def orch(ctx: OrchestrationContext):
            c = ctx
            c.create_timer(3)  #! DT111
            def later():
                c.call_entity("@counter@1", "get")  #! DT111
            later()
    """,
    "a lambda in a registration": """
        import time
        Worker(orchestrators={"now": lambda c, _: time.time()})  #! DT101
    """,
    "orchestrators that nothing names but what they do with the context": """
        import time
        from typing import Any
        async def one(ctx, x):
            time.sleep(1)  #! DT105
            await ctx.call_activity("a")
        def two(context, x):
            time.sleep(1)  #! DT105
            yield context.create_timer(5)
        async def three(flow: Any):
            time.sleep(1)  #! DT105
            await flow.wait_for_external_event("go")
        async def four(c, x):
            async def step(n):
                return await c.call_sub_orchestrator("child", n)
            return time.time(), await step(1)  #! DT101
        def five(context: object):
            return context.current_utc_datetime, time.time()  #! DT101
        class Order:
            async def run(self, ctx, input):
                ctx.set_custom_status(time.time())  #! DT101
    """,
    "helpers as methods of a class": """
        import time
        class Steps:
            @classmethod
            async def of_class(cls, c):
                time.sleep(1)  #! DT105
                cls.inner(c)
            @classmethod
            def inner(cls, c):
                c.create_timer(1)  #! DT111
            @staticmethod
            async def static(c):
                c.create_timer(2)  #! DT111
        async def orch(ctx: OrchestrationContext):
            await Steps.of_class(ctx)
            await Steps.static(ctx)
    """,
    "helpers as methods of an object": """
        import time
        class Base:
            async def third(self, c):
                c.create_timer(3)  #! DT111
        class Steps(Base):
            async def first(self, c):
                c.create_timer(1)  #! DT111
            async def second(self, c):
                c.create_timer(2)  #! DT111
            async def third(self, c):
                await super().third(c)
            def fourth(self, c):
                c.create_timer(4)  #! DT111
            def fifth(self, c):
                c.create_timer(5)  #! DT111
        STEPS = Steps()
        async def orch(ctx: OrchestrationContext):
            await Steps().first(ctx)
            steps = Steps()
            await steps.second(ctx)
            await STEPS.third(ctx)
            later = steps.fourth
            later(ctx)
            Steps.fifth(steps, ctx)
            steps.second(ctx)  #! DT111
    """,
    "helpers as lambdas and partial objects": """
        import functools, time
        from functools import partial
        wait = lambda c: time.sleep(1)  #! DT105
        async def first(n, c):
            c.create_timer(n)  #! DT111
        async def second(c, n):
            c.create_timer(n)  #! DT111
        async def third(n, *, context):
            context.create_timer(n)  #! DT111
        bound = partial(third, 3)
        async def orch(ctx: OrchestrationContext):
            wait(ctx)
            await functools.partial(first, 1)(ctx)
            await partial(second, ctx)(2)
            await bound(context=ctx)
    """,
    "a nested helper that takes the context under another name": """
        async def orch(ctx: OrchestrationContext):
            async def step(c, n):
                c.call_activity("a", n)  #! DT111
            await step(ctx, 1)
    """,
    "locks that are never awaited": """
        async def orch(ctx: OrchestrationContext):
            with ctx.lock_entities(["@a@1"]):  #! DT111
                pass
            locks = ctx.lock_entities(["@a@1"])  #! DT111
            with locks as held, open_nothing():
                print(held)
    """,
    "a task as the result of an orchestration": """
        async def one(ctx: OrchestrationContext):
            return ctx.call_activity("a")  #! DT111
        async def two(ctx, names):
            return ctx.task_all([ctx.call_activity("a", name) for name in names])  #! DT111
        async def three(ctx: OrchestrationContext, names: list):
            if names:
                return [ctx.call_activity("a", name) for name in names]  #! DT111
            later = ctx.call_activity("b")  #! DT111
            return later
        def four(ctx: OrchestrationContext):
            yield ctx.create_timer(1)
            return ctx.call_activity("a")  #! DT111
        async def step(ctx):
            return await ctx.call_activity("a")
        class Five(TaskOrchestrator):
            async def run(self, context, input):
                return step(context) if input else None  #! DT111
    """,
    "a task as the input of another": """
        async def orch(ctx: OrchestrationContext):
            await ctx.call_activity("b", ctx.call_activity("a"))  #! DT111
            order = ctx.call_activity("c")  #! DT111
            await ctx.call_sub_orchestrator("d", order)
            ctx.set_custom_status(ctx.call_activity("e"))  #! DT111
    """,
    "iterating over a task": """
        async def orch(ctx: OrchestrationContext):
            for row in ctx.call_activity("a"):  #! DT111
                print(row)
            rows = [row for row in ctx.call_activity("b")]  #! DT111
            names = {row.name for row in rows if ctx.call_activity("c", row)}  #! DT111
            async for row in ctx.call_activity("d"):  #! DT111
                print(row)
            more = ctx.call_activity("e")  #! DT111
            for row in more:
                print(row)
            return names, [*ctx.call_activity("f")]  #! DT111
    """,
    "names of a star import": """
        from durabletask import *
        async def orch(ctx: OrchestrationContext):
            task_all([ctx.call_activity("a")])  #! DT111
            Task.any([ctx.call_activity("a")])  #! DT111
            await task_any([ctx.call_activity("b")])
    """,
    "names of one of several star imports": """
        from typing import *
        from durabletask import *
        async def orch(ctx: Optional[OrchestrationContext]):
            task_all([ctx.call_activity("a")])  #! DT111
    """,
    "a star import of a module of the rules": """
        from time import *
        async def orch(ctx):
            sleep(1)  #! DT105
            await ctx.call_activity("a")
    """,
    "the order of a set behind something that takes it in any order": """
        async def orch(ctx: OrchestrationContext, names: list):
            unique = set(names)
            a = sorted(enumerate(unique))  #! DT110
            b = sorted(list(name) for name in names if list(unique)[0] == name)  #! DT110
            c = len([list(unique), 1])  #! DT110
            return a, b, c, list(unique) in names  #! DT110
    """,
    "what is asked of the context for each member of a set": """
        async def orch(ctx: OrchestrationContext, names: list):
            unique = set(names)
            a = sorted([await ctx.call_activity("a", name) for name in unique])  #! DT110
            b = set(map(lambda name: ctx.call_activity("a", name), unique))  #! DT110
            c = {await ctx.call_activity("a", name) for name in unique}  #! DT110
            return a, b, c, any([ctx.signal_entity("@a@1", name) for name in unique])  #! DT110
    """,
    "an activity that is called as a function": """
        async def greet(ctx: ActivityContext, name: str) -> str: ...
        def charge(ctx, amount): ...
        async def orch(ctx: OrchestrationContext, name: str):
            charge(ctx, 1)  #! DT114
            return await greet(ctx, name)  #! DT114
        worker = DurableTaskWorker(hub, orchestrators=[orch], activities={"greet": greet, "charge": charge})
    """,
    "an activity called like a function is not looked into": """
        import time
        async def act(c: ActivityContext, _):
            return time.time()
        async def orch(ctx: OrchestrationContext):
            return await act(ctx, 1)  #! DT114
    """,
    "an activity as a class, called on the way": """
        class Greet(TaskActivity):
            def run(self, ctx: ActivityContext, name: str) -> str: ...
        def helper(ctx, name):
            return Greet().run(ctx, name)  #! DT114
        async def orch(ctx: OrchestrationContext, name: str):
            return helper(ctx, name)
    """,
}
