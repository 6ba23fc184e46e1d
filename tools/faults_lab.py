"The commands that are tried on a small face world, and their unbroken runs."

import hashlib
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import faults_compare as compare
from common import ROOT
from faults_process import Done, Run

PLUGIN = Path(__file__).with_name('faults_plugin.py')
BIN = Path(sys.executable).parent
# a run may take this many times as long as the unbroken one; other work may slow it down
PATIENCE = 12.0
LEAST_LIMIT = 120.0
WORLD = (
    '--set world.casia.identities=24 --set world.casia.images=8 '
    '--set world.vggface2.identities=2 --set world.vggface2.images=2 '
    '--set world.seg.images=24 --set world.rec.identities=6'
)


class Case(NamedTuple):
    "A command; {dest} is its result, other places are the results of other cases"

    words: str
    result: str  # File that is there when the command has done its work
    needs: tuple[str, ...] = ()  # Cases whose results it reads
    # May a second run at the same place do its work after the first one, or write the same again?
    waits: bool = False
    pool: bool = False  # Does it work in several processes?


CASES = {
    'mfsr_world': Case(
        f'mfsr_world {{dest}} --preset smoke {WORLD}',
        result='world.json',
        waits=True,
        pool=True,
    ),
    'mfsr_mask': Case(
        'mfsr_mask {world}/casia {dest} --workers 1',
        result='recipe.jsonl',
        needs=('mfsr_world',),
    ),
    'mfsr_mask, 2 workers': Case(
        'mfsr_mask {world}/casia {dest} --workers 2',
        result='recipe.jsonl',
        needs=('mfsr_world',),
        pool=True,
    ),
    'mfsr_align': Case(
        'mfsr_align {world}/casia {dest} --size 40 --landmarks mtcnn',
        result='landmarks.csv',
        needs=('mfsr_world',),
    ),
    'mfsr_train': Case(
        'mfsr_train {world}/casia {dest} --generated {mask} --preset smoke --loss dcr '
        '--steps 30 --held-out 0.2',
        result='weights.safetensors',
        needs=('mfsr_world', 'mfsr_mask'),
    ),
    'mfsr_train, 2 processes': Case(
        'torchrun --standalone --nproc-per-node 2 {bin}/mfsr_train {world}/casia {dest} '
        '--preset smoke --steps 20 --held-out 0.2',
        result='weights.safetensors',
        needs=('mfsr_world',),
    ),
    'mfsr_gan': Case(
        'mfsr_gan {world}/casia {world}/mfsr_seg {dest} --preset smoke --steps 12 '
        '--set segmentation.epochs=2',
        result='weights.safetensors',
        needs=('mfsr_world',),
    ),
    'mfsr_embed': Case(
        'mfsr_embed {world}/casia {train}/weights.safetensors --out {dest}/emb.npz',
        result='emb.npz',
        needs=('mfsr_world', 'mfsr_train'),
        waits=True,
    ),
    'mfsr_enroll': Case(
        'mfsr_enroll {world}/mfsr_rec {train}/weights.safetensors {dest}',
        result='gallery.json',
        needs=('mfsr_world', 'mfsr_train'),
        waits=True,
    ),
    'mfsr_reproduce': Case(
        'mfsr_reproduce --preset smoke --rows table1/casia/Softmax --dest {dest} --jobs 2 '
        f'--set recognition.schedule.casia.steps=20 {WORLD}',
        result='runs.jsonl',
        waits=True,
        pool=True,
    ),
}


class Reference(NamedTuple):
    "An unbroken run"

    folder: str  # Its result
    content: dict[str, str]  # Digest of each file
    names: list[str]  # All files, hidden ones too
    size: int  # Bytes on the disk
    begin: float  # CPU seconds when the first file appeared
    seconds: float  # CPU seconds of all processes
    wall: float  # Seconds
    work: float  # Seconds from the first file to the last one


def place_name(case: str) -> str:
    "How the words of other cases name the result of a case"
    return case.removeprefix('mfsr_').replace(', ', '_').replace(' ', '_')


def code_name() -> str:
    "A name for the state of the package and of the cases: other code makes other references"
    code = hashlib.sha256(repr(CASES).encode())
    for path in sorted((ROOT / 'mfsr_nb').rglob('*.py')):
        code.update(path.read_bytes())
    return code.hexdigest()[:10]


def environment_of_runs(folder: Path) -> dict[str, str]:
    "Variables for all runs: one thread, no bars, caches below the folder"
    env = dict(os.environ)
    # imports without their compiled form take three times as long
    env.pop('PYTHONDONTWRITEBYTECODE', None)
    env |= dict(PYTHONPATH=str(ROOT), PYTHONPYCACHEPREFIX=str(folder / 'bytecode'))
    env |= dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='passive', TQDM_DISABLE='1')
    return env | dict(MFSR_CACHE=str(folder / 'cache'), PYTHONUNBUFFERED='1')


class Lab:
    "A folder where commands are run and compared"

    def __init__(self, folder: Path, say: Callable[[str], None]):
        self.folder = folder / code_name()
        self.env = environment_of_runs(folder)
        self.say = say
        self.references = {}
        (self.folder / 'references').mkdir(parents=True, exist_ok=True)

    # ---- commands

    def words(self, case: str, dest: Path) -> list[str]:
        "The command line of a case"
        places = {place_name(name): ref.folder for name, ref in self.references.items()}
        text = CASES[case].words.format(dest=dest, bin=BIN, **places)
        first, *rest = shlex.split(text)
        return [str(BIN / first), *rest, '--plugin', str(PLUGIN)]

    def start(self, case: str, dest: Path, more: Sequence[str] = (), **env: str) -> Run:
        "Start the command of a case, with more words and variables"
        return Run([*self.words(case, dest), *more], self.env | env, self.folder)

    def limit(self, case: str) -> float:
        "Seconds after which a run counts as one that never ends"
        if case not in self.references:
            return 900.0
        return max(LEAST_LIMIT, PATIENCE * self.references[case].wall)

    def run(self, case: str, dest: Path, more: Sequence[str] = (), **env: str) -> Done:
        "Run the command of a case to its end"
        run = self.start(case, dest, more, **env)
        done = run.wait(self.limit(case))
        run.clean()
        return done

    # ---- places

    def fresh(self) -> Path:
        "A place where nothing is"
        dest = self.folder / 'dest'
        shutil.rmtree(dest, ignore_errors=True)
        dest.unlink(missing_ok=True) if dest.is_symlink() or dest.is_file() else None
        return dest

    def finished(self, case: str) -> Path:
        "A copy of the finished result"
        dest = self.fresh()
        shutil.copytree(self.references[case].folder, dest)
        return dest

    def short(self, text: str) -> str:
        "A message without the paths of this machine"
        for folder in (self.folder / 'dest', self.folder, self.folder.parent):
            text = text.replace(f'{folder}/', '').replace(str(folder), 'DEST')
        return text.replace(f'{ROOT}/', '').replace(f'{BIN}/', '')[:300]

    # ---- comparison

    def is_identical(self, case: str, dest: Path, done: Done) -> bool:
        "Did the command end well, with the result of the unbroken run?"
        if done.code != 0:
            self.say(f'    {case}: exit {done.code}: {self.short(done.line)}')
            return False
        other = compare.difference(self.references[case].content, compare.content(dest))
        if other:
            self.say(f'    {case}: {other} differs from the unbroken run')
        return not other

    def left_behind(self, case: str, dest: Path) -> int:
        "Number of files that the unbroken run does not have"
        found = set(compare.names(dest)) - set(self.references[case].names)
        for name in sorted(found)[:3]:
            self.say(f'    {case}: left behind: {name}')
        return len(found)

    # ---- unbroken runs

    def prepare(self, case: str) -> Reference:
        "The unbroken run of a case, and those of the cases that it reads"
        for name in CASES[case].needs:
            self.prepare(name)
        if case not in self.references:
            self.references[case] = self._stored(case) or self._measured(case)
        return self.references[case]

    def _about(self, case: str) -> Path:
        "Where a reference is described"
        return self.folder / 'references' / f'{place_name(case)}.json'

    def _stored(self, case: str) -> Reference | None:
        "The reference of an earlier start, if its files are still the same"
        about = self._about(case)
        if not about.is_file():
            return None
        reference = Reference(**json.loads(about.read_text()))
        same = compare.content(Path(reference.folder)) == reference.content
        return reference if same else None

    def _measured(self, case: str) -> Reference:
        "Run a case without any fault; ends with a message if that fails"
        self.say(f'  unbroken runs of {case}')
        # the first one compiles what it imports, and so tells nothing about the later ones
        self.run(case, self.fresh())
        dest = self.folder / place_name(case)
        shutil.rmtree(dest, ignore_errors=True)
        start = time.time()
        begin = 0.0
        seconds = 0.0
        first = 0.0
        run = self.start(case, dest)
        while run.is_alive():
            # an ended process uses none
            seconds = max(seconds, run.seconds())
            if not begin and dest.is_dir() and compare.files(dest):
                begin = seconds
                first = time.time()
            time.sleep(0.1)
        done = run.wait(self.limit(case))
        if done.code:
            sys.exit(f'{case}: the unbroken run failed: {done.err.strip()}')
        size = sum(path.stat().st_blocks * 512 for path in compare.files(dest))
        last = max(path.stat().st_mtime for path in compare.files(dest))
        times = dict(begin=begin, seconds=seconds, wall=round(time.time() - start, 1))
        times |= dict(work=max(0.0, last - first))
        found = dict(content=compare.content(dest), names=compare.names(dest), size=size)
        reference = Reference(str(dest), **found, **times)
        self._about(case).write_text(json.dumps(reference._asdict()))
        return reference
