"""The rules as tables: what an orchestrator must not touch, and what to write instead.

Names are dotted paths after import aliases were resolved. ``()`` in a path stands for an instance:
``pathlib.Path().read_text`` is the method of any `Path` object. In messages ``{ctx}`` becomes the name
that the orchestrator gives its context.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["RULES", "Usage", "call_usage", "reference_usage"]

RULES: Mapping[str, str] = {
    "DT100": "The file cannot be read as Python",
    "DT101": "Wall clock",
    "DT102": "Random numbers",
    "DT103": "Random UUIDs",
    "DT104": "Environment of the process or machine",
    "DT105": "Blocking sleep",
    "DT106": "Primitives of another event loop",
    "DT107": "Threads and processes",
    "DT108": "File, console and database I/O",
    "DT109": "Network I/O",
    "DT110": "Iteration over a set",
    "DT111": "Task or coroutine that is never awaited",
    "DT112": "Values that differ between processes",
    "DT113": "Global variables",
    "DT114": "Activity called as a plain function",
}
"""Rule code -> what it looks for."""


@dataclass(frozen=True)
class Usage:
    """What is wrong with one name.

    Attributes:
        code: rule code.
        problem: what the name does, as the end of a sentence that begins with the name.
        instead: what to write instead.
        most_arguments: only a call with at most this many arguments is wrong (``time.ctime()`` reads
            the clock, ``time.ctime(seconds)`` does not).
    """

    code: str
    problem: str
    instead: str
    most_arguments: int | None = None

    def message(self, name: str, context: str) -> str:
        """The finding's text for ``name`` in a function whose context is called ``context``."""
        return f"{name} {self.problem}; {self.instead}".replace("{ctx}", context)


_ACTIVITY = "move it to an activity and await {ctx}.call_activity(...)"
_CLOCK = Usage("DT101", "reads the wall clock, which a replay reads again", "use {ctx}.current_utc_datetime")
_CLOCK_IF_BARE = Usage(_CLOCK.code, _CLOCK.problem, _CLOCK.instead, most_arguments=0)
_RANDOM = Usage("DT102", "gives another value at every replay", "use {ctx}.random")
_UNSEEDED = Usage(_RANDOM.code, "without a seed gives other values at every replay", "use {ctx}.random", 0)
_UUID = Usage("DT103", "gives another value at every replay", "use {ctx}.new_uuid()")
_ENVIRONMENT = Usage(
    "DT104",
    "may differ at replay, on another machine or after a deployment",
    "pass the value in the input, or read it in an activity",
)
_SLEEP = Usage(
    "DT105", "blocks the worker and is repeated by every replay", "await {ctx}.create_timer(delay)"
)
_THREAD = Usage("DT107", "runs outside of the replay", _ACTIVITY)
_FAN_OUT = Usage("DT107", "runs outside of the replay", "fan out with {ctx}.task_all([...]) over activities")
_FILE = Usage("DT108", "is I/O, which every replay repeats", _ACTIVITY)
_CONSOLE = Usage(
    "DT108", "waits for the console, which every replay repeats", 'await {ctx}.wait_for_external_event("...")'
)
_NETWORK = Usage("DT109", "is network I/O, which every replay repeats", _ACTIVITY)
_PROCESS = Usage("DT112", "differs between processes", "use a value of the input, or {ctx}.new_uuid()")
_HASH = Usage("DT112", "differs between processes", "use hashlib over the bytes, or compare the values")


def _loop(instead: str) -> Usage:
    return Usage("DT106", "is not part of the history and cannot be replayed", instead)


_TIMER = _loop("await {ctx}.create_timer(delay)")
_ALL = _loop("await {ctx}.task_all([...]), which takes tasks and coroutines")
_ANY = _loop("await {ctx}.task_any([...]), which takes tasks and coroutines")
_TIMEOUT = _loop(
    "use timeout= of {ctx}.wait_for_external_event(...), or {ctx}.task_any([task, {ctx}.create_timer(delay)])"
)
_SPAWN = _loop("give the coroutine to {ctx}.task_all([...]) or {ctx}.task_any([...])")
_SIGNAL = _loop('await {ctx}.wait_for_external_event("...")')
_LOCK = _loop(
    "code of one orchestration never runs in parallel; across instances use {ctx}.lock_entities(...)"
)
_OFFLOAD = _loop(_ACTIVITY)
_FOREIGN = _loop("await tasks of {ctx} only, and move other awaitables to an activity")


def _table(rows: list[tuple[Usage, str, str]]) -> dict[str, Usage]:
    """Rows of (usage, prefix, names that follow the prefix) as a mapping from the full name."""
    return {prefix + name: usage for usage, prefix, names in rows for name in names.split()}


_PATH_METHODS = (
    "exists is_file is_dir is_symlink is_mount stat lstat iterdir glob rglob walk open read_text read_bytes "
    "write_text write_bytes mkdir touch unlink rename replace rmdir chmod symlink_to hardlink_to readlink "
    "resolve absolute expanduser samefile owner group copy move"
)

_CALLS: Mapping[str, Usage] = _table([
    (_CLOCK, "datetime.datetime.", "now utcnow today"),
    (_CLOCK, "datetime.date.", "today"),
    (_CLOCK, "time.", "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns"),
    (_CLOCK, "time.", "process_time process_time_ns thread_time thread_time_ns clock_gettime clock_gettime_ns"),
    (_CLOCK_IF_BARE, "time.", "gmtime localtime ctime asctime"),
    (Usage(_CLOCK.code, _CLOCK.problem, _CLOCK.instead, 1), "time.", "strftime"),
    (_CLOCK, "pandas.Timestamp.", "now today utcnow"),
    (_CLOCK, "pendulum.", "now today tomorrow yesterday"),
    (_CLOCK, "arrow.", "now utcnow"),
    (_CLOCK, "django.utils.timezone.", "now localdate localtime"),
    (_UNSEEDED, "random.", "Random"),
    (_UNSEEDED, "numpy.random.", "default_rng RandomState"),
    (_RANDOM, "random.", "SystemRandom"),
    (_RANDOM, "os.", "urandom getrandom"),
    (_UUID, "uuid.", "uuid1 uuid4 uuid6 uuid7 uuid8"),
    (_ENVIRONMENT, "os.", "getenv getenvb cpu_count getlogin uname getloadavg putenv unsetenv"),
    (_ENVIRONMENT, "platform.", "node platform system release version machine uname processor"),
    (_ENVIRONMENT, "socket.", "gethostname getfqdn"),
    (_ENVIRONMENT, "getpass.", "getuser"),
    (_SLEEP, "time.", "sleep"),
    (_TIMER, "asyncio.", "sleep"),
    (_ALL, "asyncio.", "gather TaskGroup"),
    (_ANY, "asyncio.", "wait as_completed"),
    (_TIMEOUT, "asyncio.", "wait_for timeout timeout_at"),
    (_SPAWN, "asyncio.", "create_task ensure_future run run_coroutine_threadsafe Task shield Runner"),
    (_SIGNAL, "asyncio.", "Queue PriorityQueue LifoQueue Event Condition Future Barrier"),
    (_LOCK, "asyncio.", "Lock"),
    (_loop("bound the fan-out with {ctx}.task_all([...], limit=n)"), "asyncio.", "Semaphore BoundedSemaphore"),
    (_OFFLOAD, "asyncio.", "to_thread create_subprocess_exec create_subprocess_shell"),
    (_OFFLOAD, "asyncio.", "open_connection start_server open_unix_connection start_unix_server"),
    (_FAN_OUT, "concurrent.futures.", "ThreadPoolExecutor ProcessPoolExecutor"),
    (_FAN_OUT, "multiprocessing.", "Pool"),
    (_THREAD, "os.", "system popen fork forkpty posix_spawn posix_spawnp startfile kill wait waitpid"),
    (_THREAD, "os.", "execl execle execlp execlpe execv execve execvp execvpe spawnl spawnle spawnv spawnve"),
    (_FILE, "builtins.", "open"),
    (_CONSOLE, "builtins.", "input"),
    (_FILE, "io.", "open open_code FileIO"),
    (_FILE, "codecs.", "open"),
    (_FILE, "glob.", "glob iglob"),
    (_FILE, "sqlite3.", "connect"),
    (_FILE, "linecache.", "getline getlines"),
    (_FILE, "os.", "open read write close fsync listdir scandir walk fwalk stat lstat fstat access getcwd chdir"),
    (_FILE, "os.", "remove unlink mkdir makedirs rmdir removedirs rename renames replace link symlink readlink"),
    (_FILE, "os.", "truncate utime chmod chown sendfile mkfifo"),
    (_FILE, "os.path.", "exists lexists isfile isdir islink ismount getsize getmtime getatime getctime"),
    (_FILE, "os.path.", "realpath abspath expanduser samefile"),
    (_FILE, "pathlib.Path.", "cwd home"),
    (_FILE, "pathlib.Path().", _PATH_METHODS),
    (_FILE, "importlib.resources.", "files read_text read_binary open_text open_binary"),
    (_NETWORK, "urllib.request.", "urlopen urlretrieve build_opener"),
    (_NETWORK, "sqlalchemy.", "create_engine"),
    (_NETWORK, "sqlalchemy.ext.asyncio.", "create_async_engine"),
    (_NETWORK, "boto3.", "client resource Session"),
    (_NETWORK, "openai.", "OpenAI AsyncOpenAI AzureOpenAI AsyncAzureOpenAI"),
    (_NETWORK, "anthropic.", "Anthropic AsyncAnthropic"),
    (_PROCESS, "os.", "getpid getppid"),
    (_PROCESS, "builtins.", "id"),
    (_HASH, "builtins.", "hash"),
])  # fmt: skip

# Everything callable below these modules, unless _CALLS has a longer name.
_FAMILIES: Mapping[str, Usage] = _table([
    (_RANDOM, "", "random secrets numpy.random"),
    (_FOREIGN, "", "asyncio anyio trio curio gevent eventlet"),
    (_THREAD, "", "threading _thread multiprocessing concurrent.futures subprocess signal"),
    (_FILE, "", "shutil tempfile aiofiles mmap fileinput aiosqlite"),
    (_NETWORK, "", "socket ssl select requests httpx aiohttp urllib3 http.client http.server httplib2 smtplib"),
    (_NETWORK, "", "ftplib imaplib poplib telnetlib socketserver xmlrpc.client websockets websocket grpc pycurl"),
    (_NETWORK, "", "redis psycopg psycopg2 asyncpg pymongo motor pymysql aiomysql paramiko pika kafka aiokafka"),
    (_NETWORK, "", "elasticsearch confluent_kafka nats"),
])  # fmt: skip

# Members of the families that neither wait nor draw anything.
_HARMLESS = frozenset({
    "asyncio.iscoroutine",
    "asyncio.iscoroutinefunction",
    "asyncio.isfuture",
    "secrets.compare_digest",
    "signal.Signals",
    "socket.inet_aton",
    "socket.inet_ntoa",
    "socket.inet_ntop",
    "socket.inet_pton",
    "socket.htons",
    "socket.ntohs",
    "subprocess.list2cmdline",
    "requests.Request",
    "httpx.URL",
})  # fmt: skip

# Wrong as soon as they are looked at, called or not.
_REFERENCES: Mapping[str, Usage] = _table([
    (_ENVIRONMENT, "os.", "environ environb"),
    (_ENVIRONMENT, "sys.", "argv"),
    (Usage("DT108", "is the console, which every replay reads again", _CONSOLE.instead), "sys.", "stdin"),
])  # fmt: skip

# Functions that are as wrong passed on (`key=random.random`) as called.
_HANDED_ON = frozenset({"DT101", "DT102", "DT103", "DT105"})


def call_usage(name: str, arguments: int) -> Usage | None:
    """What is wrong with calling ``name`` with this many arguments, if anything."""
    usage = _CALLS.get(name)
    if usage is None:
        usage = _family(name)
    if usage is not None and usage.most_arguments is not None and arguments > usage.most_arguments:
        return None
    return usage


def _family(name: str) -> Usage | None:
    # An instance was reported where it was made; an exception class only carries a message.
    if "()" in name or name in _HARMLESS or name.endswith(("Error", "Exception")):
        return None
    while "." in name:
        name = name.rpartition(".")[0]
        if (usage := _CALLS.get(name) or _FAMILIES.get(name)) is not None:
            return usage if usage.most_arguments is None else None
    return None


def reference_usage(name: str) -> Usage | None:
    """What is wrong with naming ``name`` without calling it, if anything."""
    usage = _REFERENCES.get(name)
    if usage is not None:
        return usage
    usage = call_usage(name, 0)
    if usage is None or usage.code not in _HANDED_ON or usage.most_arguments is not None:
        return None
    return usage
