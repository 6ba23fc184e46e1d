"""Time from a folder of photographs to a fine-tuned network: results/real_time.json.

Each command runs once, in this process and with two threads, after the one before. Processor
seconds count all threads and processes of a command: other work on the machine lengthens the
seconds on the clock more than these.

    python tools/real_time.py PHOTOS [--people 100] [--each 6]
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from mfsr_nb.cli_start import load_commands
from mfsr_nb.command import exit_code
from mfsr_nb.core import code_version, hardware
from mfsr_nb.data.finding import is_image
from mfsr_nb.engine.files import atomic_write
from mfsr_nb.presets import load_preset

RESULTS = Path(__file__).parent.parent / 'results' / 'real_time.json'
THREADS = 2


def copy_people(source: Path, dest: Path, people: int, each: int) -> int:
    "Copy the first photographs of the first people who have so many; returns how many people"
    number = 0
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        files = sorted(file for file in folder.iterdir() if is_image(file.name))
        if len(files) >= each and number < people:
            number += 1
            (dest / folder.name).mkdir(parents=True)
            for file in files[:each]:
                shutil.copy(file, dest / folder.name)
    return number


def command_lines(copies: int) -> Iterator[tuple[str, list[str]]]:
    "What is done -> the words of each command"
    yield 'crops', ['mfsr_align', 'photos', 'faces', '--for', 'dlib']
    generated = []
    for copy in range(copies):
        yield 'masks', ['mfsr_mask', 'faces', f'masked-{copy}', '--seed', str(copy)]
        generated += ['--generated', f'masked-{copy}']
    yield 'training', ['mfsr_train', 'faces', 'run', *generated, '--start', 'dlib', '--loss', 'dcr']
    yield 'gallery', ['mfsr_enroll', 'photos', 'run/weights.safetensors', 'gallery', '--align']


def timed(words: list[str]) -> dict:
    "Run a command; its seconds on the clock, and of processors"
    begin = time.perf_counter()
    before = os.times()
    load_commands()[words[0]].call(words[1:])
    used = sum(os.times()[:4]) - sum(before[:4])
    return dict(seconds=round(time.perf_counter() - begin, 1), processor=round(used, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('photos', type=Path, help='a folder of photographs for each person')
    parser.add_argument('--people', type=int, default=100)
    parser.add_argument('--each', type=int, default=6, help='photographs of each person')
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    source = given.photos.resolve()
    back = Path.cwd()
    tuning = load_preset('photos-pretrained').recognition.fine_tuning
    with tempfile.TemporaryDirectory() as folder:
        os.environ['MFSR_CACHE'] = f'{folder}/cache'
        os.chdir(folder)
        people = copy_people(source, Path('photos'), given.people, given.each)
        about = dict(people=people, photographs=people * given.each, copies=tuning.copies)
        about |= dict(hardware=hardware(), load=round(os.getloadavg()[0], 1), **code_version())
        steps = []
        for what, words in command_lines(tuning.copies):
            steps.append(dict(what=what, command=' '.join(words)) | timed(words))
            print(steps[-1], flush=True)
        os.chdir(back)
    with atomic_write(RESULTS) as file:
        file.write_text(json.dumps(about | dict(steps=steps), indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    sys.exit(exit_code('real_time', main))
