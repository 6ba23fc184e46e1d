"""Measure speed and memory, each against a tool in common use, in the same run.

The result is a table; a full run also writes results/bench.json.
"""

import argparse
import json
import os
import sys

THREADS = 2
# numpy and torch read these when they are imported
os.environ.update(
    OMP_NUM_THREADS=str(THREADS),
    MKL_NUM_THREADS=str(THREADS),
    OPENBLAS_NUM_THREADS=str(THREADS),
    OMP_WAIT_POLICY='passive',
    TQDM_DISABLE='1',
)

import numpy as np

import bench_data as data
import bench_startup as commands
import bench_training as training
from common import ROOT, write

HEAD = ('what', 'ours', 'against', 'theirs', 'ratio (min to max)', 'note')
BENCHES = dict(
    startup=commands.startup,
    world=data.world,
    decoding=data.decoding,
    recordio=data.recordio,
    lists=data.lists,
    loading=data.loading,
    mtcnn=data.mtcnn,
    masking=data.masking,
    translating=data.translating,
    unet=training.unet,
    gan=training.gan,
    editing=training.editing,
    card=training.card,
    protocol=training.protocol,
    memory=training.memory,
    intervals=training.intervals,
    gallery=training.gallery,
    recognizer=training.recognizer,
    losses=training.losses,
    dcr=training.dcr,
    batches=training.batches,
    diagnostics=training.diagnostics,
    partial=training.partial_faces,
)


def number(x: float) -> str:
    "A speed for the table"
    return f'{x:,.0f}' if x >= 10 else f'{x:.2f}'


def table_line(row: dict) -> str:
    "A row in Markdown"
    spread = ''
    if 'pairs' in row:
        spread = f' ({row["ratio_min"]:.2f} to {row["ratio_max"]:.2f})'
    cells = [
        row['what'],
        f'{number(row["ours"])} {row["unit"]}',
        row['against'],
        f'{number(row["theirs"])} {row["unit"]}',
        f'{row["ratio"]:.2f}{spread}',
        row['note'],
    ]
    return '| ' + ' | '.join(cells) + ' |'


def rounded(row: dict) -> dict:
    "A row with numbers of four digits behind the point"
    result = dict(row)
    for name, value in row.items():
        if isinstance(value, (float, np.floating)):
            result[name] = round(float(value), 4)
    return result


def measure(names: list[str]) -> list[dict]:
    "Run benchmarks and print their rows"
    rows = []
    print('| ' + ' | '.join(HEAD) + ' |\n|' + ' --- |' * len(HEAD), flush=True)
    for name in names:
        for row in BENCHES[name]():
            rows.append(rounded(row))
            print(table_line(rows[-1]), flush=True)
    return rows


def arguments() -> argparse.Namespace:
    "The command line; ends with a message on an unknown name"
    parser = argparse.ArgumentParser(description=__doc__)
    known = ', '.join(BENCHES)
    parser.add_argument(
        'names',
        nargs='*',
        metavar='NAME',
        help=f'of: {known} (default: all; only a full run writes the file)',
    )
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHES):
        sys.exit(f'{min(unknown)}: no such benchmark; choose from {known}')
    return options


def main() -> None:
    "Measure, and write results/bench.json if everything was measured"
    options = arguments()
    import torch

    from mfsr_nb.core import code_version, environment

    torch.set_num_threads(THREADS)
    rows = measure(options.names or list(BENCHES))
    if not options.names:
        result = dict(environment=environment(), **code_version(), rows=rows)
        write(ROOT / 'results' / 'bench.json', json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    main()
