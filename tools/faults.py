"""Break runs of the commands in every way, and see whether the same command again mends them.

Each trial runs the real commands on a small face world and compares the result with that of an
unbroken run. The table is written to results/faults.json after each row; rows that are there are
not computed again. Some trials mount small file systems, which needs root.
"""

import argparse
import errno
import json
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import faults_damage as damage
import faults_disk as disk
from common import ROOT, write
from faults_kills import Outcome, kills, worker_kills
from faults_lab import CASES, Lab

FILE = ROOT / 'results' / 'faults.json'
HEAD = ('kind', 'command', 'tries', 'identical', 'lost', 'tracebacks', 'left', 'said')
ALL = tuple(CASES)
ALONE = tuple(name for name in CASES if not name.startswith('mfsr_train, '))
POOLS = ('mfsr_world', 'mfsr_mask, 2 workers')
TRAININGS = ('mfsr_train', 'mfsr_gan')
FOLDERS = ('mfsr_mask', 'mfsr_align')
USERS = ('mfsr_embed', 'mfsr_enroll')
READERS = ('mfsr_mask', 'mfsr_mask, 2 workers', 'mfsr_align', *TRAININGS, *USERS)
LOCKED = ('mfsr_world', 'mfsr_mask', 'mfsr_train', 'mfsr_enroll', 'mfsr_reproduce')


class Fault(NamedTuple):
    "A kind of fault"

    trial: Callable  # (lab, case, tries, rng) -> outcomes
    cases: tuple[str, ...]
    tries: int = 2


FAULTS = {
    'SIGKILL': Fault(kills, ALL, tries=20),
    'SIGKILL of a worker': Fault(worker_kills, POOLS, tries=10),
    'two runs at once': Fault(disk.two_at_once, ALONE, tries=4),
    'full disk': Fault(disk.full_disk, ALONE, tries=4),
    'read-only disk': Fault(disk.read_only, ALONE, tries=1),
    'a file at the destination': Fault(disk.file_in_the_way, ALONE, tries=1),
    'image vanishes': Fault(damage.vanished_image, READERS),
    'weights vanish': Fault(damage.vanished_weights, USERS, tries=1),
    'data exchanged after a run': Fault(damage.exchanged_after, TRAININGS + FOLDERS),
    'data exchanged before a resumed run': Fault(damage.exchanged_between, TRAININGS),
    'picture of a result damaged': Fault(damage.changed_picture, FOLDERS, tries=4),
    'newest checkpoint damaged': Fault(damage.damaged_checkpoint(False), TRAININGS, tries=6),
    'all checkpoints damaged': Fault(damage.damaged_checkpoint(True), TRAININGS, tries=6),
    'finished weights damaged': Fault(damage.damaged_result, TRAININGS, tries=3),
    'given weights damaged': Fault(damage.damaged_input, USERS, tries=3),
    'segmentation removed': Fault(damage.without_segmentation, ('mfsr_gan',), tries=1),
    'another version': Fault(damage.stale_version, (*TRAININGS, 'mfsr_reproduce'), tries=1),
    'another version, --fresh': Fault(damage.fresh_option, (*TRAININGS, 'mfsr_reproduce'), tries=1),
    'no flock (ENOSYS)': Fault(disk.without_flock(errno.ENOSYS), LOCKED, tries=1),
    'no flock (EBADF)': Fault(disk.without_flock(errno.EBADF), LOCKED, tries=1),
    'two runs without flock': Fault(disk.two_without_flock, ('mfsr_train', 'mfsr_mask')),
    'wrong rank': Fault(disk.wrong_ranks, ('mfsr_train', 'mfsr_mask'), tries=2),
    'permissions': Fault(damage.permissions, ALONE, tries=1),
}


def row_of(kind: str, case: str, outcomes: list[Outcome]) -> dict:
    "A row of the table"
    said = [outcome.said for outcome in outcomes if outcome.said]
    phases = Counter(outcome.phase for outcome in outcomes if outcome.phase)
    identical = sum(outcome.identical for outcome in outcomes)
    return dict(
        kind=kind,
        command=case,
        tries=len(outcomes),
        identical=identical,
        lost=len(outcomes) - identical,
        tracebacks=sum(outcome.traceback for outcome in outcomes),
        left_behind=sum(outcome.left for outcome in outcomes),
        phases=dict(phases),
        said=said[0] if said else '',
    )


def table_line(row: dict) -> str:
    "A row in Markdown"
    numbers = [row[name] for name in ('tries', 'identical', 'lost', 'tracebacks', 'left_behind')]
    cells = [row['kind'], row['command'], *map(str, numbers), row['said'].replace('|', r'\|')]
    return '| ' + ' | '.join(cells) + ' |'


def say(text: str) -> None:
    "Progress goes to the standard error"
    print(text, file=sys.stderr, flush=True)


# ---- the file


def read_table() -> dict:
    "What has been tried so far"
    if FILE.is_file():
        return json.loads(FILE.read_text(encoding='utf-8'))
    return dict(environment={}, commit=None, seed=0, rows=[], before=[])


def write_row(row: dict, column: str, about: dict) -> None:
    "Put a row into the file, in the place of an older one"
    table = read_table()
    rows = {(old['kind'], old['command']): old for old in table[column]}
    rows[row['kind'], row['command']] = row
    places = {name: i for i, name in enumerate([*FAULTS, *CASES])}
    ordered = sorted(rows, key=lambda name: [places.get(part, len(places)) for part in name])
    table |= {column: [rows[name] for name in ordered]} | about
    write(FILE, json.dumps(table, indent=1) + '\n')


def todo_of(options: argparse.Namespace, column: str) -> list[tuple[str, str]]:
    "What is to be tried"
    done = {(row['kind'], row['command']) for row in read_table()[column]}
    found = []
    for kind, fault in FAULTS.items():
        if options.only and kind not in options.only:
            continue
        for case in fault.cases:
            wanted = not options.commands or case in options.commands
            if wanted and (options.again or (kind, case) not in done):
                found.append((kind, case))
    return found


# ---- trials


def tries_of(kind: str, most: int) -> int:
    "How many tries a kind has"
    return min(FAULTS[kind].tries, most) if most else FAULTS[kind].tries


def try_one(lab: Lab, kind: str, case: str, tries: int, seed: int) -> dict | None:
    "All tries of a kind with a command; None if it cannot be tried here"
    lab.prepare(case)
    rng = random.Random(f'{seed} {kind} {case}')
    outcomes = list(FAULTS[kind].trial(lab, case, tries, rng))
    return row_of(kind, case, outcomes) if outcomes else None


def try_all(lab: Lab, todo: list[tuple[str, str]], options: argparse.Namespace) -> None:
    "Try everything, print and write each row"
    from mfsr_nb.core import code_version, hardware

    column = 'before' if options.before else 'rows'
    versions = {name: version(name) for name in ('torch', 'fastai')}
    machine = dict(hardware=hardware(), python=platform.python_version(), **versions)
    about = dict(environment=machine, seed=options.seed)
    about['commit_before' if options.before else 'commit'] = code_version()['commit']
    weights = [tries_of(kind, options.tries) for kind, _ in todo]
    start = time.monotonic()
    print('| ' + ' | '.join(HEAD) + ' |\n|' + ' --- |' * len(HEAD), flush=True)
    for i, (kind, case) in enumerate(todo):
        say(f'{i} of {len(todo)} rows: {kind}, {case}{time_left(start, weights, i)}')
        row = try_one(lab, kind, case, weights[i], options.seed)
        if row is None:
            say(f'  {kind}: cannot be tried here (needs Linux and root, or did not hit)')
            continue
        print(table_line(row), flush=True)
        write_row(row, column, about)


def time_left(start: float, weights: list[int], done: int) -> str:
    "An estimate, by the tries that are done"
    if not done:
        return ''
    each = (time.monotonic() - start) / sum(weights[:done])
    return f', about {each * sum(weights[done:]) / 60:.0f} min left'


def arguments() -> argparse.Namespace:
    "The command line; ends with a message on an unknown name"
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    kinds = ', '.join(FAULTS)
    commands = ', '.join(CASES)
    add('--only', action='append', default=[], metavar='KIND', help=f'repeatable; of: {kinds}')
    add('--commands', action='append', default=[], metavar='NAME', help=f'of: {commands}')
    add('--tries', type=int, default=0, metavar='N', help='at most N tries of each kind')
    add('--again', action='store_true', help='compute rows that are there again')
    add('--before', action='store_true', help='write the column `before` of the table')
    add('--seed', type=int, default=0, help='names the random moments (default: 0)')
    folder = Path(tempfile.gettempdir()) / 'mfsr_faults'
    add('--folder', type=Path, default=folder, help='where to work (default: %(default)s)')
    options = parser.parse_args()
    for given, known in ((options.only, FAULTS), (options.commands, CASES)):
        if unknown := set(given) - set(known):
            sys.exit(f'{min(unknown)}: unknown; choose from {", ".join(known)}')
    return options


def main() -> None:
    "Try what is missing in results/faults.json"
    options = arguments()
    todo = todo_of(options, 'before' if options.before else 'rows')
    lab = Lab(options.folder.resolve(), say)
    try_all(lab, todo, options)


if __name__ == '__main__':
    main()
