"""Train the weights that come with the package, and put them into mfsr_nb/weights.

A name says for what faces, at what size, and what: world-112-S is the segmentation network,
world-64-iamgan a generator for drawn faces, photos-64-iamgan one for photographs. Trainings are
kept in DEST and continue where they stopped. Generators are trained with the segmentation network
that the package has, so release that one first. Large ones begin with small ones of the same kind,
and those with a code with those without. Those for photographs need --faces and --masked, both
cropped by `mfsr_align --margin -0.1 --border repeat`. They start from drawn faces that are cropped
alike, and see masks that are drawn on some of the photographs beside the genuine ones.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from common import ROOT
from mfsr_nb.command import exit_code
from mfsr_nb.core import InputError
from mfsr_nb.data.align import align_folder
from mfsr_nb.data.dataset import read
from mfsr_nb.data.loading import load_pixels
from mfsr_nb.engine.files import atomic_write
from mfsr_nb.engine.released import SEGMENTATION, WEIGHTS, find_released, released
from mfsr_nb.engine.weights import open_tensors, save_tensors, weights_hash
from mfsr_nb.generators.attempts import make_generator_that_masks
from mfsr_nb.generators.gan_training import load_generator
from mfsr_nb.generators.generated_folder import translate_folder
from mfsr_nb.generators.pipeline import (
    make_segmenter,
    masked_for_training,
    match_framing,
    unpaired_masked_table,
)
from mfsr_nb.masks.generator_report import report_folder, write_generator_report
from mfsr_nb.masks.mask_folder import mask_folder
from mfsr_nb.masks.unet import evaluate_unet, open_label, read_seg
from mfsr_nb.masks.unet_network import UNet, load_unet, mask_probability
from mfsr_nb.model_card import card_path, data_facts, write_card
from mfsr_nb.presets import load_preset
from mfsr_nb.recognition.recognizer import embed_pixels, load_recognizer, training_set
from mfsr_nb.recognition.train import train_recognizer
from mfsr_nb.schema import Preset
from mfsr_nb.study.study import Study
from mfsr_nb.world.wearing import WEARING

# the preset of the drawn faces that a generator for photographs starts from
START = 'long-photos-start'
# a generator with a code begins with the released one without
WITH_CODE = 'iamgan_z'
WITHOUT_CODE = 'iamgan'
# every so many photographs get a drawn mask, for generators to learn from
DRAWN_EVERY = 3
# a preset for each kind of faces and size
PRESETS = {
    ('world', 112): 'long',
    ('world', 64): 'long-64',
    ('photos', 112): 'long-photos',
    ('photos', 64): 'long-photos',
}
# of an image without a mask: where more is called mask, it is a false alarm
LEAST_CALLED = 0.01
OPEN = 'apache-2.0'
RESEARCH = 'other (research only: the photographs that it was trained on have such terms)'


class Name(NamedTuple):
    "What a name of released weights says"

    data: str
    size: int
    method: str

    def __str__(self) -> str:
        return f'{self.data}-{self.size}-{self.method}'


class Sources(NamedTuple):
    "The data of a generator"

    full: Path
    masked: Path
    segmentation: Path
    # a recognizer of other random numbers than the training's, for the report
    judge: Path


def parse_name(text: str) -> Name:
    "The parts of a name; raises `InputError` on one that is none"
    data, size, method = (text.split('-', 2) + ['', ''])[:3]
    if not size.isdigit() or (data, int(size)) not in PRESETS or not method:
        known = ', '.join(f'{data}-{size}-METHOD' for data, size in PRESETS)
        raise InputError(f'{text!r} names no weights: use {known}, METHOD a generator or S')
    return Name(data, int(size), method)


def preset_of(name: Name, which: str = '') -> Preset:
    "The preset of a name, or another one with images of its size"
    which = which or PRESETS[name.data, name.size]
    section = dict(image_size=name.size)
    generators = dict(common=section)
    return load_preset(which, recognition=section, iamgan=section, generators=generators)


def write_half(source: Path, name: Name, command: str) -> Path:
    "The weights in half precision, with the header of the originals; returns the new file"
    kind = 'unet' if name.method == SEGMENTATION else 'generator'
    tensors, header = open_tensors(source, kind)
    halves = {
        key: tensor.half() if tensor.is_floating_point() else tensor
        for key, tensor in tensors.items()
    }
    about = {key: value for key, value in header.items() if key not in ('content', 'code')}
    about.pop('curves', None)
    path = WEIGHTS / str(name) / 'weights.safetensors'
    path.parent.mkdir(parents=True, exist_ok=True)
    card_path(path).unlink(missing_ok=True)
    save_tensors(halves, path, **about, command=command)
    return path


def photos_segmenter(study: Study, faces: Path, work: Path) -> Path:
    """S for photographs: that of drawn faces, trained on with photographs as well

    Masks are drawn on the photographs; some of them stay without."""
    drawn = work / 'drawn'
    mask_folder(faces, drawn, 'kp_syn', skip_bad=True)
    labelled = [study.data('mfsr_seg'), study.data('mfsr_wear'), drawn]
    preset = load_preset(PRESETS['photos', study.preset.world.size])
    make_segmenter(labelled, work / SEGMENTATION, preset, faces, start=study.segmenter())
    return work / SEGMENTATION / 'weights.safetensors'


def kind_of(key: str) -> str:
    "What an image of mfsr_wear shows, from its name; empty for other images"
    kind = Path(key).stem.rpartition('_')[0]
    return kind if kind in WEARING else ''


def accuracy_on(S: UNet, table: pd.DataFrame) -> dict:
    "Accuracy on labelled images; where no label has a mask, how many images get one nevertheless"
    table = table.reset_index(drop=True)
    images = load_pixels(table, S.config['size'])[1]
    if any(open_label(path).any() for path in table.label):
        return evaluate_unet(S, table)[0]
    called = mask_probability(S, images) > 0.5
    false = (called.float().mean((1, 2)) > LEAST_CALLED).float().mean()
    return dict(images=len(table), called_mask=round(float(false), 4))


def segmenter_report(S: UNet, held: list[Path], tests: list[Path]) -> dict:
    "Accuracy on held-out images of the training's data, by what they show, and on test sets"
    found = {}
    for folder in held:
        table = read_seg(folder)
        for kind, part in table[table.held].groupby(table.key.map(kind_of)):
            found[f'{folder.name} {kind}'.strip()] = accuracy_on(S, part)
    for folder in tests:
        found[folder.name] = accuracy_on(S, read_seg(folder))
    return found


def release_segmenter(study: Study, name: Name, options: argparse.Namespace, command: str) -> None:
    "S and its accuracy on images that were held out of its training"
    data = [study.data('mfsr_seg'), study.data('mfsr_wear')]
    terms = OPEN
    own = study.segmenter
    if name.data == 'photos':
        work = options.dest / PRESETS[name.data, name.size]
        own = partial(photos_segmenter, study, options.faces, work)
        terms = RESEARCH
        data.append(work / 'drawn')
    path = write_half(own(), name, command)
    report = segmenter_report(load_unet(path), data, options.test)
    with atomic_write(path.parent / 'report.json') as file:
        file.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
    write_card(path, **data_facts(*data), preset=study.preset.name, license=terms)


def report_on(path: Path, sources: Sources, preset: Preset, work: Path) -> dict:
    "The report of released weights on faces that are masked with them"
    generator = load_generator(path)
    # other weights make other faces
    faces = work / f'faces-{path.parent.name}-{weights_hash(path)[:6]}'
    method = generator.config['method']
    translate_folder(sources.full, faces, method, path, segmentation=sources.segmentation)
    masked, _ = masked_for_training(sources.masked, preset.iamgan, read(sources.full))
    masked = match_framing(masked[:500], preset.iamgan)
    keep = mask_probability(load_unet(sources.segmentation), masked) < 0.5
    embed = partial(embed_pixels, load_recognizer(sources.judge))
    return report_folder(sources.full, faces, embed, masked, keep, name=path.parent.name, most=1000)


def release_generator(
    training: object, sources: Sources, preset: Preset, name: Name, work: Path, command: str
) -> None:
    "A generator, its report and its card"
    path = write_half(training.folder / 'weights.safetensors', name, command)
    report = report_on(path, sources, preset, work)
    report['trainings'] = training.facts['trainings']
    write_generator_report(report, path.parent / 'report.json')
    table = training_set(sources.full, None)
    facts = data_facts(sources.full, sources.masked, table=table)
    terms = OPEN if name.data == 'world' else RESEARCH
    write_card(path, **facts, preset=preset.name, license=terms)


def cropped_alike(data: Path, dest: Path, size: int) -> Path:
    "Drawn faces in the crop of the photographs"
    align_folder(data, dest, size, margin=-0.1, how='table', border='repeat')
    return dest


def start_weights(study: Study, work: Path, name: Name) -> Path:
    "A generator of drawn faces in the crop of the photographs, to start from"
    S = find_released(SEGMENTATION, 'world')
    full = cropped_alike(study.data('casia'), work / 'start' / 'full', name.size)
    masked = cropped_alike(study.data('mfsr_seg'), work / 'start' / 'masked', name.size)
    given = (full, masked, work / 'start' / name.method, preset_of(name, START), name.method)
    training = make_generator_that_masks(*given, S=S)
    return training.folder / 'weights.safetensors'


def with_drawn_masks(faces: Path, masked: Path, work: Path) -> Path:
    """The genuine masked faces, and photographs with drawn masks, in one folder

    What differs between the two kinds of photographs, such as sharpness and tone, is then no sign
    of a mask, and generators learn opaque ones."""
    drawn = work / 'drawn'
    both = work / 'masked'
    mask_folder(faces, drawn, 'kp_syn', skip_bad=True)
    files = [*unpaired_masked_table(masked).path]
    every = sorted((drawn / 'images').rglob('*.jpg'))
    # nothing of an earlier run with other photographs
    shutil.rmtree(both, ignore_errors=True)
    both.mkdir()
    for letter, paths in (('g', files), ('s', every[::DRAWN_EVERY])):
        for i, path in enumerate(paths):
            shutil.copy(path, both / f'{letter}{i:05d}.jpg')
    return both


def trained_judge(faces: Path, work: Path, preset: Preset) -> Path:
    "A recognizer of the photographs with another seed than that of a generator's classifier"
    table = training_set(faces, None)
    recognition = preset.recognition
    folder = work / 'judge'
    _, pixels, _ = load_pixels(table, recognition.image_size)
    how = dict(schedule=recognition.schedule.casia, seed=1, desc='judge')
    train_recognizer(table, pixels, folder, recognition, **how)
    return folder / 'weights.safetensors'


def released_start(name: Name) -> Path | None:
    "Released weights that a generator begins with: smaller ones, or those without a code"
    smaller = [o for o in released() if (o.data, o.method) == (name.data, name.method)]
    smaller = [o.path for o in smaller if o.size < name.size]
    if smaller:
        return smaller[-1]
    is_coded = name.method == WITH_CODE
    return find_released(WITHOUT_CODE, name.data, name.size) if is_coded else None


def release_world_generator(study: Study, name: Name, command: str) -> None:
    "Train a generator on drawn faces, and release it"
    full = study.data('casia')
    masked = study.data('mfsr_seg')
    S = find_released(SEGMENTATION, name.data)
    how = dict(C=study.softmax('casia', 0)) if name.method.startswith('iamgan') else {}
    start = released_start(name)
    how |= dict(start=start) if start else {}
    given = (full, masked, study.dest / name.method, study.preset, name.method)
    training = make_generator_that_masks(*given, S=S, **how)
    sources = Sources(full, masked, S, study.softmax('casia', 1))
    release_generator(training, sources, study.preset, name, study.dest, command)


def release_photos_generator(
    study: Study, name: Name, options: argparse.Namespace, command: str
) -> None:
    "Train a generator on drawn faces and then on photographs, and release it"
    preset = preset_of(name)
    S = find_released(SEGMENTATION, name.data)
    work = options.dest / f'{preset.name}-{name.size}'
    start = released_start(name) or start_weights(study, work, name)
    masked = with_drawn_masks(options.faces, options.masked, work)
    given = (options.faces, masked, work / name.method, preset, name.method)
    training = make_generator_that_masks(*given, S=S, start=start)
    judge = trained_judge(options.faces, work, preset)
    sources = Sources(options.faces, options.masked, S, judge)
    release_generator(training, sources, preset, name, work, command)


def release(name: Name, options: argparse.Namespace) -> None:
    "Train or find what a name says, and put it into the package"
    command = f'python tools/release.py {options.dest.name} {name}'
    world = PRESETS['world', name.size]
    study = Study(world, options.dest / world)
    if name.data == 'photos':
        if not options.faces or not options.masked:
            raise InputError(f'{name}: give the photographs as --faces and --masked')
        command += ' --faces FACES --masked MASKED'
    if name.method == SEGMENTATION:
        release_segmenter(study, name, options, command)
    elif name.data == 'photos':
        release_photos_generator(study, name, options, command)
    else:
        release_world_generator(study, name, command)


def write_checksums() -> None:
    "SHA256SUMS of all files of weights, as sha256sum writes and checks it"
    lines = []
    for path in sorted(WEIGHTS.glob('*/weights.safetensors')):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f'{digest}  {path.relative_to(WEIGHTS)}\n')
    with atomic_write(WEIGHTS / 'SHA256SUMS') as file:
        file.write_text(''.join(lines), encoding='utf-8')


def main() -> None:
    "Release what the command line names"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('dest', type=Path, help='folder for trainings, such as runs/release')
    parser.add_argument('names', nargs='+', metavar='NAME', help='such as world-64-iamgan')
    parser.add_argument('--faces', type=Path, help='full faces: photographs with identities')
    parser.add_argument('--masked', type=Path, help='masked faces: photographs')
    parser.add_argument(
        '--test',
        type=Path,
        nargs='*',
        default=[],
        metavar='FOLDER',
        help='labelled images that S is tested on, and never trained',
    )
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', 1)))
    for name in [parse_name(text) for text in options.names]:
        release(name, options)
        print(f'{WEIGHTS.relative_to(ROOT)}/{name}', flush=True)
    write_checksums()


if __name__ == '__main__':
    sys.exit(exit_code('release', main))
