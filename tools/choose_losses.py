"""Choose the options and learning rates of losses, on identities that no table shows.

The candidates are those of mfsr_nb/presets/choices.yaml, or of --grid FILE: once in rows that train
on full faces only, and once in rows with IAMGAN's masks. Each is a row of the preset `search`,
whose test identities are drawn for this purpose alone. Results are in results/choices.json; what is
there is not computed again, so that a search may go on elsewhere.
"""

import argparse
import json
import os
import sys
from itertools import product

os.environ.setdefault('TQDM_DISABLE', '1')

import yaml

from common import ROOT
from mfsr_nb.command import exit_code
from mfsr_nb.core import InputError
from mfsr_nb.engine.files import atomic_write, exclusive_lock
from mfsr_nb.presets import config_hash, settings
from mfsr_nb.registries import closest
from mfsr_nb.study.choices import (
    SEARCH_SEEDS,
    Choices,
    LossCandidate,
    as_row_changes,
    best_changes,
    loss_candidates,
    read_choices,
)
from mfsr_nb.study.journal import journal, keep_seconds, known_seconds, note_task
from mfsr_nb.study.plan import Task, dry_run_report, plan
from mfsr_nb.study.reproduce import default_jobs
from mfsr_nb.study.run import run_plan
from mfsr_nb.study.study import Study
from mfsr_nb.world.write import DRAWING

RESULTS = ROOT / 'results' / 'choices.json'
PRESET = 'search'
RATES = ('rank1', 'map')


def loss_line(candidate: LossCandidate, run: dict) -> dict:
    "What is kept of a candidate's run"
    metrics = run['metrics']
    rates = {}
    # a loss that compares parts of faces measures masked faces only
    for name, part in (('masked', metrics), ('full', metrics.get('full-full', {}))):
        rates[name] = {metric: round(part[metric], 4) for metric in part if metric in RATES}
    made = {name: run[name] for name in ('seconds', 'hardware', 'version', 'commit') if name in run}
    return dict(
        id=run['id'],
        **candidate._asdict(),
        seed=run['seed'],
        **rates,
        loss_end=run['train'].get('final_loss'),
        **made,
    )


class Search:
    "The candidates of losses in one study"

    def __init__(self, study: Study, candidates: list[LossCandidate], seeds: int):
        self.study = study
        self.seeds = range(seeds)
        self.candidates = {candidate.row.name: candidate for candidate in candidates}
        written = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
        self.lines = {line['key']: line for line in written if 'key' in line}

    def key(self, name: str, seed: int) -> str:
        "Changes with everything that a result depends on, apart from code"
        fields = settings(self.study.preset) | dict(name=PRESET)
        return config_hash(fields, DRAWING, settings(self.candidates[name].row), seed)

    def tasks(self) -> dict[str, Task]:
        "What is to be done: candidates whose results are written are left out"
        todo = {}
        for seed in self.seeds:
            names = [name for name in self.candidates if self.key(name, seed) not in self.lines]
            rows = [self.candidates[name].row for name in names]
            todo |= plan(self.study, rows, [seed], records=False)
        return todo

    def write(self) -> None:
        "Write all results, also those that this search did not ask for"
        with atomic_write(RESULTS) as file:
            file.write_text(json.dumps([*self.lines.values()], indent=1) + '\n', encoding='utf-8')

    def finished(self, task: Task, made: object, seconds: float) -> None:
        "Note a task, and write the results of a run"
        if task.name not in journal(self.study):
            note_task(self.study, task, seconds)
        if task.what != 'run':
            return
        row, seed = task.args
        key = self.key(row.name, seed)
        self.lines[key] = dict(key=key, **loss_line(self.candidates[row.name], made))
        print(json.dumps(self.lines[key]), flush=True)
        self.write()

    def run_all(self, jobs: int) -> None:
        "Try every candidate that has no result"
        with exclusive_lock(self.study.dest):
            done = journal(self.study)
            seconds = known_seconds(self.study).seconds
            run_plan(self.study, self.tasks(), jobs, seconds, self.finished, done)
            keep_seconds(self.study, RESULTS.parent)


def chosen_rows(candidates: list[LossCandidate], seeds: int) -> str:
    "What the results choose, as the section `rows` of a preset; raises `InputError` before the end"
    wanted = [(*candidate, seed) for candidate, seed in product(candidates, range(seeds))]
    lines = []
    for line in json.loads(RESULTS.read_text()):
        if (line['group'], line['loss'], line['change'], line['seed']) in wanted:
            lines.append(line)
    if len(lines) < len(wanted):
        missing = len(wanted) - len(lines)
        raise InputError(f'{RESULTS}: {missing} of {len(wanted)} trainings are missing')
    best = best_changes(lines)
    return yaml.safe_dump(dict(rows=as_row_changes(best)), sort_keys=False, default_flow_style=None)


def arguments() -> argparse.Namespace:
    "The command line"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('study', help='folder of the search, such as runs/search')
    parser.add_argument('names', nargs='*', metavar='LOSS', help='losses (default: all)')
    of_each = f'seeds of each candidate (default: {SEARCH_SEEDS})'
    parser.add_argument('--seeds', type=int, default=SEARCH_SEEDS, help=of_each)
    parser.add_argument('--jobs', type=int, default=default_jobs(), help='trainings at a time')
    parser.add_argument('--dry-run', action='store_true', help='only report what would be done')
    parser.add_argument(
        '--chosen', action='store_true', help='only print what the results choose, for a preset'
    )
    parser.add_argument(
        '--grid',
        metavar='FILE',
        help='candidates of your own (default: mfsr_nb/presets/choices.yaml)',
    )
    return parser.parse_args()


def check_names(names: list[str], choices: Choices) -> None:
    "Raise `InputError` on a loss that the grid does not have"
    for name in names:
        if name not in choices.losses:
            raise InputError(f'{name!r} is not in the grid: {closest(name, [*choices.losses])}')


def main() -> None:
    "Try what the command line names"
    options = arguments()
    choices = read_choices(options.grid, PRESET)
    check_names(options.names, choices)
    candidates = loss_candidates(choices, options.names)
    if options.chosen:
        print(chosen_rows(candidates, options.seeds), end='')
        return
    study = Study(PRESET, options.study)
    search = Search(study, candidates, options.seeds)
    if options.dry_run:
        known = known_seconds(study)
        print(dry_run_report(search.tasks(), options.jobs, known.seconds, journal(study)))
    else:
        search.run_all(options.jobs)


if __name__ == '__main__':
    sys.exit(exit_code('choose_losses', main))
