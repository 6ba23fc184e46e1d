"""Open, sample and stream a RecordIO data set of millions of images, and watch the memory.

Writes results/stream.json. `--before` measures an older checkout in the same run too.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from common import ROOT, write

IDENTITIES = 93_431
STEPS = 10_000
EVERY = 250

MEASURE = """
import json
import sys
import time
from pathlib import Path

import numpy as np

from mfsr_nb.data.dataset import read
from mfsr_nb.data.loading import IdentityBatches, Streamed

folder, steps, every = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def megabytes(name):
    status = Path('/proc/self/status').read_text()
    return int(status.partition(name + ':')[2].split()[0]) / 1024


imported = megabytes('RssAnon')
start = time.process_time()
table = read(folder)
opened = time.process_time()
ids = table.identity.astype(int).to_numpy()
batches = IdentityBatches(ids, table.domain.to_numpy(), 32, (6, 0))
streamed = Streamed(table.path, 8)
built = time.process_time()
held = megabytes('RssAnon')
memory = []
for step in range(steps + 1):
    if step % every == 0:
        memory.append([step, megabytes('RssAnon')])
    rows = batches[step]
    if step % 50 == 0:
        assert streamed[rows].shape == (192, 8, 8, 3)
sampled = time.process_time()
print(json.dumps(dict(
    images=len(table), open_seconds=opened - start, build_seconds=built - opened,
    step_seconds=sampled - built, imported=imported, held=held, peak=megabytes('VmHWM'),
    memory=memory,
)))
"""


def framed(head: np.ndarray, data: bytes) -> bytes:
    "Records of one size: `head` (n, 6 or 8) words behind the frame, and the same data in each"
    length = 4 * head.shape[1] + len(data)
    tail = np.frombuffer(data + bytes(-length % 4), '<u4')
    frame = np.array([0xCED7230A, length], '<u4')
    parts = [np.broadcast_to(part, (len(head), len(part))) for part in (frame, tail)]
    return np.concatenate([parts[0], head, parts[1]], axis=1).astype('<u4').tobytes()


def words(*columns: np.ndarray) -> np.ndarray:
    "Columns of numbers as words; floats by their bits"
    return np.stack([column.view('<u4') for column in columns], axis=1)


def write_records(folder: Path, images: int) -> None:
    "A data set in the dialect of InsightFace: one small image again and again"
    file = io.BytesIO()
    Image.new('RGB', (8, 8), (200, 150, 120)).save(file, 'PNG')
    keys = np.arange(1, images + 1, dtype='<u4')
    starts = np.arange(IDENTITIES + 1) * images // IDENTITIES
    labels = np.repeat(np.arange(IDENTITIES), np.diff(starts)).astype('<f4')
    nothing = np.zeros_like(keys)
    two = np.full(IDENTITIES + 1, 2, '<u4')
    image_part = framed(words(nothing, labels, keys, nothing, nothing, nothing), file.getvalue())
    first = np.append(images + 1, starts[:-1] + 1).astype('<f4')
    last = np.append(images + 1 + IDENTITIES, starts[1:] + 1).astype('<f4')
    own = np.append(0, images + 1 + np.arange(IDENTITIES)).astype('<u4')
    zero = np.zeros_like(own)
    head_part = framed(words(two, zero.view('<f4'), own, zero, zero, zero, first, last), b'')
    (folder / 'train.rec').write_bytes(image_part + head_part)
    places = np.arange(images) * (len(image_part) // images)
    more = len(image_part) + np.arange(len(own)) * (len(head_part) // len(own))
    lines = zip(np.append(keys, own).tolist(), np.append(places, more).tolist())
    (folder / 'train.idx').write_text(''.join(f'{key}\t{place}\n' for key, place in lines))


def measured(code: str, checkout: Path, folder: str) -> dict:
    "What a process finds that imports the package from a checkout"
    command = [sys.executable, '-c', MEASURE, folder, str(STEPS), str(EVERY)]
    env = dict(os.environ, PYTHONPATH=str(checkout), TQDM_DISABLE='1')
    result = subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder)
    if result.returncode:
        sys.exit(f'{code}: {result.stderr.strip().splitlines()[-1]}')
    row = dict(code=code, **json.loads(result.stdout))
    print({name: value for name, value in row.items() if name != 'memory'}, flush=True)
    return row


def save(rows: list[dict]) -> None:
    "Write results/stream.json"
    from mfsr_nb.core import code_version, environment

    result = dict(environment=environment(), **code_version())
    result |= dict(identities=IDENTITIES, steps=STEPS, rows=rows)
    write(ROOT / 'results' / 'stream.json', json.dumps(result, indent=1) + '\n')


def main() -> None:
    "Measure, with the result written after each process"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--images', type=int, nargs='+', default=[3_300_000])
    parser.add_argument('--before', type=Path, help='checkout of an older version')
    options = parser.parse_args()
    rows = []
    for images in options.images:
        with tempfile.TemporaryDirectory() as folder:
            write_records(Path(folder), images)
            rows.append(measured('now', ROOT, folder))
            save(rows)
            if options.before:
                rows.append(measured('before', options.before.resolve(), folder))
                save(rows)


if __name__ == '__main__':
    main()
