"""Where the networks of `photos-pretrained` look on real masks: a record for each seed.

python tools/real_attention.py --train lfw/six.csv --test rmfrd/untouched.csv --dest STUDY
"""

import argparse
import sys
from collections.abc import Mapping

import numpy as np
import torch

from mfsr_nb.command import exit_code
from mfsr_nb.engine.released import SEGMENTATION, find_released
from mfsr_nb.masks.unet_network import load_unet
from mfsr_nb.recognition.attention import attention_record, write_attention
from mfsr_nb.recognition.explain import activation, probe_rows, references, search_gallery
from mfsr_nb.recognition.pretrained import open_recognizer
from mfsr_nb.recognition.recognizer import Recognizer, load_recognizer
from mfsr_nb.study.reproduce import seed_list
from mfsr_nb.study.study import Study
from real_rows import PRESET, RESULTS, renamed_rows

MODELS = ('Softmax', 'Softmax+KP-SYN', 'DCR+KP-SYN')
# cells a side of the mean maps that are kept
CELLS = 30


def models_of(study: Study, seed: int) -> dict[str, Recognizer]:
    "The networks of a seed that are compared"
    models = dict(untouched=open_recognizer('dlib'))
    for row in renamed_rows():
        if row.name in MODELS:
            folder = study.name(row, seed, study.training_table(row, seed)).folder
            file = study.dest / 'train' / folder / 'weights.safetensors'
            models[row.name] = load_recognizer(file)
    return models


def mean_maps(study: Study, models: Mapping[str, Recognizer]) -> dict[str, list]:
    "The mean activation map of the aligned probes, for each network, per mille of its sum"
    table, pixels, _ = study.test_set()
    probes = probe_rows(table)
    found = {}
    for name, model in models.items():
        search = search_gallery(model, table, pixels, 1, 'sum')
        maps = activation(model, pixels[probes], references(search, table, 'own'))
        mean = torch.from_numpy(maps).mean(0)[None]
        cells = torch.nn.functional.adaptive_avg_pool2d(mean, CELLS)[0]
        found[name] = np.round(1000 * (cells / cells.sum()).numpy(), 3).tolist()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ('train', 'test', 'dest'):
        parser.add_argument(f'--{name}', required=True)
    parser.add_argument('--seeds', default='5', help='as for mfsr_reproduce')
    given = parser.parse_args()
    torch.set_num_threads(1)
    train = dict(casia=given.train)
    study = Study(PRESET, given.dest, train=train, test=given.test, kind='photos')
    test = study.test_set()
    segmenter = load_unet(find_released(SEGMENTATION))
    for number, seed in enumerate(seed_list(given.seeds)):
        models = models_of(study, seed)
        facts = dict(preset=PRESET, kind=study.kind, seed=seed, **study.code)
        if number == 0:
            facts['mean_maps'] = mean_maps(study, models)
        how = dict(methods=('hirescam',), flip='sum')
        record = attention_record(models, test.table, test.pixels, segmenter, **how, **facts)
        write_attention(record, RESULTS / 'attention' / f'photos-{PRESET}-{seed}.json')
        print(f'seed {seed}: done', flush=True)


if __name__ == '__main__':
    sys.exit(exit_code('real_attention', main))
