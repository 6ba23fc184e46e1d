"Full and read-only disks, file systems without locks, and two runs at once."

import errno
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import faults_compare as compare
from faults_kills import Outcome
from faults_lab import CASES, Lab
from faults_process import Done, Run

# seconds between the starts of two runs
DELAYS = (0.0, 1.0, 2.0, 3.0)


def mount(*options: str, folder: Path) -> None:
    "Mount a small file system in memory, or change it"
    subprocess.run(['mount', *options, str(folder)], check=True, capture_output=True)


def may_mount() -> bool:
    "Only root may mount"
    return sys.platform == 'linux' and os.geteuid() == 0


@contextmanager
def small_disk(lab: Lab, size: int) -> Iterator[Path]:
    "A file system of `size` bytes"
    folder = lab.folder / 'disk'
    folder.mkdir(exist_ok=True)
    mount('-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', folder=folder)
    try:
        yield folder
    finally:
        subprocess.run(['umount', str(folder)], check=True)


def refused(
    lab: Lab, case: str, dest: Path, first: Done, mend: Callable[[], object], may_work: bool = False
) -> Outcome:
    "The outcome of a run that a fault should have stopped in one line; mended, it is done"
    mend()
    done = lab.run(case, dest)
    stopped = first.code != 0 or may_work
    if not stopped:
        lab.say(f'    {case}: nothing was said')
    identical = lab.is_identical(case, dest, done) and stopped
    left = lab.left_behind(case, dest)
    said = lab.short(first.line) if first.code else ''
    return Outcome(identical, first.is_traceback, left, said)


def full_disk(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "A disk that is full at a random point of the run, then has space again"
    for _ in range(tries if may_mount() else 0):
        size = int(rng.uniform(0.05, 0.9) * lab.references[case].size)
        with small_disk(lab, max(size, 8192)) as disk:
            dest = disk / 'dest'
            first = lab.run(case, dest)
            half = [path for path in compare.files(disk) if is_half(lab, case, dest, path)]
            for path in half[:3]:
                lab.say(f'    {case}: half a file: {path.relative_to(disk)}')

            def more_space(disk: Path = disk) -> None:
                mount('-o', 'remount,size=200m', folder=disk)

            # what is written last may be small enough
            outcome = refused(lab, case, dest, first, more_space, may_work=True)
            yield outcome._replace(left=outcome.left + len(half))


def is_half(lab: Lab, case: str, dest: Path, path: Path) -> bool:
    "Is it a file that differs from the finished one, and is not one that grows?"
    if not path.is_relative_to(dest) or not compare.is_compared(path):
        return False
    wanted = lab.references[case].content.get(compare.name_in(dest, path))
    is_whole = path.suffix in ('.safetensors', '.npz', '.jpg', '.png')
    return is_whole and wanted is not None and compare.file_digest(path) != wanted


def read_only(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "A destination on a file system that cannot be written"
    for _ in range(tries if may_mount() else 0):
        with small_disk(lab, 200_000_000) as disk:
            mount('-o', 'remount,ro', folder=disk)
            first = lab.run(case, disk / 'dest')

            def writable(disk: Path = disk) -> None:
                mount('-o', 'remount,rw', folder=disk)

            yield refused(lab, case, disk / 'dest', first, writable)


def file_in_the_way(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "A destination that is a file"
    for _ in range(tries):
        dest = lab.fresh()
        dest.write_text('mine')
        first = lab.run(case, dest)
        is_kept = dest.is_file() and dest.read_text() == 'mine'
        outcome = refused(lab, case, dest, first, lab.fresh)
        yield outcome._replace(identical=outcome.identical and is_kept)


# ---- locks


def wait_for_first(runs: list[Run]) -> float:
    "When the first of several runs ends"
    while all(run.is_alive() for run in runs):
        time.sleep(0.01)
    return time.time()


def pair(lab: Lab, case: str, delay: float, **env: str) -> Iterator[Outcome]:
    "Two runs on one destination; the second one starts `delay` seconds later"
    dest = lab.fresh()
    runs = [lab.start(case, dest, **env)]
    time.sleep(delay)
    runs.append(lab.start(case, dest, **env))
    first_end = wait_for_first(runs)
    ended = [run.wait(2 * lab.limit(case)) for run in runs]
    worked = [done for done in ended if done.code == 0]
    stopped = [done for done in ended if done.code != 0]
    # a run that begins to work when the other one has ended finds its result
    results = filter(compare.is_compared, compare.files(dest) if dest.is_dir() else [])
    is_found = all(path.stat().st_mtime <= first_end for path in results)
    right = len(worked) == 1 or (len(worked) == 2 and (CASES[case].waits or is_found))
    if not right:
        lab.say(f'    {case}: {len(worked)} of 2 runs say that they have worked')
    identical = bool(worked) and lab.is_identical(case, dest, worked[0])
    left = lab.left_behind(case, dest) + sum(run.survivors() for run in runs)
    for run in runs:
        run.clean()
    said = lab.short(stopped[0].line) if stopped else ''
    yield Outcome(identical and right, any(done.is_traceback for done in stopped), left, said)


def two_at_once(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "The same command twice at once: one works, the other one waits or is refused"
    for i in range(tries):
        yield from pair(lab, case, DELAYS[i % len(DELAYS)])


def without_flock(number: int) -> Callable:
    "Trials on a file system whose locks fail with an error number"

    def trial(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
        for _ in range(tries):
            dest = lab.fresh()
            env = dict(MFSR_FAULT_FLOCK=str(number))
            # a killed run must not hold its lock for ever
            run = lab.start(case, dest, **env)
            while run.is_alive() and run.seconds() < 0.97 * lab.references[case].begin:
                time.sleep(0.03)
            run.kill('group', rng)
            run.wait(lab.limit(case))
            run.clean()
            done = lab.run(case, dest, **env)
            identical = lab.is_identical(case, dest, done)
            left = lab.left_behind(case, dest)
            said = lab.short(done.line) if done.code else ''
            yield Outcome(identical, done.is_traceback, left, said)

    return trial


def two_without_flock(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "Two runs at once on a file system without locks"
    for i in range(tries):
        yield from pair(lab, case, DELAYS[i % len(DELAYS)], MFSR_FAULT_FLOCK=str(errno.ENOSYS))


def wrong_ranks(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "Variables of a launch that make no sense"
    for env in (dict(RANK='abc', WORLD_SIZE='2'), dict(RANK='5', WORLD_SIZE='2')):
        env |= dict(LOCAL_RANK='0', MASTER_ADDR='127.0.0.1', MASTER_PORT='29555')
        dest = lab.fresh()
        first = lab.run(case, dest, **env)
        yield refused(lab, case, dest, first, lab.fresh)
