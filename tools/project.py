"""Project what a preset would cost, and write results/projection.json.

The arithmetic of every kind of training step is counted at the preset's real sizes, and steps are
measured on this machine: with real batches on a GPU (--device cuda), with small ones, scaled, on
a CPU. With --times, results/times.json is written too, which mfsr_reproduce --dry-run shows.
"""

import argparse
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, NamedTuple
from unittest.mock import patch

os.environ.setdefault('TQDM_DISABLE', '1')

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from common import ROOT
from mfsr_nb.core import hardware
from mfsr_nb.data.decoding import decode
from mfsr_nb.data.squares import to_square
from mfsr_nb.engine.devices import has_bf16
from mfsr_nb.engine.files import atomic_write
from mfsr_nb.generators.attribute_gans import AttributeGAN, AttributeGANLoss
from mfsr_nb.generators.attribute_networks import attribute_gans
from mfsr_nb.generators.gan import CycleGAN, CycleLoss
from mfsr_nb.generators.gan_training import build_generator
from mfsr_nb.generators.iamgan import IAMGAN, IAMLoss, train_iamgan
from mfsr_nb.generators.pipeline import Classifier, generator_settings, with_steps
from mfsr_nb.masks.unet import train_unet
from mfsr_nb.masks.unet_network import UNet
from mfsr_nb.presets import changed, load_preset, settings
from mfsr_nb.recognition.dfm import train_partial
from mfsr_nb.recognition.recognizer import Recognizer, loss_settings
from mfsr_nb.recognition.train import train_recognizer
from mfsr_nb.registries import GENERATORS, LOSSES
from mfsr_nb.study.plan import plan
from mfsr_nb.study.rows import rows
from mfsr_nb.study.study import Study

PROJECTION = ROOT / 'results' / 'projection.json'
TIMES = ROOT / 'results' / 'times.json'
SAMPLES = 'mfsr_nb.generators.gan_training.Samples.after_batch'
# TFLOP/s that a GPU is assumed to sustain; nbs/results/08_cost.ipynb discusses them
RATES = (20, 100)
NEVER = 10**9
# presets whose images are larger are too slow here: they are projected and not run
SMALL_IMAGE = 64
PARTIAL = tuple(name for name, loss in LOSSES.items() if loss.partial)
RECOGNIZERS = ('softmax', 'dcr', *PARTIAL, 'dfm, matching')
ATTRIBUTE_GANS = attribute_gans()
GANS = ('cyclegan', 'iamgan', *ATTRIBUTE_GANS)
TRANSLATORS = ('iamgan', *ATTRIBUTE_GANS)


class Machine(NamedTuple):
    "Where and how much is measured"

    device: str
    steps: int  # steps timed of each kind
    limit: float  # seconds after which no more steps are timed
    most: int  # images of a batch on a CPU

    @property
    def cuda(self) -> bool:
        "Whether it is a GPU"
        return self.device.startswith('cuda')


class Measured(NamedTuple):
    "What was measured of a step"

    flop: int
    seconds: list[float]
    batch: int  # images in the step


# ---- counting and timing


class Enough(Exception):
    "Enough steps have been seen"


class NoModules(nullcontext):
    "In place of FlopCounterMode's view of modules, which fails on a gradient of a gradient"

    parents: ClassVar[set[str]] = {'Global'}


def counter() -> FlopCounterMode:
    "A counter of floating-point operations"
    count = FlopCounterMode(display=False)
    count.mod_tracker = NoModules()
    return count


class Meter(Callback):
    "The arithmetic of the first step, and the seconds of later ones"

    # after all phases of a step, before samples and checkpoints
    order = 30

    def __init__(self, machine: Machine):
        self.machine = machine
        self.flop = None
        self.seconds = []
        # steps of a GPU that are not timed
        self.warm_up = 3

    def clock(self) -> float:
        "On a CPU this process's own seconds, so that other processes do not count"
        if not self.machine.cuda:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def before_batch(self) -> None:
        "Start the clock, and in the first step the counter"
        if self.flop is None:
            self.count = counter()
            self.count.__enter__()
        self.begin = self.clock()

    def after_batch(self) -> None:
        "Read clock and counter; raises `Enough` at the end"
        took = self.clock() - self.begin
        first = self.flop is None
        if first:
            self.count.__exit__(None, None, None)
            self.flop = self.count.get_total_flops()
        elif self.machine.cuda and self.warm_up:
            self.warm_up -= 1
            return
        # counting takes a part of a short step that cannot be neglected
        if not first or took > 2:
            self.seconds.append(took)
        if len(self.seconds) >= self.machine.steps or sum(self.seconds) > self.machine.limit:
            # fastai reads the message of an exception
            raise Enough('all steps are timed')


def watch_training(machine: Machine, train: Callable, batch: int) -> Measured:
    "Measure the steps of a function that trains with callbacks"
    meter = Meter(machine)
    with (
        tempfile.TemporaryDirectory() as folder,
        patch(SAMPLES, lambda self: None),
        suppress(Enough),
    ):
        train(dest=folder, cbs=[meter], device=machine.device, every=NEVER)
    return Measured(meter.flop, meter.seconds, batch)


def watch_calls(machine: Machine, function: Callable, batch: int) -> Measured:
    "Measure a function that is called again and again"
    meter = Meter(machine)
    with torch.inference_mode(), suppress(Enough):
        while True:
            meter.before_batch()
            function()
            meter.after_batch()
    return Measured(meter.flop, meter.seconds, batch)


# ---- networks and data of a preset


class RandomImages:
    "A data set of any length: sixteen random images, again and again"

    def __init__(self, length: int, size: int):
        self.length = length
        self.pixels = torch.randint(0, 256, (16, size, size, 3), dtype=torch.uint8)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, indices: list[int]) -> torch.Tensor:
        return self.pixels[torch.as_tensor(indices) % len(self.pixels)]


def identities(preset: object) -> int:
    "Identities of the training set"
    if preset.world is None:
        return preset.data.train_sets.casia.identities
    return preset.world.casia.identities


def recognizer(preset: object, size: int) -> Recognizer:
    "The preset's recognizer for images of some size"
    own = preset.recognition
    return Recognizer(
        identities(preset),
        own.backbone,
        own.neck.linear,
        size,
        pool=own.neck.pool,
        normalize=own.normalize_input,
    )


def is_large(preset: object) -> bool:
    "Whether the preset's images are large"
    return preset.recognition.image_size > SMALL_IMAGE


def measured_batch(machine: Machine, preset: object, batch: int, least: int = 1) -> int:
    "Images of the batch that is measured: on a CPU only a few large ones"
    if machine.cuda or not is_large(preset):
        return batch
    return max(least, min(batch, machine.most))


def long_schedule(preset: object, steps: int) -> object:
    "A schedule that does not end while it is measured"
    return changed(preset.recognition.schedule.casia, steps=steps, milestones=[])


# ---- measuring


def measure_recognizer(machine: Machine, preset: object, loss: str) -> Measured:
    "A training step of a recognizer"
    own = preset.recognition
    each = preset.recognition.batch.images_per_identity
    batch = measured_batch(machine, preset, own.batch.identities * each, least=2 * each)
    name, _, late = loss.partition(', ')
    small = load_preset(
        preset.name,
        recognition=dict(init='random', workers=0, batch=dict(identities=batch // each)),
        losses=dict(dfm=dict(sliding=dict(start=0.0 if late else 1.0))),
    )
    number = identities(preset)
    table = pd.DataFrame(dict(label=np.arange(number), domain=0))
    images = RandomImages(number, own.image_size)
    how = dict(schedule=long_schedule(preset, 3000), desc=loss)
    if name in PARTIAL:
        train = partial(train_partial, name, table, images, preset=small, **how)
    else:
        how |= dict(loss=name, options=loss_settings(small, name)[1])
        train = partial(train_recognizer, table, images, r=small.recognition, **how)
    return watch_training(machine, train, batch // each * each)


def write_labelled(folder: Path, number: int, size: int) -> None:
    "Random images, whose lower halves are labeled as masks"
    label = np.uint8(255) * (np.indices((size, size))[0] > size // 2)
    for name in ('images', 'labels'):
        (folder / name).mkdir()
    for index in range(number):
        image = np.random.default_rng(index).integers(0, 256, (size, size, 3), np.uint8)
        Image.fromarray(image).save(folder / 'images' / f'{index}.png')
        Image.fromarray(np.uint8(label)).save(folder / 'labels' / f'{index}.png')


def measure_segmenter(machine: Machine, preset: object) -> Measured:
    "A training step of S"
    own = preset.segmentation
    batch = measured_batch(machine, preset, own.batch_size)
    small = load_preset(preset.name, segmentation=dict(batch_size=batch, epochs=3000))
    with tempfile.TemporaryDirectory() as folder:
        write_labelled(Path(folder), batch, own.image_size)
        train = partial(train_unet, folder, s=small.segmentation)
        return watch_training(machine, train, batch)


def measure_gan(machine: Machine, preset: object, name: str) -> Measured:
    "A training step of a generator, all phases"
    batch = measured_batch(machine, preset, generator_settings(preset, name).batch_size)
    change = dict(batch_size=batch)
    changes = dict(iamgan=change) if name == 'iamgan' else dict(generators={name: change})
    own = with_steps(generator_settings(load_preset(preset.name, **changes), name), 3000)
    size = own.image_size
    labels = np.arange(16)
    images = RandomImages(16, size), RandomImages(16, size)
    if name != 'iamgan':
        train = partial(GENERATORS[name].make, *images, labels, section=own)
        return watch_training(machine, train, batch)
    C = Classifier(recognizer(preset, size))

    # a new S for each training
    def train(**options) -> None:
        S = UNet(preset.segmentation.widths, size)
        train_iamgan(*images, labels, section=own, S=S, C=C, **options)

    return watch_training(machine, train, batch)


def inference_function(preset: object, what: str) -> tuple[torch.nn.Module, Callable, int]:
    "A network, its function, and the size of its images"
    own = preset.recognition
    if what == 'embed':
        net = recognizer(preset, own.image_size).eval()
        return net, net.phi, own.image_size
    if what == 'find':
        net = UNet(preset.segmentation.widths, preset.iamgan.image_size).eval()
        return net, net, preset.iamgan.image_size
    generator = generator_settings(preset, what)
    config = settings(generator.generator)
    net = build_generator(what, size=generator.image_size, **config).eval()
    return net, net.translate, generator.image_size


def inference_input(what: str, number: int, size: int, device: str | None = None) -> torch.Tensor:
    "Empty images in the form that the function takes"
    if what == 'embed':
        return torch.zeros(number, size, size, 3, dtype=torch.uint8, device=device)
    x = torch.zeros(number, 3, size, size, device=device)
    return x if what == 'find' else x.to(memory_format=torch.channels_last)


def measure_inference(machine: Machine, preset: object, what: str) -> Measured:
    "An image: its embedding, the search for its mask, or a mask put on it"
    number = 1 if is_large(preset) and not machine.cuda else 32
    net, function, size = inference_function(preset, what)
    net.to(machine.device)
    x = inference_input(what, number, size, machine.device)
    return watch_calls(machine, lambda: function(x), number)


def measure_decoding(preset: object) -> list[float]:
    "Seconds of one core for an image on its way to a batch: a JPEG of 112 pixels, resized"
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (14, 14, 3), np.uint8))
    file = io.BytesIO()
    coarse.resize((112, 112)).save(file, 'JPEG', quality=95)
    data = file.getvalue()
    number = 100
    found = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(number):
            to_square(decode(data), preset.recognition.image_size)
        found.append((time.process_time() - start) / number)
    return found


# ---- counting whole batches


class Counted(NamedTuple):
    "The arithmetic of a whole step"

    batch: int  # images in the step
    flop: int


@contextmanager
def without_numbers() -> Iterator[None]:
    "Networks and images made here have shapes and no numbers, so that any machine can count"
    with (
        torch.device('meta'),
        patch('torch.autocast', lambda *args, **kwargs: nullcontext()),
        patch('torch.is_autocast_enabled', lambda *args: False),
    ):
        yield


def step_counter() -> torch.Tensor:
    "The number of steps that a network has seen; it needs a real number"
    return torch.zeros((), dtype=torch.long, device='cpu')


def count_inference(preset: object, what: str) -> Counted:
    "An image through a network"
    _, function, size = inference_function(preset, what)
    x = inference_input(what, 1, size)
    seen = counter()
    with torch.no_grad(), seen:
        function(x)
    return Counted(1, seen.get_total_flops())


def total(outputs: object) -> torch.Tensor:
    "The sum of all tensors in a network's output"
    values = outputs.values() if isinstance(outputs, dict) else outputs
    return sum(value.float().sum() for value in values if isinstance(value, torch.Tensor))


def recognition_net(preset: object, name: str) -> torch.nn.Module:
    "The network that a loss trains"
    if name not in PARTIAL:
        return recognizer(preset, preset.recognition.image_size)
    recognition = load_preset(preset.name, recognition=dict(init='random')).recognition
    build = LOSSES[name].partial.build
    return build(identities(preset), recognition, preset.losses[name], 3000)


def count_recognizer(preset: object, loss: str) -> Counted:
    "A training step of a recognizer"
    own = preset.recognition
    name, _, late = loss.partition(', ')
    batch = own.batch.identities * own.batch.images_per_identity
    x = torch.zeros(batch, own.image_size, own.image_size, 3, dtype=torch.uint8)
    net = recognition_net(preset, name).train()
    seen = counter()
    net.n_steps = step_counter()
    if name == 'dfm':
        net.start = 0 if late else 1
    with seen:
        outputs = net(x)
        # Interpret-FR's loss has products of maps, which count
        if name == 'interpret_fr':
            loss_function = LOSSES[name].make(preset.losses.interpret_fr)
            value = loss_function(outputs, torch.zeros(batch, dtype=torch.long), None)
        else:
            value = total(outputs)
        value.backward()
    return Counted(batch, seen.get_total_flops())


def count_segmenter(preset: object) -> Counted:
    "A training step of S"
    own = preset.segmentation
    seen = counter()
    net = UNet(own.widths, own.image_size).train()
    x = inference_input('mask', own.batch_size, own.image_size)
    with seen:
        net(x).sum().backward()
    return Counted(own.batch_size, seen.get_total_flops())


def gan_and_loss(preset: object, name: str, own: object) -> tuple[torch.nn.Module, object]:
    "The networks of a generator's training, and their loss"
    if name in ATTRIBUTE_GANS:
        return AttributeGAN(own), AttributeGANLoss(own)
    if name == 'cyclegan':
        return CycleGAN(own), CycleLoss(own)
    S = UNet(preset.segmentation.widths, own.image_size)
    C = Classifier(recognizer(preset, own.image_size))
    return IAMGAN(own, S=S, C=C), IAMLoss(own)


def count_phases(model: torch.nn.Module, loss: object, x: torch.Tensor) -> int:
    "The arithmetic of all phases of a step"
    ids = torch.zeros(len(x), dtype=torch.long)
    outputs = {}
    flop = 0
    # full and masked faces; without numbers they are the same
    full = x
    masked = x.clone()
    for number, phase in enumerate(model.phases):
        model.requires_grad_(False)
        for net in model.nets(phase):
            net.requires_grad_(True)
        seen = counter()
        with seen:
            outputs |= model(full, masked, phase, outputs)
            function = getattr(loss, phase) if number else loss
            function(outputs, ids).backward()
        flop += seen.get_total_flops()
    return flop


def count_gan(preset: object, name: str) -> Counted:
    "A training step of a generator"
    own = generator_settings(preset, name)
    # a pool of earlier images cannot be filled with shapes
    pool = {} if name in ATTRIBUTE_GANS else dict(pool_size=0)
    own = changed(own, **pool)
    batch = own.batch_size
    if name in ATTRIBUTE_GANS:
        batch = own.batch_size // 2 * own.n_critic
    model, loss = gan_and_loss(preset, name, own)
    model.train()
    model.n_steps = step_counter()
    x = inference_input('mask', batch, own.image_size)
    return Counted(own.batch_size, count_phases(model, loss, x))


# ---- units: what steps and images take


class Unit(NamedTuple):
    "A kind of step: how it is counted and how it is measured"

    count: Callable[[object], Counted]
    measure: Callable[[Machine, object], Measured]


def with_name(function: Callable, name: str) -> Callable:
    "A function of a preset that takes a name last"
    return lambda *args: function(*args, name)


def named_unit(count: Callable, measure: Callable, name: str) -> Unit:
    "A unit of functions that take a name last"
    return Unit(with_name(count, name), with_name(measure, name))


def all_units() -> dict[str, Unit]:
    "Every kind of step by its name"
    units = {}
    for loss in RECOGNIZERS:
        units[f'step {loss}'] = named_unit(count_recognizer, measure_recognizer, loss)
    units['step S'] = Unit(count_segmenter, measure_segmenter)
    for name in GANS:
        units[f'step {name}'] = named_unit(count_gan, measure_gan, name)
    for name in ('embed', 'find'):
        units[name] = named_unit(count_inference, measure_inference, name)
    for name in TRANSLATORS:
        units[f'mask by {name}'] = named_unit(count_inference, measure_inference, name)
    return units


def count_units(preset: object, known: dict, keep: Callable[[], None]) -> None:
    "Count what is not known; `keep` is called after each"
    for name, unit in all_units().items():
        if 'tflop' in known.get(name, {}):
            continue
        with without_numbers():
            batch, flop = unit.count(preset)
        known[name] = dict(batch=batch, tflop=flop / 1e12)
        keep()
        print(f'{preset.name}: {name}: {flop / 1e12:.4f} TFLOP for {batch} images', flush=True)


def check_count(preset: object, name: str, counted: float, measured: float) -> None:
    "Both counts agree; steps are all but linear in the batch, with DFM's pairs the largest part"
    if abs(measured / counted - 1) > 0.02:
        sys.exit(
            f'project: {preset.name}, {name}: {counted:.4f} TFLOP counted, '
            f'{measured:.4f} in the step that was made'
        )


def measured_facts(known: dict, found: Measured) -> dict:
    "What is written about a measured step, scaled to the whole batch"
    factor = known['batch'] / found.batch
    seconds = np.array(found.seconds) * known['batch'] / found.batch
    median = round(float(np.median(seconds)), 6)
    return dict(
        measured_batch=found.batch,
        counted_in_step=found.flop * factor / 1e12,
        seconds=median,
        seconds_least=round(seconds.min(), 6),
        seconds_most=round(seconds.max(), 6),
        steps=len(seconds),
        tflop_per_second=round(known['tflop'] / median, 4),
    )


def measure_units(
    machine: Machine,
    preset: object,
    known: dict,
    wanted: list[str],  # patterns such as `mini *`
    keep: Callable[[], None],
) -> None:
    "Measure what is wanted and not known; `keep` is called after each"
    for name, unit in all_units().items():
        facts = known[name]
        asked = any(fnmatch(f'{preset.name} {name}', pattern) for pattern in wanted)
        if 'seconds' in facts or not asked:
            continue
        new = measured_facts(facts, unit.measure(machine, preset))
        check_count(preset, name, facts['tflop'], new['counted_in_step'])
        facts |= new
        keep()
        print(
            f'{preset.name}: {name}: {facts["seconds"]:.3f} s ({facts["measured_batch"]} of '
            f'{facts["batch"]} images), {1e3 * facts["tflop_per_second"]:.0f} GFLOP/s',
            flush=True,
        )


# ---- tasks of the plan


class Images(NamedTuple):
    "Numbers of images"

    train: dict[str, int]
    test: int
    labelled: int


def image_counts(preset: object) -> Images:
    "How many images there are"
    world = preset.world
    data = preset.data
    sets = ('casia', 'vggface2')
    if world is None:
        train = {name: getattr(data.train_sets, name).images for name in sets}
        return Images(train, data.mfsr_rec.images, data.mfsr_seg.images)
    train = {}
    for name in sets:
        part = getattr(world, name)
        train[name] = part.identities * part.images
    test = world.rec.identities * (world.rec.full + world.rec.masked)
    return Images(train, test, world.seg.images)


def run_parts(preset: object, row: object, test: int) -> dict[str, int]:
    "The units of one training run"
    # Softmax on full faces is trained by a task of its own
    if (row.loss, row.masks) == ('softmax', ''):
        return dict(embed=test)
    steps = getattr(preset.recognition.schedule, row.train).steps
    loss = loss_settings(preset, row.loss)[0]
    step = loss if loss in ('dcr', *PARTIAL) else 'softmax'
    if loss != 'dfm':
        return {f'step {step}': steps, 'embed': test}
    late = steps - round(steps * preset.losses.dfm.sliding.start)
    matching = {'step dfm, matching': late} if late else {}
    return {'step dfm': steps - late, **matching, 'embed': test}


def mask_parts(preset: object, name: str, images: int) -> dict[str, int]:
    "The units of a generator's training and of its masks"
    family = name if name in ATTRIBUTE_GANS or name == 'cyclegan' else 'iamgan'
    translator = 'iamgan' if family == 'cyclegan' else family
    steps = generator_settings(preset, name).steps
    return {f'step {family}': steps, f'mask by {translator}': images, 'find': images}


def segmenter_parts(preset: object, labelled: int) -> dict[str, int]:
    "The units of S's training; a tenth of the images is held out"
    own = preset.segmentation
    steps = own.epochs * 0.9 * (labelled + own.full_faces) / own.batch_size
    return {'step S': round(steps)}


def parts_of(preset: object, kind: str, row: object) -> dict[str, int]:
    "Units of a kind of task, and how many it takes; masks by rules and drawing take none"
    images = image_counts(preset)
    what, *rest = kind.split(' ')
    if what == 'run':
        return run_parts(preset, row, images.test)
    if what == 'softmax':
        return {'step softmax': getattr(preset.recognition.schedule, rest[0]).steps}
    if what == 'segmenter':
        return segmenter_parts(preset, images.labelled)
    if what == 'masks' and rest[0] in GENERATORS:
        return mask_parts(preset, rest[0], images.train[rest[1]])
    if what == 'report':
        return dict(embed=1000, find=500)
    return {}


def study_of(preset: object) -> SimpleNamespace:
    "What the plan needs to know about a study, without its files"
    study = SimpleNamespace(drawn=preset.world is not None, preset=preset, kind='paper')
    study.report_name = partial(Study.report_name, study)
    study.has_report = lambda row: row.masks not in ('', 'true')
    return study


def needed_by(tasks: dict, run: str) -> set[str]:
    "All tasks that a run needs, itself included"
    seen = set()
    stack = [run]
    while stack:
        name = stack.pop()
        seen.add(name)
        stack += [other for other in tasks[name].needs if other not in seen]
    return seen


def planned_tasks(preset: object) -> dict[str, dict]:
    "Tasks of the whole plan with one seed: kind, units, and the rows that need them"
    tasks = plan(study_of(preset), rows())
    row_names = {name: set() for name in tasks}
    for run, task in tasks.items():
        if task.what == 'run':
            for name in needed_by(tasks, run):
                row_names[name].add(task.args[0].name)
    result = {}
    for name, task in tasks.items():
        row = task.args[0] if task.what == 'run' else None
        units = parts_of(preset, task.kind, row)
        names = sorted(row_names[name])
        result[name] = dict(kind=task.kind, what=task.what, parts=units, rows=names)
    return result


# ---- the files


def load_json(path: Path, default: dict) -> dict:
    "A file's content, or the default where there is no file"
    return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else default


def save_json(path: Path, content: dict) -> None:
    "Write a file in one step"
    with atomic_write(path) as file:
        file.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')


def machine_facts(machine: Machine) -> dict:
    "What is written about this machine"
    return dict(
        hardware=torch.cuda.get_device_name() if machine.cuda else hardware(),
        device=machine.device,
        threads=torch.get_num_threads(),
        bf16=has_bf16(machine.device),
    )


def earlier(projection: dict, name: str, facts: dict, keep: bool) -> dict:
    "A preset's entry: the earlier one of the same machine if it is kept, or a new one"
    old = projection['presets'].get(name, {})
    same = all(old.get(key) == value for key, value in facts.items())
    return old if keep and same else facts | dict(units={})


def decoding_facts(preset: object) -> dict:
    "What is written about decoding"
    seconds = measure_decoding(preset)
    return dict(
        seconds=round(float(np.median(seconds)), 6),
        seconds_least=round(min(seconds), 6),
        seconds_most=round(max(seconds), 6),
    )


def project(options: argparse.Namespace, machine: Machine, name: str) -> dict:
    "Count and measure a preset, and write its entry after each step"
    preset = load_preset(name)
    projection = load_json(PROJECTION, dict(presets={}))
    projection['rates'] = list(RATES)
    entry = earlier(projection, name, machine_facts(machine), options.keep)
    projection['presets'][name] = entry
    if 'decoding' not in entry:
        entry['decoding'] = decoding_facts(preset)
    entry |= dict(images=image_counts(preset)._asdict(), tasks=planned_tasks(preset))

    def keep() -> None:
        save_json(PROJECTION, projection)

    count_units(preset, entry['units'], keep)
    measure_units(machine, preset, entry['units'], options.measure, keep)
    keep()
    return entry


def kind_seconds(entry: dict, per_unit: dict[str, float]) -> dict[str, float]:
    "Seconds of each kind of task"
    seconds = {}
    for task in entry['tasks'].values():
        if task['parts']:
            parts = task['parts'].items()
            seconds[task['kind']] = round(sum(per_unit[unit] * n for unit, n in parts), 1)
    return dict(sorted(seconds.items()))


def write_times(machine: Machine, name: str, entry: dict, rate: float) -> None:
    "Write what mfsr_reproduce --dry-run shows"
    per_unit = {}
    for unit, facts in entry['units'].items():
        per_unit[unit] = facts['seconds'] if machine.cuda else facts['tflop'] / rate
    about = f'no machine: projected for a GPU that sustains {rate:g} TFLOP/s'
    if machine.cuda:
        about = f'{entry["hardware"]}, projected from measured steps'
    times = load_json(TIMES, {})
    times[name] = dict(hardware=about, seconds=kind_seconds(entry, per_unit))
    save_json(TIMES, times)


def arguments() -> argparse.Namespace:
    "The command line"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'presets',
        nargs='*',
        default=['mini', 'gpu', 'paper'],
        help='default: mini gpu paper',
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--steps', type=int, default=5, help='steps timed of each kind')
    parser.add_argument(
        '--limit', type=float, default=10, help='no more of them after so many seconds'
    )
    parser.add_argument(
        '--most',
        type=int,
        default=2,
        help='images of a batch on a CPU (recognizers: two identities)',
    )
    parser.add_argument(
        '--measure',
        nargs='*',
        default=['*'],
        help='what to measure, such as "paper step S" or "mini *"; without values, steps are '
        'only counted',
    )
    parser.add_argument('--keep', action='store_true', help='measure only what the file lacks')
    parser.add_argument(
        '--times',
        type=float,
        default=0,
        help='write results/times.json for a GPU of so many TFLOP/s',
    )
    return parser.parse_args()


def main() -> None:
    "Project the presets of the command line; small ones are run, so they get no times"
    options = arguments()
    machine = Machine(options.device, options.steps, options.limit, options.most)
    if not machine.cuda:
        torch.set_num_threads(1)
    for name in options.presets:
        entry = project(options, machine, name)
        if options.times and is_large(load_preset(name)):
            write_times(machine, name, entry, options.times)


if __name__ == '__main__':
    main()
