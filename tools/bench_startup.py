"How long commands take to begin, against `import torch`, each in a process of its own."

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench_common import in_turns, row

FACES = 8
UNIT = 'starts/min'


def run(program: str, *words: str) -> None:
    "A Python program in a process of its own; raises if it fails"
    command = [sys.executable, '-c', program, *map(str, words)]
    subprocess.run(command, check=True, capture_output=True)


def run_command(folder: Path, *words: str) -> None:
    "A command of the package, as its console script calls it"
    program = 'import sys; from mfsr_nb.cli_start import mfsr; sys.exit(mfsr())'
    # one that writes leaves nothing to be continued
    with tempfile.TemporaryDirectory(dir=folder) as dest:
        run(program, *(word.format(faces=folder / 'faces', dest=dest) for word in words))


def write_faces(folder: Path) -> None:
    "A few faces of the world, as crops of two people"
    from PIL import Image

    from mfsr_nb.world.faces import FaceWorld

    images = FaceWorld(seed=0, size=112).faces(range(FACES), 0).image
    for i, image in enumerate(images):
        path = folder / f'p{i % 2}/{i}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def startup() -> Iterator[dict]:
    "Commands on a handful of faces, against importing torch"
    mask = ('mask', '{faces}', '{dest}', '--landmarks=arcface')
    commands = {
        'mfsr_eval --help': ('eval', '--help'),
        'mfsr_presets list': ('presets', 'list'),
        'mfsr_audit, no search for masks': ('audit', '{faces}', '--segmentation=none'),
        'mfsr_mask, no search for masks': (*mask, '--segmentation=none'),
        'mfsr_audit': ('audit', '{faces}'),
        'mfsr_mask': mask,
    }
    theirs = partial(run, 'import torch')
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_faces(folder / 'faces')
        for what, words in commands.items():
            seconds = in_turns(partial(run_command, folder, *words), theirs, rounds=3)
            note = f'{FACES} faces' if '{faces}' in words else ''
            yield row(what, 'import torch', seconds, 60, UNIT, note)
