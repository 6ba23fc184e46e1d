"""The lists of photographs that real_recipe.py and real_rows.py take, by the rules of page 07b.

mfsr_align LFW lfw --for dlib; mfsr_align RMFRD rmfrd --for dlib
python tools/real_lists.py lfw rmfrd
"""

import argparse
import hashlib
import sys
from pathlib import Path

import pandas as pd

from mfsr_nb.command import exit_code
from mfsr_nb.core import FULL
from mfsr_nb.data.dataset import read
from mfsr_nb.engine.files import atomic_write

# photographs of each person to train with
MOST = 6


def write_list(table: pd.DataFrame, folder: Path, name: str) -> None:
    "A list that `read` knows, with paths from its folder"
    paths = [Path(path).resolve().relative_to(folder.resolve()) for path in table.path]
    domains = ['full' if domain == FULL else 'masked' for domain in table.domain]
    listed = pd.DataFrame(dict(path=paths, identity=table.identity, domain=domains))
    with atomic_write(folder / name) as temporary:
        listed.sort_values('path').to_csv(temporary, index=False)
    print(f'{folder / name}: {len(listed)} images of {listed.identity.nunique()} people')


def development_people(table: pd.DataFrame) -> set[str]:
    "The first half of the people, in the order of the SHA-256 of their names"
    people = sorted(set(table.identity), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return set(people[: len(people) // 2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('lfw', type=Path, help='aligned faces to train with')
    parser.add_argument('rmfrd', type=Path, help='aligned faces of people with real masks')
    given = parser.parse_args()
    faces = read(given.lfw).sort_values('path')
    write_list(faces.groupby('identity').head(MOST), given.lfw, 'six.csv')
    people = read(given.rmfrd)
    is_development = people.identity.isin(development_people(people))
    write_list(people[is_development], given.rmfrd, 'development.csv')
    write_list(people[~is_development], given.rmfrd, 'untouched.csv')


if __name__ == '__main__':
    sys.exit(exit_code('real_lists', main))
