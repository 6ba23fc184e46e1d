"""Compute the rows of `photos-pretrained`, and add them to the registry of evidence.

mfsr_align LFW lfw --for dlib; mfsr_align RMFRD rmfrd --for dlib
python tools/real_lists.py lfw rmfrd
python tools/real_rows.py --train lfw/six.csv --test rmfrd/untouched.csv --dest STUDY

Rows with masks by IAMGAN need its weights: those for photographs that come with the package, or
a file of one's own, as --generator. Without them they are left out, with a line that says so.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from mfsr_nb.command import exit_code
from mfsr_nb.core import FULL, InputError, hardware
from mfsr_nb.data.dataset import counts
from mfsr_nb.data.loading import Streamed
from mfsr_nb.engine.released import SEGMENTATION, find_released
from mfsr_nb.engine.weights import weights_hash
from mfsr_nb.generators.generated_folder import translate_folder
from mfsr_nb.presets import config_hash
from mfsr_nb.recognition import pretrained
from mfsr_nb.recognition.centering import centered, domain_means
from mfsr_nb.recognition.map_bank import embed_by_maps
from mfsr_nb.recognition.recognizer import fingerprint, training_set
from mfsr_nb.recognition.train import start_bank
from mfsr_nb.registries import GENERATORS
from mfsr_nb.study.registry import append_run, merge_runs, read_runs
from mfsr_nb.study.reproduce import seed_list
from mfsr_nb.study.rows import Row, rows
from mfsr_nb.study.single_run import measure_features, run_row
from mfsr_nb.study.study import Study

PRESET = 'photos-pretrained'
RESULTS = Path(__file__).parent.parent / 'results'
ROWS = (
    'Softmax',
    'Softmax+KP-SYN',
    'DCR+KP-SYN',
    'DCR+KP-SYN without L_c',
    'DCR+KP-SYN without L_s',
    'Softmax+DE',
    'Softmax+KP-CVX',
    'Softmax+Triplet+KP-SYN',
    'CenterLoss+KP-SYN',
    'ArcFace+KP-SYN',
    'Softmax+IAMGAN',
    'DCR+IAMGAN',
)


class PhotoStudy(Study):
    "A study whose generators are not trained: their weights are given"

    def __init__(self, *args: Any, generator: str = '', **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.own_generator = generator

    def generator_file(self, row: Row) -> Path:
        "Weights of a row's generator; raises `InputError` where there are none"
        return Path(self.own_generator or find_released(row.masks))

    def _faces(self, row: Row, copy: int) -> Path:
        "Folder of a masked copy of all training faces, made if it is not there"
        weights = self.generator_file(row)
        segmenter = find_released(SEGMENTATION)
        name = f'{row.masks}-{weights_hash(weights)}-{copy}'
        folder = self.dest / 'generated' / row.train / name
        with self.alone(folder):
            if not (folder / 'recipe.jsonl').is_file():
                given = self.data(row.train), folder, row.masks, weights
                translate_folder(*given, segmentation=segmenter, seed=copy)
        return folder

    def generated(self, row: Row, seed: int) -> tuple[Path, dict]:
        "The first masked copy, and facts about the generator; the same for all seeds"
        weights = self.generator_file(row)
        faces = self._faces(row, 0)
        return faces, dict(folder=weights.parent.name, faces=faces.name)

    def training_table(self, row: Row, seed: int = 0) -> pd.DataFrame:
        "As many masked copies as other rows have"
        if row.masks not in GENERATORS:
            return super().training_table(row, seed)
        copies = self.preset.recognition.fine_tuning.copies
        folders = [self._faces(row, copy) for copy in range(copies)]
        return training_set(self.data(row.train), folders, self.skip_bad)

    def _data_identity(self, row: Row, table: pd.DataFrame) -> tuple:
        "Generated faces follow from the full faces and the weights"
        if row.masks not in GENERATORS:
            return super()._data_identity(row, table)
        full = fingerprint(table[table.domain == FULL])
        weights = weights_hash(self.generator_file(row))
        return full, weights, fingerprint(self.test_set().table)


def has_masks(study: PhotoStudy, row: Row) -> bool:
    "Can a row be computed? It says what is missing where it cannot"
    try:
        return row.masks not in GENERATORS or study.generator_file(row).is_file()
    except InputError as error:
        print(f'{row.name} is left out: {error}', flush=True)
        return False


def renamed_rows() -> Iterator[Row]:
    "The rows in their order, in cells of LFW"
    known = {row.name: row for row in rows(('1', '2', 'gaps', 'real'))}
    for name in ROWS:
        yield known[name].model_copy(update=dict(cells=(f'table1/lfw/{name}',)))


def add_untouched(study: Study) -> None:
    "Lines of the network as it is, and of its features without the means of the domains"
    name = 'dlib'
    recognition = study.preset.recognition
    network = pretrained.open_recognizer(name)
    table = study.training_table(next(kp_syn_rows()))
    # they are only decoded if there are no maps yet
    pixels = Streamed(table.path, recognition.image_size)
    bank = start_bank(name, recognition, table, pixels)
    test = study.test_set()
    folder = study.dest / 'maps' / fingerprint(test.table)
    phi = embed_by_maps(network, recognition.fine_tuning.freeze, test.pixels, folder, 'sum')
    # a feature is the sum of two
    means = 2 * domain_means(bank.phi, bank.table.domain)
    both = dict(untouched=phi)
    both['untouched, centered'] = centered(phi, test.table.domain, means)
    for title, features in both.items():
        append_line(study, title, features, weights_hash(pretrained.recognizer_file(name)))


def kp_syn_rows() -> Iterator[Row]:
    "Rows with masks by KP-SYN"
    return (row for row in renamed_rows() if row.masks == 'kp_syn')


def append_line(study: Study, title: str, features: Any, weights: str) -> None:
    "Add the line of features that nobody trained, unless it is there"
    begin = time.time()
    test = study.test_set().table
    config = config_hash(title, weights)
    data = config_hash(fingerprint(test))
    name = f'{PRESET}/{study.kind}/{title.replace(", ", "-")}-0-{config_hash(config, data)[:6]}'
    if any(run['id'] == name for run in read_runs(study.dest)):
        return
    line = dict(id=name, cells=[f'table1/lfw/{title}'], preset=PRESET, kind=study.kind, seed=0)
    line |= dict(config=config, data=data, **study.code, hardware=hardware())
    metrics = measure_features(study, features)
    line |= dict(seconds=round(time.time() - begin, 1))
    line |= dict(finished=time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()))
    line |= dict(train=dict(loss='', steps=0, seconds=0.0), counts=dict(test=counts(test)))
    append_run(study.dest, line | dict(metrics=metrics))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ('train', 'test', 'dest'):
        parser.add_argument(f'--{name}', required=True)
    parser.add_argument('--seeds', default='5', help='as for mfsr_reproduce')
    parser.add_argument('--rows', default=','.join(ROWS), help='names, separated by commas')
    parser.add_argument('--generator', default='', help='weights of a generator, for IAMGAN')
    given = parser.parse_args()
    torch.set_num_threads(1)
    how = dict(train=dict(casia=given.train), test=given.test, generator=given.generator)
    study = PhotoStudy(PRESET, given.dest, kind='photos', **how)
    add_untouched(study)
    wanted = given.rows.split(',')
    chosen = [row for row in renamed_rows() if row.name in wanted and has_masks(study, row)]
    for seed in seed_list(given.seeds):
        for row in chosen:
            run = run_row(study, row, seed)
            found = run['metrics']
            shown = ' '.join(f'{key} {100 * found[key]:.1f}' for key in ('rank1', 'rank10', 'map'))
            full = 100 * found['full-full']['rank1']
            print(f'{row.name}, seed {seed}: {shown} full {full:.1f}', run['seconds'], flush=True)
        merge_runs(RESULTS, given.dest)


if __name__ == '__main__':
    sys.exit(exit_code('real_rows', main))
