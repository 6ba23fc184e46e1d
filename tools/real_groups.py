"""How a network of photographs treats groups of drawn faces: results/real_groups.json.

The face world draws the same people with one trait set by hand: the tone of the skin, or the age.
Groups of a trait differ in nothing else, so that their differences are paired by person.

    python tools/real_groups.py [--weights NAME=FILE ...]
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mfsr_nb.command import exit_code
from mfsr_nb.core import FULL, MASKED
from mfsr_nb.data.align import align
from mfsr_nb.engine.files import atomic_write
from mfsr_nb.protocol.metrics import retrieval
from mfsr_nb.recognition.pretrained import open_recognizer
from mfsr_nb.recognition.recognizer import Recognizer, embed_pixels, load_recognizer
from mfsr_nb.world.faces import FaceWorld

RESULTS = Path(__file__).parent.parent / 'results' / 'real_groups.json'
# trait of the world -> its groups, with the value of each; 0 and 1 are the ends of the world
GROUPS = dict(
    tone=dict(light=0.1, middle=0.45, dark=0.85),
    age=dict(young=0.1, middle=0.5, old=0.95),
)
SEED = 25
PEOPLE = 150
SIZE = 176
# photographs of each person: two without a mask, one with
VIEWS = (FULL, FULL, MASKED)
# share of all impostor pairs of a trait that are accepted
FAR = 0.01


class Drawn(NamedTuple):
    "A group's photographs, person by person"

    pixels: Tensor  # uint8 (n, S, S, 3)
    identity: np.ndarray  # int (n,)
    domain: np.ndarray  # int (n,)


def draw_group(size: int, **change: float) -> Drawn:
    "The people with a trait set by hand, in the crops of dlib"
    identity = np.repeat(np.arange(PEOPLE), len(VIEWS))
    view = np.tile(np.arange(len(VIEWS)), PEOPLE)
    domain = np.tile(VIEWS, PEOPLE)
    world = FaceWorld(SEED, SIZE)
    masks = []
    for person, kind in zip(identity, domain):
        masks.append(world.masks[person % len(world.masks)] if kind == MASKED else None)
    faces = world.faces(identity, view, masks, **change)
    crops = []
    for image, points in zip(faces.image, faces.landmarks):
        crop, _ = align(Image.fromarray(image), points, size, repeat=True, template='dlib')
        crops.append(np.asarray(crop))
    return Drawn(torch.from_numpy(np.stack(crops)), identity, domain)


class Scores(NamedTuple):
    "Similarities of a group's probes of one domain to its full faces"

    values: np.ndarray  # (p, g)
    same: np.ndarray  # bool (p, g)
    other: np.ndarray  # bool (p, g): of somebody else
    person: np.ndarray  # int (p,)
    first: np.ndarray  # (p,) rank of the first correct one


def scores_of(phi: np.ndarray, group: Drawn, domain: int) -> Scores:
    "A group's searches"
    phi = phi / np.linalg.norm(phi, axis=1, keepdims=True)
    probe = np.flatnonzero(group.domain == domain)
    full = np.flatnonzero(group.domain == FULL)
    values = phi[probe] @ phi[full].T
    is_person = group.identity[probe][:, None] == group.identity[full]
    itself = probe[:, None] == full
    if domain == FULL:
        found = retrieval(phi[full], group.identity[full])
    else:
        found = retrieval(phi[probe], group.identity[probe], phi[full], group.identity[full])
    same = is_person & ~itself
    return Scores(values, same, ~is_person, group.identity[probe], found.first)


def by_person(values: np.ndarray, person: np.ndarray) -> list[float]:
    "Mean of a value of each probe, person by person"
    means = np.bincount(person, values) / np.bincount(person)
    return [round(float(mean), 4) for mean in means]


def rates(scores: Scores, threshold: float) -> dict[str, list[float]]:
    "What a record keeps of a group, for each person"
    accepted = scores.values >= threshold
    right = (accepted & scores.same).sum(1) / scores.same.sum(1)
    wrong = (accepted & scores.other).sum(1) / scores.other.sum(1)
    found = dict(rank1=scores.first <= 1, tar=right, far=wrong)
    return {name: by_person(values, scores.person) for name, values in found.items()}


def measured(title: str, network: Recognizer, trait: str, groups: dict[str, Drawn]) -> Iterator:
    "A record for each group of a trait and each kind of probe"
    phi = {name: embed_pixels(network, group.pixels, 'sum') for name, group in groups.items()}
    for domain, probes in ((MASKED, 'masked'), (FULL, 'full')):
        scores = {name: scores_of(phi[name], group, domain) for name, group in groups.items()}
        impostors = np.concatenate([of.values[of.other] for of in scores.values()])
        # one threshold for all groups, as in use
        threshold = float(np.quantile(impostors, 1 - FAR))
        for name, of in scores.items():
            about = dict(network=title, trait=trait, group=name, probes=probes)
            about |= dict(value=GROUPS[trait][name], people=PEOPLE, far=FAR)
            yield about | dict(threshold=round(threshold, 4), by_person=rates(of, threshold))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--weights', nargs='*', default=[], help='more networks, as NAME=FILE')
    given = parser.parse_args()
    torch.set_num_threads(1)
    networks = dict(untouched=open_recognizer('dlib'))
    for words in given.weights:
        name, _, file = words.partition('=')
        networks[name] = load_recognizer(file)
    size = networks['untouched'].config['size']
    records = []
    for trait, values in GROUPS.items():
        groups = {}
        for name, value in values.items():
            groups[name] = draw_group(size, **{trait: value})
            print(f'{trait} {name}: drawn', flush=True)
        for title, network in networks.items():
            records += measured(title, network, trait, groups)
    with atomic_write(RESULTS) as file:
        file.write_text(json.dumps(records) + '\n', encoding='utf-8')


if __name__ == '__main__':
    sys.exit(exit_code('real_groups', main))
