"Build the package, install it where nothing else is, with the newest dependencies there are, and embed a face with it."

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USE = """
import importlib, importlib.util, pkgutil, sys
import mfsr_nb
assert importlib.util.find_spec('nbdev') is None, 'nbdev is installed, so this shows nothing'
assert not mfsr_nb.__file__.startswith(sys.argv[1]), 'this is the checkout, not the wheel'
mods = sorted(m.name for m in pkgutil.iter_modules(mfsr_nb.__path__) if m.name[0] != '_')
for m in mods: importlib.import_module('mfsr_nb.'+m)
import fastai, fastcore, numpy, torch
from mfsr_nb.core import load_preset, preset_names
for p in preset_names(): load_preset(p)
from mfsr_nb.recognition.recognizer import Recognizer, embed_pixels
from mfsr_nb.world.faces import FaceWorld
face = FaceWorld(seed=0, size=64).face(identity=3, view=7, mask='surgical')
phi = embed_pixels(Recognizer(n_ids=4, dim=128, size=64), torch.from_numpy(face.image)[None])
assert phi.shape == (1, 128) and numpy.isfinite(phi).all(), phi.shape
print(f'python {sys.version.split()[0]}, torch {torch.__version__}, fastai {fastai.__version__}, fastcore {fastcore.__version__}')
print(f"mfsr_nb {mfsr_nb.__version__}: {len(mods)} modules import ({', '.join(mods)}); presets {', '.join(preset_names())}; a masked face embeds to {phi.shape}")
"""
MUST = ['mfsr_nb/presets/mini.yaml', 'mfsr_nb/_modidx.py']


def sh(*cmd, **kw):
    r = subprocess.run([str(o) for o in cmd], **kw)
    if r.returncode:
        sys.exit(
            f"wheel_check: '{' '.join(str(o) for o in cmd[:4])} ...' failed with {r.returncode}; its messages are above"
        )


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument(
        '--uv', default=shutil.which('uv') or ROOT / '.uv' / 'bin' / 'uv', help='the uv to use'
    )
    p.add_argument('--python', default=sys.executable, help='the Python of the new environment')
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        tree = shutil.copytree(
            ROOT,
            d / 'tree',
            ignore=shutil.ignore_patterns(
                '.git',
                '.venv',
                '.uv',
                '_docs',
                '_proc',
                'runs',
                'build',
                'dist',
                '*.egg-info',
                '__pycache__',
            ),
        )
        sh(
            a.uv, 'build', '--quiet', '--out-dir', d / 'dist', tree
        )  # the wheel is made from the sdist
        (wheel,) = (d / 'dist').glob('*.whl')
        inside = zipfile.ZipFile(wheel).namelist()
        if lost := [o for o in MUST if o not in inside]:
            sys.exit(f'wheel_check: the wheel lacks {lost[0]}; look at package_data in setup.py')
        sh(a.uv, 'venv', '--quiet', '--python', a.python, d / 'env')
        python = d / 'env' / 'bin' / 'python'
        sh(a.uv, 'pip', 'install', '--quiet', '--python', python, wheel)
        sh(python, '-I', '-c', USE, ROOT, cwd=d)
        for o in sorted(python.parent.glob('mfsr_*')):
            sh(python, '-I', o, '--help', cwd=d, stdout=subprocess.DEVNULL)


if __name__ == '__main__':
    main()
