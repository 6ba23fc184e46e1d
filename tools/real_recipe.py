"""Search for a recipe of fine-tuning on photographs, with nobody of the final test among them.

The recipes are those of RECIPES. Each is trained on four fifths of the people of the training set,
and measured on the others, and on a development set with real masks. `--dest` keeps what was
computed; the results go to `results/real_recipe.json`.

    python tools/real_recipe.py --train LFW --test DEVELOPMENT --dest STUDY
"""

import argparse
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mfsr_nb.core import FULL, MASKED, seed_everything
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
BASE = dict(loss='dcr', masks='kp_syn', steps=100, lr=3e-4)


WEIGHT_3 = dict(dcr_weight=3.0)
ALL_CENTERS = dict(negatives='all')
WIDE = dict(a_s=0.9, a_c=0.7)


def recipe(what: str, **settings: Any) -> dict:
    "One line of the search: what differs from BASE"
    return dict(what=what) | BASE | settings


RECIPES = [
    recipe('DCR, lr 1e-4', lr=1e-4),
    recipe('DCR'),
    recipe('Softmax, lr 1e-4', loss='softmax', lr=1e-4),
    recipe('DCR, lr 1e-4, weight 3', lr=1e-4, options=WEIGHT_3),
    recipe('Softmax, full faces only, lr 1e-4', loss='softmax', masks='', lr=1e-4),
    recipe('DCR, lr 3e-5', lr=3e-5),
    recipe('DCR, lr 1e-4, all centers', lr=1e-4, options=ALL_CENTERS),
    recipe('DCR, lr 1e-4, one masked copy', lr=1e-4, copies=1),
    recipe('DCR, lr 1e-4, 250 steps', lr=1e-4, steps=250),
    recipe('DCR, lr 1e-4, weight 10', lr=1e-4, options=dict(dcr_weight=10.0)),
    recipe('DCR, lr 1e-4, gamma 0.95', lr=1e-4, options=dict(gamma=0.95)),
    recipe('DCR, lr 1e-4, margins 0.9 and 0.7', lr=1e-4, options=WIDE),
    recipe('DCR, lr 1e-4, margins 0.5 and 0.3', lr=1e-4, options=dict(a_s=0.5, a_c=0.3)),
    recipe('DCR, lr 1e-4, 1 full and 3 masked', lr=1e-4, mix=(1, 3)),
    recipe('DCR, lr 1e-4, slower stages', lr=1e-4, lr_decay=0.7),
    recipe('DCR, lr 1e-4, 400 steps', lr=1e-4, steps=400),
    recipe('DCR, lr 1e-4, DCR alone', lr=1e-4, options=dict(softmax_weight=0.0)),
    recipe('DCR, lr 1e-4, weight 3, all centers', lr=1e-4, options=ALL_CENTERS | WEIGHT_3),
    recipe('DCR, lr 1e-4, weight 3, margins 0.9 and 0.7', lr=1e-4, options=WIDE | WEIGHT_3),
    recipe('DCR, lr 1e-4, weight 3, 24 people', lr=1e-4, options=WEIGHT_3, identities=24),
    recipe('DCR, lr 1e-4, weight 3, 400 steps', lr=1e-4, options=WEIGHT_3, steps=400),
    recipe('DCR, lr 1e-4, positive center', lr=1e-4, options=dict(cross_positive='center')),
    recipe('Softmax, lr 3e-5', loss='softmax', lr=3e-5),
    recipe('DCR, lr 3e-5, weight 3', lr=3e-5, options=WEIGHT_3),
]


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
    identity, full = table.identity.to_numpy(), (table.domain == FULL).to_numpy()
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

    def some(self, masks: str, copies: int) -> tuple[pd.DataFrame, SomeRows, np.ndarray]:
        "Rows of the bank that a recipe trains on: table, maps, features of the start"
        table = self.bank.table
        keep = ~table.identity.map(is_held).to_numpy()
        if not masks:
            keep &= (table.domain == FULL).to_numpy()
        number = table.groupby(['key', 'domain']).row.rank('dense').to_numpy() - 1
        keep &= (table.domain == FULL).to_numpy() | (number < copies)
        rows = np.flatnonzero(keep)
        table = table.iloc[rows].reset_index(drop=True)
        table['label'] = table.identity.astype('category').cat.codes.astype(int)
        return table, SomeRows(self.bank.maps, rows), self.bank.phi[rows]

    def train(self, chosen: Mapping, seed: int = 0) -> tuple[Recognizer, Any, float]:
        "A network by a recipe, its start, and seconds"
        begin, steps = time.time(), chosen['steps']
        table, maps, phi = self.some(chosen['masks'], chosen.get('copies', 4))
        full, masked = chosen.get('mix', (2, 2))
        r = changed(
            self.r,
            augment=dict(hflip=0.0, snapshot=None),
            optimizer=dict(lr=chosen['lr']),
            batch=dict(identities=chosen.get('identities', 12)),
            domain_mix=dict(full=full, masked=masked),
            fine_tuning=dict(lr_decay=chosen.get('lr_decay', 1.0)),
        )
        milestones = [round(steps * share / 10) for share in range(4, 10)]
        schedule = changed(r.schedule.casia, steps=steps, milestones=milestones)
        loss, options = loss_settings(self.study.preset, chosen['loss'])
        options = {k: v for k, v in (options | chosen.get('options', {})).items() if k != 'clip'}
        seed_everything(seed)
        start = check_start('dlib', r, loss)
        names = sorted(set(table.identity))
        faces = NewFaces(names, table.label.to_numpy(), None, phi)
        model = build_training_model(len(names), r, loss, options, start=start, faces=faces)
        model.behind_maps = tuple(divide_body(model, r.fine_tuning.freeze).behind)
        dls = face_dls(table, maps, r, held_out=0, steps=steps, seed=seed)
        cbs = [StepRate(r.optimizer.lr, schedule, r.fine_tuning.lr_decay)]
        learn = face_learner(dls, model, preset=r, cbs=cbs)
        learn.create_opt()
        with learn.no_bar(), learn.no_logging():
            while int(model.n_steps) < steps:
                learn.fit(1)
        return strip_training_state(model).eval(), start, time.time() - begin

    def measured(self, network: Recognizer, center: bool = False) -> dict:
        "All rates; with `center`, without the mean of each domain of the training faces"
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ('train', 'test', 'dest'):
        parser.add_argument(f'--{name}', required=True)
    parser.add_argument('--seeds', type=int, default=1)
    parser.add_argument('--only', nargs='*', help='names of recipes; all without it')
    given = parser.parse_args()
    torch.set_num_threads(1)
    search = Search(given.train, given.test, given.dest)
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    done = {(line['what'], line['seed'], line['share']) for line in known}

    def note(**line: Any) -> None:
        known.append(line)
        with atomic_write(RESULTS) as file:
            file.write_text(json.dumps(known, indent=1) + '\n', encoding='utf-8')
        print(line, flush=True)

    for what, center in (('untouched', False), ('untouched, centered', True)):
        if (what, 0, 0.0) not in done:
            rates = search.measured(search.network, center)
            note(what=what, seed=0, share=0.0, **rates)
    for seed in range(given.seeds):
        for chosen in RECIPES:
            what = chosen['what']
            missing = [share for share in SHARES if (what, seed, share) not in done]
            if not missing or (given.only and what not in given.only):
                continue
            network, start, seconds = search.train(chosen, seed)
            state = {name: value.clone() for name, value in network.state_dict().items()}
            for share in missing:
                network.load_state_dict(state)
                if share < 1:
                    blend(network, start.tensors, share)
                rates = search.measured(network)
                settings = {k: v for k, v in chosen.items() if k != 'what'}
                about = dict(what=what, seed=seed, share=share, settings=settings)
                note(**about, seconds=round(seconds, 1), **rates)


if __name__ == '__main__':
    main()
