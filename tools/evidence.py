"""Compute the runs of the plan of the evidence that the registry does not have.

The plan is mfsr_nb/presets/plan.yaml. Seed after seed, each finished run is added to results/, and
the command continues where it stopped, also on another machine. It refuses to begin while the plan,
its preset or the claims have changes that are not committed.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

os.environ.setdefault('TQDM_DISABLE', '1')

from common import ROOT
from mfsr_nb.command import exit_code
from mfsr_nb.core import InputError
from mfsr_nb.engine.files import exclusive_lock
from mfsr_nb.presets import load_preset
from mfsr_nb.study.evidence_plan import read_plan, runs_left
from mfsr_nb.study.journal import journal, keep_seconds, known_seconds
from mfsr_nb.study.plan import Task, dry_run_report, plan
from mfsr_nb.study.registry import read_runs
from mfsr_nb.study.reproduce import Collector, default_jobs
from mfsr_nb.study.rows import Row
from mfsr_nb.study.run import run_plan
from mfsr_nb.study.study import Study

RESULTS = ROOT / 'results'
# what is frozen with the first run
FROZEN = ('plan', 'evidence', 'mini', 'paper', 'claims', 'rows')


def refuse_changes() -> None:
    "Raise `InputError` while something that is frozen is not committed"
    files = [f'mfsr_nb/presets/{name}.yaml' for name in FROZEN]
    command = ['git', 'status', '--porcelain', '--', *files]
    changed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    if changed:
        raise InputError(f'{changed.split()[-1]}: has changes: commit them before the first run')


def tasks_of(study: Study, left: Sequence[tuple[Row, int]]) -> dict[str, Task]:
    "What is to be done, with reports on generators and attention maps"
    todo: dict[int, list[Row]] = {}
    for row, seed in left:
        todo.setdefault(seed, []).append(row)
    tasks = {}
    for seed, rows in todo.items():
        tasks |= plan(study, rows, [seed])
    return tasks


def seconds_of(study: Study) -> dict[str, float]:
    "Times of tasks by kind: of this preset, and for other kinds those of mini"
    mini = Study(load_preset('mini'), study.dest)
    return {**known_seconds(mini).seconds, **known_seconds(study).seconds}


def run_tasks(study: Study, tasks: dict[str, Task], jobs: int) -> None:
    "Compute tasks, and add what they make to the registry"
    with exclusive_lock(study.dest):
        collected = Collector(study, tasks, RESULTS, say=print)
        seconds = seconds_of(study)
        found = collected.noted
        run_plan(study, tasks, jobs, seconds, collected.finished, found)
        keep_seconds(study, RESULTS)


def arguments() -> argparse.Namespace:
    "The command line"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--jobs', type=int, default=default_jobs(), help='trainings at a time')
    parser.add_argument('--most', type=int, help='only as many of the runs that are left')
    parser.add_argument('--dry-run', action='store_true', help='only report what would be done')
    return parser.parse_args()


def main() -> None:
    "Compute what is left of the plan"
    options = arguments()
    chosen, planned = read_plan()
    left = runs_left(planned, chosen.preset, read_runs(RESULTS))[: options.most]
    if not left:
        print('all runs of the plan are in the registry')
        return
    study = Study(load_preset(chosen.preset), ROOT / 'runs' / chosen.preset)
    tasks = tasks_of(study, left)
    if options.dry_run:
        print(dry_run_report(tasks, options.jobs, seconds_of(study), journal(study)))
        return
    refuse_changes()
    run_tasks(study, tasks, options.jobs)


if __name__ == '__main__':
    sys.exit(exit_code('evidence', main))
