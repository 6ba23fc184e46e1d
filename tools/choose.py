"""Choose settings that the paper leaves open, on held-out identities of the training set.

The candidates are those of mfsr_nb/presets/choices.yaml, or of --grid FILE. Each is trained, and
all results are written: those of losses to results/choices.json, those of generators
(--generators) to results/gan_settings.json. The command continues where it stopped, and several
processes may fill one study. Generators that results/gan_settings.json has are not trained again,
so that a search may go on elsewhere. It never looks at test identities.
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
from mfsr_nb.core import InputError, code_version, environment
from mfsr_nb.data.dataset import read
from mfsr_nb.data.loading import load_pixels
from mfsr_nb.engine.files import atomic_write, exclusive_lock, waiting_lock
from mfsr_nb.generators.generated_folder import translate_folder
from mfsr_nb.generators.pipeline import (
    generator_settings,
    make_generator,
    match_framing,
    unpaired_masked_images,
)
from mfsr_nb.masks.generator_report import report_folder
from mfsr_nb.masks.unet_network import load_unet, mask_probability
from mfsr_nb.presets import config_hash, load_preset, settings
from mfsr_nb.protocol.metrics import retrieval
from mfsr_nb.recognition.recognizer import (
    embed_pixels,
    fingerprint,
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
    loss_part,
    preset_with,
    read_choices,
)
from mfsr_nb.study.rows import Row
from mfsr_nb.study.study import Study

CHOICES = ROOT / 'results' / 'choices.json'
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
    masked, full = read(study.data('casia_true')), read(study.data('casia'))
    return HeldOut(
        masked=half_of_views(masked, names, first=True, size=size),
        full=half_of_views(full, names, first=True, size=size),
        gallery=half_of_views(full, names, first=False, size=size),
    )


def search_rates(model: object, probe: Images, gallery: np.ndarray, ids: np.ndarray) -> dict:
    "Rank-1 and mAP of probes in an embedded gallery"
    found = retrieval(embed_pixels(model, probe.pixels), probe.identity, gallery, ids)
    return dict(rank1=round(found.rank(1), 4), map=round(found.map, 4))


# ---- losses


class Training(NamedTuple):
    "What all candidates of losses are trained and validated on"

    table: pd.DataFrame
    pixels: object
    held: HeldOut


def training_data(study: Study, share: float) -> Training:
    "Full faces and IAMGAN's masked ones, with a fraction of the identities held out"
    masked = study.masked(training_row('iamgan'), 0)
    table = training_set(study.data('casia'), masked)
    table, held = hold_out_identities(table, share, seed=0)
    table, pixels, _ = load_pixels(table, study.preset.recognition.image_size)
    return Training(table, pixels, held_out(study, set(held.identity)))


def changed_schedule(schedule: dict, steps: int) -> dict:
    "A schedule with another number of steps, and its milestones in proportion"
    factor = steps / schedule['steps']
    milestones = [round(factor * milestone) for milestone in schedule['milestones']]
    warmup = round(factor * schedule['warmup'])
    return schedule | dict(steps=steps, milestones=milestones, warmup=warmup)


def recognition_of(preset: str, change: dict) -> object:
    "The recognition settings of a preset with a candidate's changes"
    changed = settings(load_preset(preset).recognition)
    if 'lr' in change:
        changed['optimizer']['lr'] = change['lr']
    if 'backbone' in change:
        changed['backbone'] = change['backbone']
    if 'steps' in change:
        schedule = changed['schedule']
        schedule['casia'] = changed_schedule(schedule['casia'], change['steps'])
    return load_preset(preset, recognition=changed).recognition


def loss_options(loss: str, change: dict) -> dict:
    "The paper's options of a loss with a candidate's changes"
    return loss_settings(load_preset('paper'), loss)[1] | loss_part(change)


def try_loss(
    study: Study, data: Training, preset: str, loss: str, change: dict, seed: int, share: float
) -> dict | None:
    "Train and validate one candidate; None if that was done before"
    options, recognition = loss_options(loss, change), recognition_of(preset, change)
    mark = fingerprint(data.table)
    name = config_hash(recognition, loss, options, seed, share, mark)
    folder = study.dest / 'choose' / name
    if (folder / 'line.json').is_file():
        return None
    model, facts = train_recognizer(
        data.table,
        data.pixels,
        folder,
        recognition,
        recognition.schedule.casia,
        loss=loss,
        options=options,
        seed=seed,
        desc=f'{loss} {change}',
    )
    gallery = embed_pixels(model, data.held.gallery.pixels)
    rates = {}
    for kind in ('masked', 'full'):
        probe = getattr(data.held, kind)
        rates[kind] = search_rates(model, probe, gallery, data.held.gallery.identity)
    line = dict(
        id=name,
        data=mark,
        preset=study.preset.name,
        loss=loss,
        change=change,
        seed=seed,
        **rates,
        loss_end=facts['final_loss'],
        seconds=facts['seconds'],
    )
    write_json(folder / 'line.json', line)
    return line


def loss_order(line: dict, candidates: dict[str, list[dict]]) -> tuple[int, int]:
    "Sort key of a line: its seed, then its candidate's place in the grid"
    order = []
    for loss, changes in candidates.items():
        order += [(loss, change) for change in changes]
    candidate = (line['loss'], line['change'])
    return line['seed'], order.index(candidate) if candidate in order else len(order)


def loss_lines(study: Study, candidates: dict[str, list[dict]]) -> list[dict]:
    "All lines of a study; those of one loss are from the same, the newest, faces"
    files = sorted(study.dest.glob('choose/*/line.json'), key=os.path.getmtime)
    lines = []
    for file in files:
        if not file.parent.name.startswith('gan-'):
            lines.append(json.loads(file.read_text()))
    newest = {line['loss']: line.get('data') for line in lines}
    lines = [line for line in lines if line.get('data') == newest[line['loss']]]
    return sorted(lines, key=partial(loss_order, candidates=candidates))


def choose_losses(
    options: argparse.Namespace, study: Study, candidates: dict[str, list[dict]]
) -> None:
    "Try the candidates of losses"
    data = training_data(study, options.share)
    for seed in range(options.seeds):
        for loss in options.names or candidates:
            for change in candidates[loss]:
                line = try_loss(
                    study,
                    data,
                    preset=options.preset,
                    loss=loss,
                    change=change,
                    seed=seed,
                    share=options.share,
                )
                if line:
                    print(json.dumps(line), flush=True)
                    write_json(CHOICES, loss_lines(study, candidates), indent=1)


# ---- generators


def trained_faces(
    study: Study, folder: Path, preset: object, method: str, seed: int
) -> tuple[Path, dict]:
    "Masks of a generator that is trained here: their folder, and facts about the training"
    source, faces = study.data('casia'), folder / 'faces'
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
    size = preset.iamgan.image_size
    masked = unpaired_masked_images(study.data('mfsr_seg'), size)[0][:500]
    masked = match_framing(masked, preset.iamgan)
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
        self.study, self.preset, self.seeds = study, preset, seeds
        self.candidates = candidates
        self.data = fingerprint(training_set(study.data('casia')))

    def name(self, candidate: GeneratorCandidate, seed: int) -> str:
        "Names a candidate by its settings and its data"
        preset, method = preset_with(candidate, self.preset), candidate.method
        own = generator_settings(preset, method) if method in GENERATORS else method
        unpaired = self.study.preset.world.seg
        how = (preset.recognition, preset.segmentation, unpaired, self.data)
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
        study, preset, method = self.study, preset_with(candidate, self.preset), candidate.method
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
        help='losses of the grid; or with --generators METHOD or METHOD/LINE, '
        'such as iamgan "attgan/output: plain" (default: all)',
    )
    parser.add_argument('--generators', action='store_true', help='generators instead of losses')
    parser.add_argument('--preset', default='mini', help='default: mini')
    parser.add_argument('--seeds', type=int, default=1, help='seeds of each candidate (default: 1)')
    parser.add_argument(
        '--share',
        type=float,
        default=SHARE,
        help=f'fraction of the identities held out, for losses (default: {SHARE})',
    )
    parser.add_argument(
        '--grid',
        metavar='FILE',
        help='candidates of your own (default: mfsr_nb/presets/choices.yaml)',
    )
    return parser.parse_args()


def check_names(names: list[str], choices: Choices, generators: bool) -> None:
    "Raise `InputError` on a name that the grid does not have"
    known = [*choices.losses]
    if generators:
        known = [f'{candidate.method}/{candidate.what}' for candidate in choices.generators]
        known += dict.fromkeys(candidate.method for candidate in choices.generators)
    for name in names:
        if name not in known:
            raise InputError(f'{name!r} is not in the grid: {closest(name, known)}')


def main() -> None:
    "Try what the command line names"
    options = arguments()
    try:
        choices = read_choices(options.grid, options.preset)
        check_names(options.names, choices, options.generators)
    except InputError as error:
        sys.exit(f'error: {error}')
    study = Study(options.preset, options.study)
    if options.generators:
        search = GeneratorSearch(study, options.preset, options.seeds, choices.generators)
        search.run_all(options.names)
    else:
        choose_losses(options, study, choices.losses)


if __name__ == '__main__':
    main()
