"How the fault trials start a command, measure its CPU time, kill it, and look for what it left."

import os
import random
import re
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf('SC_CLK_TCK')
# how long workers may live after their parent
GRACE = 3.0


class Done(NamedTuple):
    "How a command ended"

    code: int | None  # Exit status; None: it had to be stopped
    out: str
    err: str

    @property
    def is_traceback(self) -> bool:
        "Did it end in something else than one line? Torchrun's report on its processes is its own"
        reports = self.err.split('Traceback (most recent call last)')[1:]
        return self.code is None or any('distributed/run.py' not in text for text in reports)

    @property
    def line(self) -> str:
        "The last line that it wrote about a problem"
        if self.code is None:
            return 'did not end'
        lines = [line.strip() for line in self.err.splitlines() if re.search(r'\w', line)]
        # what torchrun prints below the message of a command is no message
        own = [line for line in lines if line.startswith('mfsr')]
        return (own or lines or [''])[-1]


class Process(NamedTuple):
    "A line of the process table"

    pid: int
    parent: int
    session: int
    begin: int  # Moment of its start: numbers of processes are used again
    seconds: float  # CPU time, with that of ended children


def read_process(pid: int) -> Process | None:
    "The living process of a number, None if it has ended"
    try:
        text = Path(f'/proc/{pid}/stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # the name of the program, in parentheses, may hold spaces
    fields = text.rpartition(')')[2].split()
    if fields[0] in 'ZX':
        return None
    ticks = sum(int(field) for field in fields[11:15])
    return Process(pid, int(fields[1]), int(fields[3]), int(fields[19]), ticks / TICKS)


def numbers(others: set[int]) -> list[int]:
    "The numbers of all processes but some; parents come first"
    found = {int(path.name) for path in Path('/proc').iterdir() if path.name.isdigit()}
    return sorted(found - others)


def is_helper(pid: int) -> bool:
    "Is it the process by which Python's multiprocessing cleans up?"
    try:
        return b'resource_tracker' in Path(f'/proc/{pid}/cmdline').read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True


class Run:
    "A command that runs in a session of its own"

    def __init__(self, words: list[str], env: dict[str, str], folder: Path):
        self.log = tempfile.TemporaryDirectory()
        self.streams = [Path(self.log.name) / name for name in ('out', 'err')]
        with self.streams[0].open('wb') as out, self.streams[1].open('wb') as err:
            streams = dict(stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            # outside of a checkout, where a user of the package works
            how = dict(env=env, cwd=folder, start_new_session=True)
            self.process = subprocess.Popen(words, **how, **streams)
        self.pid = self.process.pid
        # a rank of torchrun has a session of its own, and an orphan has another parent
        self.known = set()
        # processes that are not its own, which need not be read again
        self.others = set()

    def members(self) -> list[Process]:
        "Its living processes: of its session, and whatever they have started"
        found = []
        parents = {self.pid}
        for process in map(read_process, numbers(self.others)):
            if process is None:
                continue
            name = (process.pid, process.begin)
            is_own = process.session == self.pid or process.parent in parents
            if not is_own and name not in self.known:
                self.others.add(process.pid)
                continue
            self.known.add(name)
            parents.add(process.pid)
            found.append(process)
        return found

    def is_alive(self) -> bool:
        "Has the command itself not ended?"
        return self.process.poll() is None

    def seconds(self) -> float:
        "CPU time of all its processes"
        return sum(process.seconds for process in self.members())

    def children(self) -> list[int]:
        "Processes that the command started itself, without Python's own helpers"
        own = [process.pid for process in self.members() if process.parent == self.pid]
        return [pid for pid in own if not is_helper(pid)]

    def targets(self, who: str) -> list[int]:
        "The processes of the `group`, the `main` one, or its children (`child`)"
        if who == 'group':
            return [process.pid for process in self.members()]
        return [self.pid] if who == 'main' else self.children()

    def kill(self, who: str, rng: random.Random) -> bool:
        "SIGKILL to the `group`, the `main` process, or one `child`; False if there is none"
        targets = self.targets(who) if self.is_alive() else []
        if who == 'child' and targets:
            targets = [rng.choice(targets)]
        for pid in targets:
            kill_process(pid)
        return bool(targets)

    def wait(self, limit: float) -> Done:
        "How it ended; after `limit` seconds all its processes are killed"
        deadline = time.monotonic() + limit
        while self.is_alive() and time.monotonic() < deadline:
            # to know orphans later
            self.members()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.5)
        code = self.process.poll()
        if code is None:
            self.clean()
        return Done(code, *(path.read_text(errors='replace') for path in self.streams))

    def survivors(self) -> int:
        "Processes that live on although the command has ended"
        deadline = time.monotonic() + GRACE
        while self.members() and time.monotonic() < deadline:
            time.sleep(0.1)
        return len(self.members())

    def clean(self) -> None:
        "End all its processes"
        while left := self.members():
            for process in left:
                kill_process(process.pid)
            self.process.poll()
            time.sleep(0.05)


def kill_process(pid: int) -> None:
    "SIGKILL to a process, if it is there"
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
