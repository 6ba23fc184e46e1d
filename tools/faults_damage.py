"Files that vanish, are exchanged, damaged, or come from another version."

import json
import os
import random
import shutil
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

import faults_compare as compare
from faults_disk import refused
from faults_kills import Outcome
from faults_lab import Lab

OTHER_VERSION = '0.0.9'
OTHER_COMMIT = 'abcdef0'


# ---- inputs


@contextmanager
def restored(path: Path) -> Iterator[None]:
    "The file is as before in the end, with its time"
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy2(path, folder)
        try:
            yield
        finally:
            shutil.copy2(copy, path)


def faces(lab: Lab) -> list[Path]:
    "The training faces that all cases read"
    return sorted(Path(lab.references['mfsr_world'].folder, 'casia').rglob('*.jpg'))


def vanished_image(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "An image that is removed after another one has been read, then is there again"
    for _ in range(tries):
        images = faces(lab)
        if case == 'mfsr_enroll':
            folder = Path(lab.references['mfsr_world'].folder, 'mfsr_rec')
            images = sorted(folder.rglob('*.jpg'))
        first = images[0]
        victim = rng.choice(images[len(images) // 2 :])
        dest = lab.fresh()
        with restored(victim):
            env = dict(MFSR_FAULT_FIRST='/'.join(first.parts[-3:]), MFSR_FAULT_VICTIM=str(victim))
            done = lab.run(case, dest, **env)
            is_gone = not victim.exists()
        if not is_gone:
            lab.say(f'    {case}: the image was read before it could vanish')
            continue
        if done.code == 0 and not is_named(done, victim):
            # between two steps that list the images: the later ones have done without it
            yield of_other_data(lab, case, dest)
        else:
            yield refused(lab, case, dest, done, mend=list, may_work=is_named(done, victim))


def of_other_data(lab: Lab, case: str, dest: Path) -> Outcome:
    "A result of other data is not taken for that of all images, and `--fresh` replaces it"
    noticed = lab.run(case, dest)
    done = lab.run(case, dest, more=('--fresh',))
    identical = lab.is_identical(case, dest, done) and 'other data' in noticed.line
    left = lab.left_behind(case, dest)
    return Outcome(identical, noticed.is_traceback, left, lab.short(noticed.line))


def is_named(done: object, path: Path) -> bool:
    "Does the message name the file?"
    return path.name in done.err


def vanished_weights(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "Weights that are not there"
    weights = Path(lab.references['mfsr_train'].folder, 'weights.safetensors')
    for _ in range(tries):
        dest = lab.fresh()
        with restored(weights):
            weights.unlink()
            first = lab.run(case, dest)
        yield refused(lab, case, dest, first, mend=list)


def other_face(path: Path, other: Path) -> None:
    "Put another picture in the place of one, with the same number of bytes"
    size = path.stat().st_size
    image = Image.open(other).convert('RGB')
    for quality in range(95, 5, -3):
        image.save(path, quality=quality)
        if path.stat().st_size <= size:
            break
    # what follows the end of a JPEG is not read
    path.write_bytes(path.read_bytes().ljust(size, b'\0'))


def exchanged(lab: Lab, case: str, rng: random.Random, prepare: Callable) -> Outcome:
    "One picture of the data is exchanged for that of another person; old results must not pass"
    images = faces(lab)
    victim = rng.choice(images[:8])
    other = rng.choice(images[-8:])
    dest = prepare(lab, case)
    with restored(victim):
        other_face(victim, other)
        first = lab.run(case, dest)
        same = not compare.difference(lab.references[case].content, compare.content(dest))
    # a command that computes again gives another result
    return refused(lab, case, dest, first, mend=list, may_work=not same)


def exchanged_after(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "A picture of the data is exchanged after a finished run"
    for _ in range(tries):
        yield exchanged(lab, case, rng, Lab.finished)


def exchanged_between(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "A picture of the data is exchanged between a killed run and the next one"
    for _ in range(tries):
        yield exchanged(lab, case, rng, interrupted)


# ---- results


def results(dest: Path, suffix: str) -> list[Path]:
    "Files of a result by their kind"
    return [path for path in compare.files(dest) if path.suffix == suffix]


def changed_picture(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "A picture of a finished folder is cut short, or exchanged for another one: it is made again"
    for i in range(tries):
        dest = lab.finished(case)
        victim, other = rng.sample(results(dest, '.jpg') + results(dest, '.png'), 2)
        data = victim.read_bytes()
        victim.write_bytes(data[: len(data) // 2] if i % 2 else other.read_bytes())
        done = lab.run(case, dest)
        yield noticed(lab, case, dest, done)


def noticed(lab: Lab, case: str, dest: Path, done: object, may_refuse: bool = True) -> Outcome:
    "The outcome of a command that should mend a result, or refuse it in one line"
    first = done
    identical = lab.is_identical(case, dest, done)
    if may_refuse and done.code not in (0, None) and not done.is_traceback:
        # its remedy: the result is computed again
        shutil.rmtree(dest, ignore_errors=True)
        identical = lab.is_identical(case, dest, lab.run(case, dest))
    left = lab.left_behind(case, dest) if dest.is_dir() else 0
    return Outcome(identical, first.is_traceback, left, lab.short(first.line))


def interrupted(lab: Lab, case: str) -> Path:
    "A copy of a run that was killed with checkpoints"
    kept = lab.folder / f'interrupted_{case}'
    checkpoint = kept / 'checkpoint.safetensors'
    if not checkpoint.is_file():
        shutil.rmtree(kept, ignore_errors=True)
        run = lab.start(case, kept)
        written = set()
        while run.is_alive() and len(written) < 4:
            if checkpoint.is_file():
                written.add(checkpoint.stat().st_mtime_ns)
            time.sleep(0.01)
        run.kill('group', random.Random(0))
        run.wait(lab.limit(case))
        run.clean()
    dest = lab.fresh()
    shutil.copytree(kept, dest)
    return dest


def flip(path: Path, rng: random.Random, first: int, last: int) -> None:
    "Flip one bit of a file between two places"
    data = bytearray(path.read_bytes())
    data[rng.randrange(first, last)] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def header_end(path: Path) -> int:
    "Where the tensors of a safetensors file begin"
    return 8 + struct.unpack('<Q', path.read_bytes()[:8])[0]


def flip_tensor(path: Path, rng: random.Random) -> None:
    "Flip one bit of the tensors"
    flip(path, rng, header_end(path), path.stat().st_size)


def flip_header(path: Path, rng: random.Random) -> None:
    "Flip one bit of the header"
    flip(path, rng, 8, header_end(path))


def garbage_header(path: Path, rng: random.Random) -> None:
    "A header of random bytes"
    data = bytearray(path.read_bytes())
    data[8 : header_end(path)] = rng.randbytes(header_end(path) - 8)
    path.write_bytes(data)


def empty(path: Path, rng: random.Random) -> None:
    "No byte is left"
    path.write_bytes(b'')


def cut(path: Path, rng: random.Random) -> None:
    "Cut at a random place"
    os.truncate(path, rng.randrange(1, path.stat().st_size))


DAMAGES = (empty, cut, flip_tensor, garbage_header, flip_header, cut)


def damaged_checkpoint(every: bool) -> Callable:
    "Trials that damage the newest checkpoint, or every one"

    def trial(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
        for i in range(tries):
            dest = interrupted(lab, case)
            found = sorted(dest.glob('*checkpoint*'), key=lambda path: -path.stat().st_mtime_ns)
            for path in found if every else found[:1]:
                DAMAGES[i % len(DAMAGES)](path, rng)
            # the previous one takes the place of the newest
            yield noticed(lab, case, dest, lab.run(case, dest), may_refuse=every)

    return trial


def damaged_result(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "A bit of finished weights is flipped, or they are cut; the same command must not accept them"
    for i in range(tries):
        dest = lab.finished(case)
        weights = results(dest, '.safetensors')[-1]
        (cut if i % 3 == 2 else flip_tensor)(weights, rng)
        yield noticed(lab, case, dest, lab.run(case, dest))


def damaged_input(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "A bit of the weights that a command reads is flipped, or they are cut: refused"
    weights = Path(lab.references['mfsr_train'].folder, 'weights.safetensors')
    for i in range(tries):
        dest = lab.fresh()
        with restored(weights):
            (cut if i % 3 == 2 else flip_tensor)(weights, rng)
            first = lab.run(case, dest)
        yield refused(lab, case, dest, first, mend=list)


# ---- versions


def with_other_version(value: object) -> object:
    "A JSON value whose commits and versions are those of another state of the package"
    if isinstance(value, list):
        return [with_other_version(item) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {key: with_other_version(item) for key, item in value.items()}
    if isinstance(value.get('commit'), str):
        changed['commit'] = OTHER_COMMIT
    if 'version' in value:
        changed['version'] = OTHER_VERSION
    return changed


def write_header(path: Path, header: dict) -> None:
    "Replace the header of this project in a safetensors file; the tensors stay"
    data = path.read_bytes()
    end = header_end(path)
    about = json.loads(data[8:end])
    about['__metadata__']['mfsr_nb'] = json.dumps(header)
    text = json.dumps(about).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    path.write_bytes(struct.pack('<Q', len(text)) + text + data[end:])


def make_older(dest: Path) -> None:
    "Weights and records as another version of the package would have written them"
    for path in results(dest, '.safetensors'):
        data = path.read_bytes()[8 : header_end(path)]
        header = json.loads(json.loads(data).get('__metadata__', {}).get('mfsr_nb', '{}'))
        write_header(path, with_other_version(header))
    for path in results(dest, '.jsonl'):
        lines = map(json.loads, path.read_text(encoding='utf-8').splitlines())
        path.write_text(''.join(json.dumps(with_other_version(line)) + '\n' for line in lines))


def stale_version(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "A finished result of another version: reused with a word"
    for _ in range(tries):
        dest = lab.finished(case)
        make_older(dest)
        done = lab.run(case, dest)
        text = done.out + done.err
        lines = [
            line for line in text.splitlines() if OTHER_VERSION in line or OTHER_COMMIT in line
        ]
        if not lines:
            lab.say(f'    {case}: the other version was not named')
        left = lab.left_behind(case, dest)
        said = lab.short(lines[0].strip()) if lines else ''
        yield Outcome(done.code == 0 and bool(lines), done.is_traceback, left, said)


def fresh_option(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "`--fresh` computes a result of another version again"
    for _ in range(tries):
        dest = lab.finished(case)
        make_older(dest)
        before = {path: path.stat().st_mtime_ns for path in results(dest, '.safetensors')}
        done = lab.run(case, dest, more=('--fresh',))
        written = all(path.stat().st_mtime_ns != time for path, time in before.items())
        identical = lab.is_identical(case, dest, done) and written
        left = lab.left_behind(case, dest)
        said = lab.short(done.line) if done.code else ''
        yield Outcome(identical, done.is_traceback, left, said)


def permissions(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "Results have the permissions that the umask gives"
    umask = os.umask(0)
    os.umask(umask)
    found = compare.files(Path(lab.references[case].folder))
    wrong = [path for path in found if path.stat().st_mode & 0o666 != 0o666 & ~umask]
    wrong = [path for path in wrong if compare.is_compared(path)]
    said = f'{wrong[0].name} has mode {wrong[0].stat().st_mode & 0o777:o}' if wrong else ''
    yield Outcome(not wrong, said=said)


def without_segmentation(lab: Lab, case: str, tries: int, rng: random.Random) -> Iterator[Outcome]:
    "A finished generator whose segmentation network was removed: it is trained again"
    for _ in range(tries):
        dest = lab.finished(case)
        shutil.rmtree(dest / 'segmentation')
        yield noticed(lab, case, dest, lab.run(case, dest), may_refuse=False)
