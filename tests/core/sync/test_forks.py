"""Servers that fork (gunicorn, Celery, multiprocessing) load a program once and run it in many processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
]

FORK = """
import faulthandler, os, sys

faulthandler.dump_traceback_later(20, exit=True)

def in_child(call):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            print("child:", call(), flush=True)
        except BaseException as error:
            print("child:", type(error).__name__, error, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
"""

CLIENT_OF_THE_PARENT = """
from durabletask.sync import DurableTaskClient

client = DurableTaskClient("Endpoint=memory://forked;Authentication=None", "default")
for _ in range(2):
    in_child(lambda: client.get_orchestration_state("i1"))
print("parent:", client.get_orchestration_state("i1"))
client.close()
"""

GRPC_OF_THE_PARENT = """
from durabletask import TransportError
from durabletask.sync import DurableTaskClient

client = DurableTaskClient("Endpoint=http://127.0.0.1:9;Authentication=None", "default")

def ask():
    try:
        return client.get_orchestration_state("i1")
    except TransportError as error:
        return type(error).__name__

in_child(ask)
print("parent:", ask())
in_child(ask)
print("parent:", ask())
client.close()
"""


def run(program: str) -> list[str]:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK + program]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_a_client_made_before_the_fork_works_in_every_process() -> None:
    """Its event loop lives in a thread that a forked process does not have; it gets one of its own."""
    assert run(CLIENT_OF_THE_PARENT) == ["child: None", "child: None", "parent: None"]


def test_a_connection_made_before_the_fork_is_an_error_in_the_child_and_not_a_hanging_call() -> None:
    """gRPC works in the parent, and in children that were forked before its first use."""
    before, first, after, second = run(GRPC_OF_THE_PARENT)

    assert (before, first) == ("child: TransportUnavailableError", "parent: TransportUnavailableError")
    assert after.startswith("child: ConfigurationError This process was forked")
    assert second == "parent: TransportUnavailableError"
