"""Choose settings of generators, on held-out identities of the training set.

The candidates are those of mfsr_nb/presets/choices.yaml, or of --grid FILE. Each is trained, and
all results are written to results/gan_settings.json. The command continues where it stopped, and
several processes may fill one study. Candidates that the file has are not trained again, so that a
search may go on elsewhere. It never looks at test identities.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault('TQDM_DISABLE', '1')

import numpy as np
import pandas as pd

from common import ROOT
from mfsr_nb.command import exit_code
from mfsr_nb.core import InputError, code_version, environment
from mfsr_nb.data.dataset import read
from mfsr_nb.data.loading import load_pixels
from mfsr_nb.engine.files import atomic_write, exclusive_lock, waiting_lock
from mfsr_nb.generators.generated_folder import translate_folder
from mfsr_nb.generators.pipeline import (
    generator_settings,
    make_generator,
    masked_for_training,
    match_framing,
)
from mfsr_nb.masks.generator_report import report_folder
from mfsr_nb.masks.unet_network import load_unet, mask_probability
from mfsr_nb.presets import config_hash
from mfsr_nb.protocol.metrics import retrieval
from mfsr_nb.recognition.recognizer import (
    embed_pixels,
    load_recognizer,
    loss_settings,
    training_set,
)
from mfsr_nb.recognition.train import train_recognizer
from mfsr_nb.recognition.validation import hold_out_identities
from mfsr_nb.registries import GENERATORS, closest
from mfsr_nb.study.choices import (
    Choices,
    GeneratorCandidate,
    preset_with,
    read_choices,
)
from mfsr_nb.study.rows import Row
from mfsr_nb.study.study import Study
from mfsr_nb.world.write import DRAWING

GAN_SETTINGS = ROOT / 'results' / 'gan_settings.json'
# fraction of the identities that is held out
SHARE = 0.2


def training_row(masks: str) -> Row:
    "A row of CASIA with Softmax and masks of some kind"
    return Row(name=masks, loss='softmax', masks=masks)


def write_json(path: Path, content: object, **options) -> None:
    "Write a file in one step"
    with atomic_write(path) as file:
        file.write_text(json.dumps(content, **options) + ('\n' if options else ''))


# ---- held-out identities


class Images(NamedTuple):
    "Pixels and the identities that they show"

    pixels: object
    identity: np.ndarray


class HeldOut(NamedTuple):
    "Validation images: masked and full probes from half of the views, a gallery from the rest"

    masked: Images
    full: Images
    gallery: Images


def half_of_views(table: pd.DataFrame, names: set[str], first: bool, size: int) -> Images:
    "The first or the second half of the views of some identities"
    table = table[table.identity.isin(names)]
    keys = table.groupby('identity').key
    in_first = keys.rank(method='first') <= keys.transform('count') / 2
    chosen = table[in_first == first].reset_index(drop=True)
    table, pixels, _ = load_pixels(chosen, size)
    return Images(pixels, table.identity.to_numpy())


def held_out(study: Study, names: set[str]) -> HeldOut:
    "Images of identities that are not trained on; the masks are the world's own"
    size = study.preset.recognition.image_size
    masked = read(study.data('casia_true'))
    full = read(study.data('casia'))
    return HeldOut(
        masked=half_of_views(masked, names, first=True, size=size),
        full=half_of_views(full, names, first=True, size=size),
        gallery=half_of_views(full, names, first=False, size=size),
    )


def search_rates(model: object, probe: Images, gallery: np.ndarray, ids: np.ndarray) -> dict:
    "Rank-1 and mAP of probes in an embedded gallery"
    found = retrieval(embed_pixels(model, probe.pixels), probe.identity, gallery, ids)
    return dict(rank1=round(found.rank(1), 4), map=round(found.map, 4))


# ---- generators


def trained_faces(
    study: Study, folder: Path, preset: object, method: str, seed: int
) -> tuple[Path, dict]:
    "Masks of a generator that is trained here: their folder, and facts about the training"
    source = study.data('casia')
    faces = folder / 'faces'
    classifier = study.softmax('casia', seed) if method.startswith('iamgan') else None
    generator, facts = make_generator(
        source,
        study.data('mfsr_seg'),
        folder / 'generator',
        preset,
        method,
        S=study.segmenter(),
        C=classifier,
        seed=seed,
    )
    if not (faces / 'recipe.jsonl').is_file():
        translate_folder(
            source,
            faces,
            generator.config['method'],
            folder / 'generator' / 'weights.safetensors',
            segmentation=study.segmenter(),
            seed=seed,
        )
    return faces, facts


def masked_faces(
    study: Study, folder: Path, preset: object, method: str, seed: int
) -> tuple[Path, dict]:
    "Masks of any kind: their folder, and facts about the training of a generator"
    if method == 'true':
        return study.data('casia_true'), {}
    if method not in GENERATORS:
        return study.masked(training_row(method)), {}
    return trained_faces(study, folder, preset, method, seed)


def recognition_rates(
    study: Study, folder: Path, preset: object, faces: Path, method: str, seed: int
) -> dict:
    "Rank-1 and mAP of a Softmax recognizer that is trained with the masks"
    table = training_set(study.data('casia'), faces)
    table, held = hold_out_identities(table, SHARE, seed=0)
    table, pixels, _ = load_pixels(table, preset.recognition.image_size)
    validation = held_out(study, set(held.identity))
    loss, loss_changes = loss_settings(preset, 'softmax')
    model, _ = train_recognizer(
        table,
        pixels,
        folder / 'recognizer',
        preset.recognition,
        preset.recognition.schedule.casia,
        loss=loss,
        options=loss_changes,
        seed=seed,
        desc=method,
    )
    gallery = embed_pixels(model, validation.gallery.pixels)
    return search_rates(model, validation.masked, gallery, validation.gallery.identity)


def report_metrics(study: Study, preset: object, faces: Path, seed: int) -> dict:
    "The metrics of a generator report, by an evaluation network of another seed"
    masked, _ = masked_for_training(
        study.data('mfsr_seg'), preset.iamgan, read(study.data('casia'))
    )
    masked = match_framing(masked[:500], preset.iamgan)
    network = load_recognizer(study.softmax('casia', seed + 1))
    keep = mask_probability(load_unet(study.segmenter()), masked) < 0.5
    report = report_folder(
        study.data('casia'),
        faces,
        partial(embed_pixels, network),
        masked,
        keep,
        most=500,
    )
    found = {name: metric for name, metric in report['metrics'].items() if metric}
    return {name: round(metric['value'], 5) for name, metric in found.items()}


def is_wanted(candidate: GeneratorCandidate, names: list[str]) -> bool:
    "Whether the command line names the candidate or its method, or nothing"
    own = (candidate.method, f'{candidate.method}/{candidate.what}')
    return not names or any(name in names for name in own)


class GeneratorSearch:
    "The candidates of generators in one study"

    def __init__(self, study: Study, preset: str, seeds: int, candidates: list[GeneratorCandidate]):
        self.study = study
        self.preset = preset
        self.seeds = seeds
        self.candidates = candidates

    def name(self, candidate: GeneratorCandidate, seed: int) -> str:
        """Names a candidate by its settings and those of its data

        Not by the pixels: processors of different kinds draw a few of them differently."""
        preset = preset_with(candidate, self.preset)
        method = candidate.method
        own = generator_settings(preset, method) if method in GENERATORS else method
        world = preset.world
        drawn = (world.size, world.seed, world.casia, world.seg, world.wear, DRAWING)
        how = (preset.recognition, preset.segmentation, drawn)
        return f'gan-{method}-{seed}-{config_hash(own, *how)[:6]}'

    def folder(self, candidate: GeneratorCandidate, seed: int) -> Path:
        "Where a candidate's files are"
        return self.study.dest / 'choose' / self.name(candidate, seed)

    def found(self) -> dict[str, dict]:
        "Lines by name: of this study, and of the file of results"
        written = json.loads(GAN_SETTINGS.read_text())['lines'] if GAN_SETTINGS.is_file() else []
        lines = {line['id']: line for line in written if 'id' in line}
        for file in self.study.dest.glob('choose/gan-*/line.json'):
            lines[file.parent.name] = json.loads(file.read_text())
        return lines

    def lines(self) -> Iterator[dict]:
        "All lines there are, under the candidates' present names"
        found = self.found()
        for candidate in self.candidates:
            for seed in range(self.seeds):
                name = self.name(candidate, seed)
                if name in found:
                    yield found[name] | candidate._asdict() | dict(id=name)

    def write(self) -> None:
        "Write results/gan_settings.json"
        folder = self.study.dest / 'choose'
        folder.mkdir(parents=True, exist_ok=True)
        with waiting_lock(folder):
            content = dict(preset=self.preset, lines=list(self.lines()))
            write_json(GAN_SETTINGS, content, indent=1)

    def measure(self, folder: Path, candidate: GeneratorCandidate, seed: int) -> dict:
        "Train a candidate, mask the training faces with it, and measure both"
        study = self.study
        preset = preset_with(candidate, self.preset)
        method = candidate.method
        faces, facts = masked_faces(study, folder, preset, method, seed=seed)
        rates = recognition_rates(study, folder, preset, faces, method=method, seed=seed)
        metrics = {} if method == 'true' else report_metrics(study, preset, faces, seed)
        return dict(seconds=facts.get('seconds'), steps=facts.get('steps'), **rates, card=metrics)

    def run(self, candidate: GeneratorCandidate, seed: int) -> dict | None:
        "The line of a candidate; None if it was made before, or another process makes it"
        folder = self.folder(candidate, seed)
        if folder.name in self.found():
            return None
        try:
            with exclusive_lock(folder):
                if (folder / 'line.json').is_file():
                    return None
                line = dict(seed=seed, **code_version(), hardware=environment()['hardware'])
                line |= self.measure(folder, candidate, seed)
                write_json(folder / 'line.json', line)
        except InputError as error:
            if 'another process' in str(error):
                return None
            raise
        return line

    def run_all(self, names: list[str]) -> None:
        "Try every candidate that is wanted"
        self.write()
        for seed in range(self.seeds):
            for candidate in self.candidates:
                line = self.run(candidate, seed) if is_wanted(candidate, names) else None
                if line:
                    print(candidate.method, candidate.what, json.dumps(line), flush=True)
                    self.write()


def arguments() -> argparse.Namespace:
    "The command line"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'study', help='folder of a study of the preset, as mfsr_reproduce leaves it'
    )
    parser.add_argument(
        'names',
        nargs='*',
        metavar='NAME',
        help='METHOD or METHOD/LINE, such as iamgan "attgan/output: plain" (default: all)',
    )
    parser.add_argument('--preset', default='mini', help='default: mini')
    parser.add_argument('--seeds', type=int, default=1, help='seeds of each candidate (default: 1)')
    parser.add_argument(
        '--grid',
        metavar='FILE',
        help='candidates of your own (default: mfsr_nb/presets/choices.yaml)',
    )
    return parser.parse_args()


def check_names(names: list[str], choices: Choices) -> None:
    "Raise `InputError` on a name that the grid does not have"
    known = [f'{candidate.method}/{candidate.what}' for candidate in choices.generators]
    known += dict.fromkeys(candidate.method for candidate in choices.generators)
    for name in names:
        if name not in known:
            raise InputError(f'{name!r} is not in the grid: {closest(name, known)}')


def main() -> None:
    "Try what the command line names"
    options = arguments()
    choices = read_choices(options.grid, options.preset)
    check_names(options.names, choices)
    study = Study(options.preset, options.study)
    search = GeneratorSearch(study, options.preset, options.seeds, choices.generators)
    search.run_all(options.names)


if __name__ == '__main__':
    sys.exit(exit_code('choose_generators', main))
