"""Search for a recipe of fine-tuning on photographs, with nobody of the final test among them.

The recipes are those of `recipes`: settings of the training, then options of the losses. Each is
trained on four fifths of the people of the training set, and measured on the others, and on a
development set with real masks. `--dest` keeps what was computed; the results go to
`results/real_recipe.json`, and what is there is not computed again.

    python tools/real_recipe.py --train LFW --test DEVELOPMENT --dest STUDY
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mfsr_nb.command import exit_code
from mfsr_nb.core import FULL, MASKED, code_version, hardware, seed_everything
from mfsr_nb.data.dataset import read
from mfsr_nb.data.loading import SomeRows, Streamed
from mfsr_nb.engine.files import atomic_write
from mfsr_nb.presets import changed
from mfsr_nb.protocol.metrics import retrieval
from mfsr_nb.recognition.callbacks import StepRate
from mfsr_nb.recognition.centering import centered, domain_means
from mfsr_nb.recognition.fine_tuning import NewFaces, blend
from mfsr_nb.recognition.loaders import face_dls
from mfsr_nb.recognition.map_bank import MapBank, divide_body, embed_by_maps
from mfsr_nb.recognition.pretrained import open_recognizer
from mfsr_nb.recognition.recognizer import Recognizer, fingerprint, loss_settings
from mfsr_nb.recognition.train import (
    build_training_model,
    check_start,
    face_learner,
    start_bank,
    strip_training_state,
)
from mfsr_nb.study.rows import Row
from mfsr_nb.study.study import Study

RESULTS = Path(__file__).parent.parent / 'results' / 'real_recipe.json'
PRESET = 'photos-pretrained'
# shares of the trained network that are measured
SHARES = (1.0, 0.5)
BASE = dict(masks='kp_syn', steps=100, lr=1e-4)
LOSSES = dict(softmax='Softmax', dcr='DCR', center='Center Loss', arcface='ArcFace')
PARTS = ('training', 'options', 'more of DCR')

# of the training, tried with Softmax and with DCR
TRAININGS = {
    'lr 1e-4': {},
    'lr 3e-5': dict(lr=3e-5),
    'lr 3e-4': dict(lr=3e-4),
    '250 steps': dict(steps=250),
    '400 steps': dict(steps=400),
    '1 full and 3 masked': dict(mix=(1, 3)),
    'slower stages': dict(lr_decay=0.7),
    'one masked copy': dict(copies=1),
}
# what was chosen among them
TRAINING = dict(steps=400)
# of the losses: as many of each
OPTIONS = dict(
    dcr=[
        dict(dcr_weight=1.0),
        dict(dcr_weight=3.0),
        dict(dcr_weight=10.0),
        dict(negatives='all'),
        dict(gamma=0.95),
        dict(a_s=0.9, a_c=0.7),
    ],
    triplet=[
        dict(margin=0.3, weight=1.0),
        dict(margin=0.3, weight=0.3),
        dict(margin=0.3, weight=3.0),
        dict(margin='soft', weight=1.0),
        dict(margin='soft', weight=0.3),
        dict(margin='soft', weight=3.0),
    ],
    center=[dict(weight=weight) for weight in (0.003, 0.001, 0.01, 0.03, 0.1, 0.3)],
    arcface=[
        dict(scale=64.0, margin=0.5),
        dict(scale=64.0, margin=0.3),
        dict(scale=32.0, margin=0.5),
        dict(scale=32.0, margin=0.3),
        dict(scale=16.0, margin=0.5),
        dict(scale=16.0, margin=0.3),
    ],
)
# more of DCR, to see whether anything widens what it adds; they are not chosen from
MORE_OF_DCR = [
    dict(a_s=0.5, a_c=0.3),
    dict(softmax_weight=0.0),
    dict(cross_positive='center'),
    dict(dcr_weight=3.0, negatives='all'),
    dict(dcr_weight=3.0, a_s=0.9, a_c=0.7),
]


def recipe(loss: str, change: str, part: str, **settings: Any) -> dict:
    "One line of the search: what differs from BASE"
    name = LOSSES.get(loss, loss.title())
    return dict(what=f'{name}, {change}', part=part, loss=loss) | BASE | settings


def as_text(options: Mapping) -> str:
    "Options of a loss in words"
    return ', '.join(f'{name} {value}' for name, value in options.items())


def with_options(loss: str, options: dict, part: str) -> dict:
    "A line of the search with the chosen training and options of the loss"
    return recipe(loss, as_text(options), part, options=options, **TRAINING)


def recipes() -> list[dict]:
    "All lines of the search"
    found = []
    for change, settings in TRAININGS.items():
        found += [recipe(loss, change, 'training', **settings) for loss in ('softmax', 'dcr')]
    for loss, changes in OPTIONS.items():
        found += [with_options(loss, one, 'options') for one in changes]
    return found + [with_options('dcr', one, 'more of DCR') for one in MORE_OF_DCR]


def is_held(name: str) -> bool:
    "Is a person of the training set held out? One of five is, by the hash of the name"
    return hashlib.sha256(name.encode()).digest()[0] % 5 == 0


class Probes(NamedTuple):
    "People to search for"

    table: pd.DataFrame
    pixels: Tensor  # uint8 (n, S, S, 3)
    folder: Path  # For the maps of their faces

    def embedded(self, network: Recognizer, freeze: int | str) -> np.ndarray:
        "Features, the mirrored face included"
        return embed_by_maps(network, freeze, self.pixels, self.folder, 'sum')


def searched(phi: np.ndarray, table: pd.DataFrame, domain: int) -> dict:
    "Rank-1, Rank-10 and mAP of probes of a domain among full faces, percent"
    identity = table.identity.to_numpy()
    full = (table.domain == FULL).to_numpy()
    if domain == FULL:
        found = retrieval(phi[full], identity[full])
    else:
        found = retrieval(phi[~full], identity[~full], phi[full], identity[full])
    rates = dict(rank1=(found.first <= 1).mean(), rank10=(found.first <= 10).mean(), map=found.map)
    return {name: round(100 * float(rate), 2) for name, rate in rates.items()}


def rates_of(phi: np.ndarray, name: str, table: pd.DataFrame) -> dict:
    "All rates on a set of people"
    rates = {}
    for domain, title in ((MASKED, 'masked'), (FULL, 'full')):
        for rate, value in searched(phi, table, domain).items():
            rates[f'{name} {title} {rate}'] = value
    return rates


class Search:
    "What all recipes share"

    def __init__(self, train: str, test: str, dest: str):
        given = dict(train=dict(casia=train), test=test, kind='photos')
        self.study = Study(PRESET, dest, **given)
        self.r = self.study.preset.recognition
        self.network = open_recognizer('dlib')
        self.bank = self._bank()
        table = self.study.training_table(self._row('kp_syn'))
        table = table[[is_held(name) for name in table.identity]]
        # one masked copy of each face, and three faces of each person
        table = table[~table.duplicated(['key', 'domain'])]
        few = table.groupby(['identity', 'domain']).cumcount() < 3
        table = table[few].reset_index(drop=True)
        sets = dict(lfw=table, rmfrd=read(test))
        self.probes = {}
        for name, faces in sets.items():
            faces, pixels = self.study.decode(faces)
            folder = self.study.dest / 'maps' / fingerprint(faces)
            self.probes[name] = Probes(faces, pixels, folder)

    def _row(self, masks: str) -> Row:
        return Row(name='search', loss='softmax', masks=masks)

    def _bank(self) -> MapBank:
        "Maps of all training faces"
        table = self.study.training_table(self._row('kp_syn'))
        # they are only decoded if there are no maps yet
        pixels = Streamed(table.path, self.r.image_size)
        return start_bank('dlib', self.r, table, pixels)

    def some(self, copies: int) -> tuple[pd.DataFrame, SomeRows, np.ndarray]:
        "Rows of the bank that a recipe trains on: table, maps, features of the start"
        table = self.bank.table
        keep = ~table.identity.map(is_held).to_numpy()
        number = table.groupby(['key', 'domain']).row.rank('dense').to_numpy() - 1
        keep &= (table.domain == FULL).to_numpy() | (number < copies)
        rows = np.flatnonzero(keep)
        table = table.iloc[rows].reset_index(drop=True)
        table['label'] = table.identity.astype('category').cat.codes.astype(int)
        return table, SomeRows(self.bank.maps, rows), self.bank.phi[rows]

    def train(self, chosen: Mapping, seed: int = 0) -> tuple[Recognizer, Any, float]:
        "A network by a recipe, its start, and seconds"
        begin = time.time()
        steps = chosen['steps']
        table, maps, phi = self.some(chosen.get('copies', 4))
        full, masked = chosen.get('mix', (2, 2))
        r = changed(
            self.r,
            augment=dict(hflip=0.0, snapshot=None),
            optimizer=dict(lr=chosen['lr']),
            domain_mix=dict(full=full, masked=masked),
            fine_tuning=dict(lr_decay=chosen.get('lr_decay', 1.0)),
        )
        milestones = [round(steps * share / 10) for share in range(4, 10)]
        schedule = changed(r.schedule.casia, steps=steps, milestones=milestones)
        loss, options = loss_settings(self.study.preset, chosen['loss'])
        options = options | chosen.get('options', {})
        # as in a run, where it belongs to the training
        clip = options.pop('clip', 0.0)
        seed_everything(seed)
        start = check_start('dlib', r, loss)
        names = sorted(set(table.identity))
        faces = NewFaces(names, table.label.to_numpy(), None, phi)
        model = build_training_model(len(names), r, loss, options, start=start, faces=faces)
        model.behind_maps = tuple(divide_body(model, r.fine_tuning.freeze).behind)
        dls = face_dls(table, maps, r, held_out=0, steps=steps, seed=seed)
        cbs = [StepRate(r.optimizer.lr, schedule, r.fine_tuning.lr_decay)]
        learn = face_learner(dls, model, preset=r, cbs=cbs, clip=clip)
        learn.create_opt()
        with learn.no_bar(), learn.no_logging():
            while int(model.n_steps) < steps:
                learn.fit(1)
        return strip_training_state(model).eval(), start, time.time() - begin

    def measured(self, network: Recognizer | None, center: bool = False) -> dict:
        "All rates of a network, or of the start; with `center`, without the means of the domains"
        network = network or self.network
        rates = {}
        for name, probes in self.probes.items():
            phi = probes.embedded(network, self.r.fine_tuning.freeze)
            if center:
                phi = self._centered(phi, probes.table)
            rates |= rates_of(phi, name, probes.table)
        return rates

    def _centered(self, phi: np.ndarray, faces: pd.DataFrame) -> np.ndarray:
        "Features of the start without the mean of each domain of the training faces"
        table = self.bank.table
        own = ~table.identity.map(is_held).to_numpy()
        means = domain_means(self.bank.phi[own], table.domain[own])
        # a feature is the sum of two
        return centered(phi, faces.domain, 2 * means)


class Results:
    "The lines of the search, in a file"

    def __init__(self):
        self.lines = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []

    def has(self, **about: Any) -> bool:
        "Is there a line with these values, also of its settings?"
        # as it is read from the file: tuples are lists there
        wanted = json.loads(json.dumps(about))
        for line in self.lines:
            same = [line.get(name) == value for name, value in wanted.items()]
            if all(same):
                return True
        return False

    def add(self, **line: Any) -> None:
        "Write and print a line, in place of one of the same name with other settings"
        key = itemgetter('what', 'seed', 'share')
        self.lines = [other for other in self.lines if key(other) != key(line)] + [line]
        with atomic_write(RESULTS) as file:
            file.write_text(json.dumps(self.lines, indent=1) + '\n', encoding='utf-8')
        print(line, flush=True)


def measure_start(search: Search, results: Results) -> None:
    "The network as it is, with and without centering"
    for what, center in (('untouched', False), ('untouched, centered', True)):
        about = dict(what=what, part='start', seed=0, share=0.0)
        if not results.has(**about):
            results.add(**about, **search.measured(None, center))


def try_recipe(search: Search, results: Results, chosen: Mapping, seed: int) -> None:
    "Train by a recipe, and measure the shares that have no line"
    settings = {name: value for name, value in chosen.items() if name not in ('what', 'part')}
    about = dict(what=chosen['what'], part=chosen['part'], seed=seed, settings=settings)
    missing = [share for share in SHARES if not results.has(share=share, **about)]
    if not missing:
        return
    network, start, seconds = search.train(chosen, seed)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    made = dict(seconds=round(seconds, 1), hardware=hardware(), **code_version())
    for share in missing:
        network.load_state_dict(state)
        if share < 1:
            blend(network, start.tensors, share)
        results.add(**about, share=share, **made, **search.measured(network))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ('train', 'test', 'dest'):
        parser.add_argument(f'--{name}', required=True)
    parser.add_argument('--seeds', type=int, default=1)
    parser.add_argument('--part', choices=PARTS, help='one part of the search; all without it')
    given = parser.parse_args()
    torch.set_num_threads(1)
    search = Search(given.train, given.test, given.dest)
    results = Results()
    measure_start(search, results)
    for seed in range(given.seeds):
        for chosen in recipes():
            if given.part in (None, chosen['part']):
                try_recipe(search, results, chosen, seed)


if __name__ == '__main__':
    sys.exit(exit_code('real_recipe', main))
