"""Build the package, install it alone, and embed and mask faces with it.

The new environment gets the newest versions of the dependencies.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from configparser import ConfigParser
from email import message_from_bytes
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOT_SOURCE = (
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
)
REQUIRED = (
    'mfsr_nb/presets/mini.yaml',
    'mfsr_nb/weights/SHA256SUMS',
    'mfsr_nb/weights/photos-112-S/weights.safetensors',
    'mfsr_nb/weights/world-64-iamgan/model_card.md',
    'mfsr_nb/_modidx.py',
    'mfsr_nb/data/mean_head.csv',
    'mfsr_nb/world/faces.py',
)


def run(*command: str | Path, **options) -> None:
    "Run a command; if it fails, the program ends"
    words = [str(word) for word in command]
    result = subprocess.run(words, **options)
    if result.returncode:
        start = ' '.join(words[:4])
        sys.exit(
            f"wheel_check: '{start} ...' failed with {result.returncode}; its messages are above"
        )


def build_wheel(uv: Path, folder: Path) -> Path:
    "Build the wheel from a copy of the sources, by way of the source distribution"
    ignore = shutil.ignore_patterns(*NOT_SOURCE)
    tree = shutil.copytree(ROOT, folder / 'tree', ignore=ignore)
    run(uv, 'build', '--quiet', '--out-dir', folder / 'dist', tree)
    (wheel,) = (folder / 'dist').glob('*.whl')
    files = zipfile.ZipFile(wheel).namelist()
    for file in REQUIRED:
        if file not in files:
            sys.exit(f'wheel_check: the wheel lacks {file}; look at package_data in setup.py')
    return wheel


def check_extras(wheel: Path) -> None:
    "Every extra of settings.ini is one of the wheel"
    settings = ConfigParser(delimiters=['='], interpolation=None)
    settings.read(ROOT / 'settings.ini', encoding='utf-8')
    suffix = '_requirements'
    wanted = [key.removesuffix(suffix) for key in settings['DEFAULT'] if key.endswith(suffix)]
    with zipfile.ZipFile(wheel) as files:
        (name,) = [name for name in files.namelist() if name.endswith('.dist-info/METADATA')]
        about = message_from_bytes(files.read(name))
    missing = set(wanted) - set(about.get_all('Provides-Extra', []))
    if missing:
        sys.exit(f'wheel_check: the wheel lacks the extras {sorted(missing)}; look at setup.py')


def install(uv: Path, python: str, wheel: Path, environment: Path) -> Path:
    "Install the wheel in a new environment, and return its Python"
    run(uv, 'venv', '--quiet', '--python', python, environment)
    inside = environment / 'bin' / 'python'
    run(uv, 'pip', 'install', '--quiet', '--python', inside, wheel)
    return inside


def gigabytes(folders: list[Path]) -> float:
    "Size of the files in folders"
    files = chain.from_iterable(folder.rglob('*') for folder in folders)
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e9


def print_size(environment: Path) -> None:
    "What the environment takes on the disk, and how much of it is CUDA"
    cuda = [*environment.glob('lib/*/site-packages/nvidia')]
    cuda += environment.glob('lib/*/site-packages/triton')
    total = gigabytes([environment])
    own = gigabytes(cuda)
    print(f'the environment takes {total:.1f} GB, {own:.1f} GB of it for CUDA')


def mask_folder(python: Path, folder: Path) -> None:
    "Draw a few faces and mask them with the package's generator: nothing is trained"
    preset = folder / 'few.yaml'
    preset.write_text('base: smoke\nworld: {casia: {identities: 4, images: 2}}\n')
    scripts = python.parent
    world = ('drawn', '--preset', preset, '--parts', 'casia')
    run(python, '-I', scripts / 'mfsr_world', *world, cwd=folder)
    mask = ('drawn/casia', 'masked', '--method', 'iamgan')
    run(python, '-I', scripts / 'mfsr_mask', *mask, cwd=folder)


def main() -> None:
    "Build, install and use the package, and ask each command for its help"
    parser = argparse.ArgumentParser(description=__doc__)
    default = shutil.which('uv') or ROOT / '.uv' / 'bin' / 'uv'
    parser.add_argument('--uv', type=Path, default=default, help='the uv to use')
    parser.add_argument(
        '--python', default=sys.executable, help='the Python of the new environment'
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        wheel = build_wheel(options.uv, folder)
        check_extras(wheel)
        start = time.monotonic()
        python = install(options.uv, options.python, wheel, folder / 'env')
        print(f'{options.python}: installed in {time.monotonic() - start:.0f} s')
        print_size(folder / 'env')
        run(python, '-I', ROOT / 'tools' / 'wheel_use.py', ROOT, cwd=folder)
        mask_folder(python, folder)
        for command in sorted(python.parent.glob('mfsr*')):
            run(python, '-I', command, '--help', cwd=folder, stdout=subprocess.DEVNULL)


if __name__ == '__main__':
    main()
