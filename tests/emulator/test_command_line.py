"""``durabletask-emulator``: what it prints, what it sets, how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from durabletask.testing.emulator.cli import main
from durabletask.testing.emulator.serving import warn_if_open

pytestmark = pytest.mark.process

EMULATOR = [sys.executable, "-W", "error", "-m", "durabletask.testing.emulator"]
PRINT_ENVIRONMENT = (
    "import os; print(os.environ['DURABLETASK_CONNECTION_STRING'], os.environ['DURABLETASK_TASK_HUB_NAME'])"
)


def _run(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EMULATOR, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        **more,  # type: ignore[call-overload]
    )


@contextmanager
def _emulator(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [*EMULATOR, "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
            assert found is not None
            yield process, int(found[1])
        finally:
            process.kill()


def test_exec_sets_the_environment_and_passes_arguments_on() -> None:
    """The command finds the emulator by the environment; options of the command are its own."""
    done = _run("exec", "--", sys.executable, "-c", PRINT_ENVIRONMENT, "--port", "x", "--", "y")
    assert re.fullmatch(r"Endpoint=http://127\.0\.0\.1:\d+;Authentication=None default\n", done.stdout)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("code", [0, 7])
def test_exec_ends_with_the_code_of_the_command(code: int) -> None:
    """Success and failure of the command are those of exec."""
    assert _run("exec", "--", sys.executable, "-c", f"raise SystemExit({code})").returncode == code


def test_exec_of_what_is_not_there() -> None:
    """A command that does not exist is named, without a traceback, with the code of a shell."""
    done = _run("exec", "--", "no-such-command-at-all")
    assert done.returncode == 127
    assert "no-such-command-at-all" in done.stderr
    assert "Traceback" not in done.stderr


def test_exec_of_nothing() -> None:
    """Without a command the message shows how it is written."""
    done = _run("exec")
    assert done.returncode == 1
    assert "durabletask-emulator exec -- " in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_exec_hands_signals_on(number: signal.Signals) -> None:
    """The command gets the signal, and its end is the end of exec."""
    program = (
        "import signal, sys\n"
        "def end(number, frame): sys.exit(40 + number)\n"
        "signal.signal(signal.SIGINT, end); signal.signal(signal.SIGTERM, end)\n"
        "print('ready', flush=True)\n"
        "signal.pause()"
    )
    command = [*EMULATOR, "exec", "--", sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(60) == 40 + number


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_ends_cleanly(number: signal.Signals) -> None:
    """A signal stops the emulator with code 0 and nothing on stderr."""
    with _emulator() as (process, _):
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")


def test_a_taken_port() -> None:
    """The second emulator on a port says that it is taken, and by one line only."""
    with _emulator() as (_, port):
        done = _run("--port", str(port))
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_store_has_one_owner(tmp_path: Path) -> None:
    """The second emulator on a store says who has it."""
    store = str(tmp_path / "hub.db")
    with _emulator("--store", store) as (process, _):
        done = _run("--port", "0", "--store", store)
        assert done.returncode == 1
        assert str(process.pid) in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["--port", "70000"], ["--port", "x"], ["--log-level", "loud"], ["serve"]]
)
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong argument is named by argparse, with code 2."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "durabletask-emulator" in capsys.readouterr().err


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without gRPC the command says what to install."""
    monkeypatch.setitem(sys.modules, "grpc", None)
    for name in [
        name
        for name in sys.modules
        if name.startswith(("durabletask.grpc", "durabletask.testing.emulator.serving"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["--port", "0"]) == 1
    assert "pip install 'durabletask-testing[emulator]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "is_open"),
    [
        ("127.0.0.1", False),
        ("localhost", False),
        ("::1", False),
        ("0.0.0.0", True),
        ("::", True),
        ("10.1.2.3", True),
    ],
)
def test_an_address_that_others_can_reach_is_warned_about(
    host: str, is_open: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The emulator has no sign-in, so listening beyond this machine is said at start."""
    warn_if_open(host)
    assert ("without sign-in" in caplog.text) is is_open
