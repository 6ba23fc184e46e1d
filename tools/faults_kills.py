"SIGKILL at random moments, then the same command again, until it is done."

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import faults_compare as compare
from faults_lab import CASES, Lab
from faults_process import Done, Run

# kills before a run may go on to its end
KILLS_IN_A_ROW = 5
# where in a run a kill shall hit; `writing` waits for a part file, `end` for the result
MOMENTS = ('work', 'writing', 'start', 'work', 'end')


class Outcome(NamedTuple):
    "What became of one fault"

    identical: bool  # Result of the unbroken run at last, and nothing wrong on the way?
    traceback: bool = False  # Was there a message that is not one line?
    left: int = 0  # Files or processes that stayed
    said: str = ''  # The message
    phase: str = ''  # Where the run was


class Kill(NamedTuple):
    "A kill that has hit"

    phase: str
    left: int  # Processes alive afterwards
    done: Done | None  # How the command ended itself, where only a child was killed


def is_part(path: Path) -> bool:
    "Is it a file that is being written?"
    return '.part' in path.name or '.tmp' in path.name


def phase_of(case: str, dest: Path) -> str:
    "What the files say about the moment of a kill"
    found = compare.files(dest) if dest.is_dir() else []
    if any(is_part(path) and path.name.startswith('.') for path in found):
        return 'writing'
    if (dest / CASES[case].result).exists():
        return 'end'
    return 'work' if any(compare.is_compared(path) for path in found) else 'start'


def wait_for(run: Run, case: str, dest: Path, goal: float, moment: str) -> None:
    "Wait until the run has used `goal` seconds of CPU time, and until its files say the moment"
    while run.is_alive() and run.seconds() < goal:
        time.sleep(0.08)
    while run.is_alive() and moment != 'start' and phase_of(case, dest) not in (moment, 'end'):
        time.sleep(0.005)


def goal_of(lab: Lab, case: str, moment: str, rng: random.Random) -> float:
    "CPU seconds at which a kill is due"
    reference = lab.references[case]
    if moment == 'start':
        return rng.uniform(0.1, reference.begin)
    # parts of files are there for a short time, from the first file on
    return 0.0 if moment != 'writing' else rng.uniform(0.9 * reference.begin, reference.seconds)


def kill_once(
    lab: Lab, case: str, dest: Path, who: str, moment: str, rng: random.Random
) -> tuple[Kill | None, Done | None]:
    "Start the command and kill it: (what was hit, None), or (None, how it ended before that)"
    run = lab.start(case, dest)
    wait_for(run, case, dest, goal_of(lab, case, moment, rng), moment)
    while who == 'child' and run.is_alive() and not run.children():
        time.sleep(0.02)
    longest = dict(end=0.3, work=lab.references[case].work).get(moment, 0.03)
    time.sleep(rng.uniform(0, longest))
    if not run.kill(who, rng):
        return None, run.wait(lab.limit(case))
    phase = phase_of(case, dest)
    # without a child, the command must end itself
    done = run.wait(lab.limit(case))
    left = run.survivors()
    run.clean()
    return Kill(phase, left, done if who == 'child' else None), None


def turns(case: str) -> tuple[str, ...]:
    "Whom the kills hit, in turns"
    return ('child', 'group', 'main') if 'processes' in case else ('group', 'main')


def kills_of_one_run(
    lab: Lab, case: str, who: list[str], first: int, rng: random.Random
) -> Iterator[Outcome]:
    "Several kills, one after the other, and the outcome of the run that came through"
    dest = lab.fresh()
    hits = []
    done = None
    for i, target in enumerate(who):
        moment = MOMENTS[(first + i) % len(MOMENTS)]
        hit, done = kill_once(lab, case, dest, target, moment=moment, rng=rng)
        if hit:
            hits.append(hit)
        if done or (hit.done and hit.done.code == 0):
            done = done or hit.done
            break
        if hit.phase == 'end':
            # later kills would find the result, whenever they hit
            break
    done = done or lab.run(case, dest)
    identical = lab.is_identical(case, dest, done)
    files = lab.left_behind(case, dest)
    for hit in hits:
        message = hit.done or done
        left = hit.left + files
        files = 0
        said = lab.short(message.line) if message.code else ''
        yield Outcome(identical, message.is_traceback, left, said=said, phase=hit.phase)


def kills(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "SIGKILL at random moments"
    hit = 0
    misses = 0
    while hit < tries and misses <= tries:
        who = [turns(case)[(hit + i) % len(turns(case))] for i in range(KILLS_IN_A_ROW)]
        before = hit
        for outcome in kills_of_one_run(lab, case, who[: tries - hit], first=hit, rng=rng):
            hit += 1
            yield outcome
        misses += hit == before


def worker_kills(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "SIGKILL of one worker: its share is done again, or one line says what to do"
    hit = 0
    misses = 0
    while hit < tries and misses <= 2 * tries:
        dest = lab.fresh()
        found, done = kill_once(lab, case, dest, 'child', moment='work', rng=rng)
        if not found:
            misses += 1
            continue
        hit += 1
        first = found.done
        done = first if first.code == 0 else lab.run(case, dest)
        identical = lab.is_identical(case, dest, done)
        left = lab.left_behind(case, dest)
        said = lab.short(first.line) if first.code else ''
        yield Outcome(identical, first.is_traceback, found.left + left, said, found.phase)
