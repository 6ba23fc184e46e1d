"""Run the preset `paper`, with few steps, on drawn faces in the layouts of the paper's data.

The layouts are RecordIO, VGGFace2's tree and MFSR's. The run is stopped and continued, and the
networks that were trained are compared with the paper's settings.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
import torchvision
from safetensors import safe_open

from common import ROOT
from mfsr_nb.core import InputError
from mfsr_nb.data.dataset import read
from mfsr_nb.data.recordio import write_recordio
from mfsr_nb.engine.weights import open_tensors
from mfsr_nb.presets import load_preset, settings
from mfsr_nb.schema import World
from mfsr_nb.study.registry import read_runs
from mfsr_nb.study.reproduce import shorten_training
from mfsr_nb.study.rows import rows
from mfsr_nb.world.write import write_world

# rows that together have every kind of part
ROWS = ('Softmax', 'Interpret-FR', 'DFM', 'Softmax+KP-SYN', 'Softmax+IAMGAN', 'DCR+IAMGAN')
VGGFACE2_ROW = 'Softmax, vggface2'
EDITORS = ('StarGAN', 'AttGAN', 'SaGAN')
STUDIES = ('study', 'study-vggface2')
KINDS = ('recognizer', 'unet', 'generator', 'interpret_fr', 'dfm')
# settings that --fraction may change
SHORTENED = {
    'name',
    'steps',
    'milestones',
    'warmup',
    'epochs',
    'constant_until',
    'linear_to_zero_at',
    'ramp_steps',
}


def must(condition: bool, otherwise: str) -> None:
    "End the program unless the condition holds"
    if not condition:
        sys.exit(f'paper_check: {otherwise}')


# ---- data


class DataSets(NamedTuple):
    "Data sets in the layouts of the paper's"

    casia: Path  # RecordIO of 112 pixels
    vggface2: Path  # its tree, with larger crops
    mfsr_rec: Path
    mfsr_seg: Path


def world_settings(size: int, people: int, images: int) -> object:
    "Settings of a small face world"
    each = dict(identities=people, images=images, spread=1.0)
    world = dict(
        size=size,
        seed=2020,
        casia=each,
        vggface2=each,
        seg=dict(images=max(4, people)),
        wear=dict(images=8),
        rec=dict(identities=people, full=2, masked=2),
    )
    return World(**world)


def write_sets(folder: Path, people: int, images: int) -> DataSets:
    "Draw the data sets, unless that was done before"
    aligned = folder / 'aligned'
    raw = folder / 'raw'
    casia = folder / 'casia'
    write_world(aligned, world_settings(112, people, images), ['casia'], 0)
    parts = ['vggface2', 'mfsr_rec', 'mfsr_seg']
    write_world(raw, world_settings(160, people, images), parts, 0)
    if not (casia / 'train.rec').is_file():
        table = read(aligned / 'casia')
        label = dict(zip(sorted(set(table.identity)), range(people)))
        records = zip(table.path, table.identity)
        write_recordio(
            casia, [(Path(path).read_bytes(), label[identity]) for path, identity in records]
        )
    return DataSets(casia, raw / 'vggface2', raw / 'mfsr_rec', raw / 'mfsr_seg')


def write_random_weights(home: Path, backbone: str) -> None:
    "Random weights where torchvision keeps its ImageNet weights, for machines without network"
    weights = torchvision.models.get_model_weights(backbone).DEFAULT
    file = home / 'hub' / 'checkpoints' / Path(weights.url).name
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        torch.save(torchvision.models.get_model(backbone).state_dict(), file)


# ---- the command


class Result(NamedTuple):
    "How a command ended"

    code: int
    seconds: float
    output: str


class Runner:
    "Calls of mfsr_reproduce in one folder"

    def __init__(self, folder: Path, random_weights: bool):
        self.folder = folder
        self.environment = dict(os.environ, PYTHONPATH=str(ROOT))
        if random_weights:
            self.environment['TORCH_HOME'] = str(folder / 'torch')

    def start(self, arguments: list, output: object) -> subprocess.Popen:
        "Start the command"
        program = Path(sys.executable).with_name('mfsr_reproduce')
        # a job in the background of a shell ignores Ctrl-C, and so would the command
        return subprocess.Popen(
            [program, *(str(argument) for argument in arguments)],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=self.environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, arguments: list, stop: Callable[[], bool] | None = None) -> Result:
        "Run the command; when `stop()` is true, it is interrupted as by Ctrl-C"
        begin = time.time()
        with tempfile.TemporaryFile('w+') as output:
            process = self.start(arguments, output)
            while process.poll() is None:
                if stop and stop():
                    process.send_signal(signal.SIGINT)
                    stop = None
                time.sleep(0.2)
            output.seek(0)
            return Result(process.returncode, time.time() - begin, output.read())

    def succeed(self, arguments: list) -> Result:
        "Run the command, which must succeed, and print its output"
        result = self.run(arguments)
        print(result.output)
        must(result.code == 0, result.output[-2000:])
        return result


def journal(study: Path) -> list[dict]:
    "The tasks that a study has done"
    file = study / 'tasks.jsonl'
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text().splitlines()]


# ---- what was trained


def differences(ours: object, theirs: object, name: str = '') -> Iterator[str]:
    "Dotted names of the settings that differ"
    if not isinstance(ours, dict):
        if ours != theirs:
            yield name.strip('.')
        return
    for key in ours:
        yield from differences(ours[key], theirs[key], f'{name}.{key}')


def check_fraction(fraction: float) -> None:
    "--fraction changes nothing but numbers of steps"
    preset = load_preset('paper')
    changed = list(differences(settings(preset), settings(shorten_training(preset, fraction))))
    last = {name.split('.')[-1] for name in changed}
    must(last <= SHORTENED, f'--fraction changes {changed}')


def kind_of(file: Path) -> str:
    "The kind of network that a file of weights holds"
    with safe_open(file, 'pt') as tensors:
        header = json.dumps(json.loads(tensors.metadata()['mfsr_nb']))
    return next(kind for kind in KINDS if f'"kind": "{kind}"' in header)


def generator_wanted(preset: object, method: str) -> dict:
    "The paper's settings of a generator's network"
    own = preset.iamgan
    if method != 'iamgan':
        own = getattr(preset.generators, method)
    return dict(size=preset.iamgan.image_size) | settings(own.generator)


def wanted(preset: object, kind: str, config: dict) -> dict:
    "The paper's settings of a network"
    own = preset.recognition
    losses = preset.losses
    base = dict(name=own.backbone, size=own.image_size)
    if kind == 'recognizer':
        neck = dict(dim=own.neck.linear, pool=own.neck.pool)
        return base | neck | dict(normalize=own.normalize_input)
    if kind == 'interpret_fr':
        return base | dict(maps=losses.interpret_fr.maps)
    if kind == 'dfm':
        return base | dict(channels=losses.dfm.map_channels)
    if kind == 'unet':
        own = preset.segmentation
        return dict(widths=list(own.widths), size=own.image_size)
    return generator_wanted(preset, config['method'])


def network(file: Path, preset: object) -> dict:
    "Facts about one network, whose settings must be the paper's"
    kind = kind_of(file)
    head = open_tensors(file, kind)[1]
    config = head['model']
    want = wanted(preset, kind, config)
    # how weights are initialized is not recorded for every generator
    if 'init_std' not in config:
        want.pop('init_std', None)
    wrong = [
        (key, config.get(key), value) for key, value in want.items() if config.get(key) != value
    ]
    must(not wrong, f'{file}: {wrong}')
    shown = {key: config[key] for key in ('name', 'size', 'method') if key in config}
    return dict(
        part=file.parent.name,
        kind=kind,
        steps=head['steps'],
        seconds=head['seconds'],
        precision=head.get('precision', ''),
        **shown,
    )


def trained(study: Path, preset: object) -> pd.DataFrame:
    "All networks of a study"
    files = sorted(study.rglob('weights.safetensors'))
    return pd.DataFrame([network(file, preset) for file in files])


# ---- the steps of the check


class Check:
    "The whole check in one folder"

    def __init__(self, options: argparse.Namespace, folder: Path):
        self.options = options
        self.folder = folder
        self.runner = Runner(folder, random_weights=not options.imagenet)
        self.sets = write_sets(folder, options.people, options.images)
        self.study = folder / STUDIES[0]
        self.results = folder / 'results'

    def arguments(self, preset: str | Path, train: Path, names: str, study: Path) -> list:
        "Arguments of a reproduction"
        data = ['--train', train, '--test', self.sets.mfsr_rec]
        masks = ['--masked', self.sets.mfsr_seg, '--labelled', self.sets.mfsr_seg]
        extent = ['--kind', 'paper', '--fraction', self.options.fraction, '--jobs', 1]
        where = ['--dest', study, '--results', self.results]
        return ['--preset', preset, *data, '--rows', names, *masks, *extent, *where]

    def main_rows(self) -> list:
        "Arguments for the rows on CASIA"
        return self.arguments('paper', self.sets.casia, ','.join(ROWS), self.study)

    def plan(self) -> None:
        "The plan holds the rows"
        result = self.runner.succeed([*self.main_rows(), '--dry-run'])
        must(
            'Softmax+KP-SYN' in result.output,
            'crops of 112 pixels have their landmarks in known places, so that KP-SYN should '
            'be planned',
        )

    def stop_early(self) -> dict[Path, float]:
        "Start, interrupt after two tasks, and return the networks with their times"
        begun = len(journal(self.study))
        result = Result(1, 0, '')
        if begun < 2:
            result = self.runner.run(
                self.main_rows(), stop=lambda: len(journal(self.study)) >= begun + 2
            )
        files = self.study.rglob('weights.safetensors')
        had = {file: file.stat().st_mtime for file in files}
        done = len(journal(self.study))
        print(f'stopped after {result.seconds:.0f} s with {done} tasks done, ', end='')
        print(f'exit status {result.code}\n{result.output[-500:]}')
        must(
            result.code != 0 and bool(had),
            f'it should have been stopped: {result.output[-2000:]}',
        )
        return had

    def continue_run(self, had: dict[Path, float]) -> None:
        "Continue; nothing is trained again"
        result = self.runner.succeed(self.main_rows())
        print(f'continued for {result.seconds:.0f} s\n')
        kept = all(file.stat().st_mtime == modified for file, modified in had.items())
        must(kept, 'what was trained before the stop was trained again')

    def repeat(self) -> None:
        "A second run finds everything"
        result = self.runner.run(self.main_rows())
        found = f'{len(ROWS)} of these runs were found' in result.output
        must(result.code == 0 and found, result.output[-2000:])
        print(f'again: all found in {result.seconds:.0f} s\n')

    def other_data(self) -> None:
        "A row on VGGFace2"
        row = 'table1/vggface2/Softmax'
        study = self.folder / STUDIES[1]
        self.runner.succeed(self.arguments('paper', self.sets.vggface2, row, study))

    def attribute_gans(self) -> None:
        "The attribute GANs, with smaller batches"
        names = self.options.editors
        batch = dict(batch_size=self.options.batch)
        if not names:
            return
        preset = dict(base='paper', generators={name.lower(): batch for name in names})
        # JSON is YAML
        file = self.folder / 'small_batches.yaml'
        file.write_text(json.dumps(preset))
        wanted_rows = ','.join(f'Softmax+{name}' for name in names)
        self.runner.succeed(self.arguments(file, self.sets.casia, wanted_rows, self.study))

    def registry(self) -> list[dict]:
        "The registry holds every row, and nothing else"
        runs = read_runs(self.results)
        generated = [f'Softmax+{name}' for name in self.options.editors]
        names = {*ROWS, VGGFACE2_ROW, *generated}
        expected = set()
        found = set()
        for row in rows():
            if row.name in names:
                expected.update(row.cells)
        for run in runs:
            found.update(run['cells'])
        kinds = {run['kind'] for run in runs}
        must(
            found == expected and kinds == {'paper'},
            f'rows missing in the registry: {expected - found}',
        )
        return runs

    def summary(self, runs: list[dict]) -> None:
        "Print the networks, and what their tasks took"
        preset = load_preset('paper')
        tables = []
        tasks = []
        for name in STUDIES:
            tables.append(trained(self.folder / name, preset))
            tasks += journal(self.folder / name)
        pd.set_option('display.width', 200)
        table = pd.concat(tables)
        print(table.to_string(index=False), '\n')
        groups = pd.DataFrame(tasks).groupby('kind', sort=False)
        seconds = groups.seconds.agg(['count', 'median', 'sum'])
        print(seconds.to_string())
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(f"\n{len(runs)} rows, {len(table)} networks, all with the paper's settings; ", end='')
        print(f'{seconds["sum"].sum():.0f} s of work, at most {memory:.1f} GiB')

    def run(self) -> None:
        "All steps"
        check_fraction(self.options.fraction)
        self.plan()
        self.continue_run(self.stop_early())
        self.repeat()
        self.other_data()
        self.attribute_gans()
        self.summary(self.registry())


def arguments() -> argparse.Namespace:
    "The command line"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--dest', help='folder to work in, kept (default: a temporary one)')
    parser.add_argument(
        '--fraction',
        type=float,
        default=1e-5,
        help='of all steps; each training has two at least (default: 1e-5)',
    )
    parser.add_argument(
        '--people',
        type=int,
        default=3,
        help='identities in each set; a batch has as many, up to 32, with six images each',
    )
    parser.add_argument('--images', type=int, default=4, help='images of each identity')
    parser.add_argument(
        '--editors', nargs='*', default=EDITORS, choices=EDITORS, help='attribute GANs to train'
    )
    parser.add_argument(
        '--batch', type=int, default=2, help="their batch; their authors' are larger (default: 2)"
    )
    parser.add_argument(
        '--imagenet',
        action='store_true',
        help="download torchvision's ImageNet weights instead of using random ones",
    )
    return parser.parse_args()


def main() -> None:
    "Check in the folder that is asked for, or in a temporary one"
    options = arguments()
    temporary = None if options.dest else tempfile.TemporaryDirectory()
    folder = Path(options.dest or temporary.name).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not options.imagenet:
        write_random_weights(folder / 'torch', load_preset('paper').recognition.backbone)
    try:
        Check(options, folder).run()
    except InputError as error:
        sys.exit(f'paper_check: {error}')
    finally:
        if temporary:
            temporary.cleanup()


if __name__ == '__main__':
    main()
