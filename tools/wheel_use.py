"""Use the installed package: import every module, and embed a drawn face.

tools/wheel_check.py runs this file in an environment that has only the wheel.
"""

import importlib
import importlib.util
import pkgutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import fastai
import fastcore
import numpy as np
import torch

import mfsr_nb
from mfsr_nb.core import InputError
from mfsr_nb.engine.weights import save_weights
from mfsr_nb.export import export_onnx
from mfsr_nb.generators.samples import _summary_writer
from mfsr_nb.presets import load_preset, preset_names
from mfsr_nb.recognition.recognizer import Recognizer, embed_pixels
from mfsr_nb.study.executors import find_workers
from mfsr_nb.world.faces import FaceWorld


def import_all() -> list[str]:
    "Import every module of the package, and return their names without the package's"
    packages = pkgutil.walk_packages(mfsr_nb.__path__, 'mfsr_nb.')
    names = [info.name for info in packages if not info.name.rpartition('.')[2].startswith('_')]
    for name in names:
        importlib.import_module(name)
    return sorted(name.partition('.')[2] for name in names)


def embed_a_face() -> tuple[int, ...]:
    "Embed a masked face with an untrained recognizer, and return the shape"
    face = FaceWorld(seed=0, size=64).face(identity=3, view=7, mask='surgical')
    recognizer = Recognizer(n_ids=4, dim=128, size=64)
    embedding = embed_pixels(recognizer, torch.from_numpy(face.image)[None])
    if embedding.shape != (1, 128) or not np.isfinite(embedding).all():
        sys.exit(f'the embedding is not as it should be: {embedding.shape}')
    return embedding.shape


def refused_extras(folder: Path) -> list[str]:
    "What needs an extra that is not installed says so in one line; returns the extras"
    weights = folder / 'weights.safetensors'
    save_weights(Recognizer(n_ids=4, name='tiny', dim=16), weights, 'recognizer')
    calls = dict(
        onnx=partial(export_onnx, weights, folder / 'model.onnx'),
        timm=partial(Recognizer, 4, 'timm:resnet18'),
        tensorboard=partial(_summary_writer, folder),
        dask=partial(find_workers, 'dask://localhost:1'),
    )
    refused = []
    for name, call in calls.items():
        if importlib.util.find_spec(name) is not None:
            continue
        try:
            call()
            sys.exit(f'without the extra {name}: nothing was refused')
        except InputError as error:
            if f'pip install "mfsr_nb[{name}]"' not in str(error) or '\n' in str(error):
                sys.exit(f'without the extra {name}: {error}')
        refused.append(name)
    return refused


def main() -> None:
    "Check that this is the wheel and not the checkout, and use it"
    checkout = Path(sys.argv[1])
    if importlib.util.find_spec('nbdev') is not None:
        sys.exit('nbdev is installed, so this does not show that the library runs without it')
    if Path(mfsr_nb.__file__).is_relative_to(checkout):
        sys.exit('this is the checkout, not the wheel')
    modules = import_all()
    for name in preset_names():
        load_preset(name)
    shape = embed_a_face()
    with tempfile.TemporaryDirectory() as folder:
        refused = refused_extras(Path(folder))
    versions = dict(torch=torch, fastai=fastai, fastcore=fastcore)
    shown = [f'{name} {module.__version__}' for name, module in versions.items()]
    print(f'python {sys.version.split()[0]}, {", ".join(shown)}')
    print(f'mfsr_nb {mfsr_nb.__version__}: {len(modules)} modules import ({", ".join(modules)})')
    print(f'presets {", ".join(preset_names())}; a masked face embeds to {shape}')
    print(f'asked for, as they are not installed: {", ".join(refused)}')


if __name__ == '__main__':
    main()
