"What the tools share: the project's folder, its notebooks, and nbdev's idea of a clean notebook."

import json
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

START = Path.cwd()
SETTINGS = 'settings.ini'


def project_root() -> Path:
    "The nearest folder upwards that has nbdev's settings, or the one that these tools belong to"
    for folder in (START, *START.parents):
        if (folder / SETTINGS).is_file():
            return folder
    return Path(__file__).resolve().parent.parent


# nbdev looks for its settings from the current folder upwards
ROOT = project_root()
os.chdir(ROOT)

from execnb.nbio import nb2str
from nbdev.clean import clean_nb
from nbdev.config import get_config
from nbdev.process import extract_directives

NBS = get_config().nbs_path
# Pages are read in this order; within a folder they are read by file name.
FOLDERS = ('', 'paper', 'results', 'library', 'howto')


def reading_order(path: Path) -> tuple[int, str]:
    "Sort key of a notebook: its folder's place, then its path"
    inside = path.relative_to(NBS)
    folder = '' if len(inside.parts) == 1 else inside.parts[0]
    place = FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS)
    return place, inside.as_posix()


def is_hidden(path: Path) -> bool:
    "Whether the path has a part such as `.ipynb_checkpoints` or `_proc`"
    return any(part[0] in '._' for part in path.parts)


def notebooks(names: list[str] | tuple[str, ...] = ()) -> list[Path]:
    "The notebooks in `names`, or all of them in reading order"
    if not names:
        found = (path for path in NBS.rglob('*.ipynb') if not is_hidden(path.relative_to(NBS)))
        return sorted(found, key=reading_order)
    paths = [(START / name).resolve() for name in names]
    for name, path in zip(names, paths):
        if not path.is_file():
            sys.exit(f'{name}: no such notebook')
    return paths


def short_name(path: Path) -> str:
    "`path` relative to the project where it lies inside"
    path = Path(path)
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def source(cell: dict) -> str:
    "The text of a cell"
    return ''.join(cell['source'])


def directives(cell: dict) -> dict[str, list[str]]:
    "nbdev's directives of a code cell: name and arguments"
    if cell['cell_type'] != 'code':
        return {}
    return extract_directives(SimpleNamespace(source=source(cell)), remove=False)


def cleaned(text: str) -> str:
    "The text of a notebook as `nbdev_clean` would write it"
    notebook = json.loads(text)
    config = get_config()
    clean_nb(
        notebook,
        config.clear_all,
        config.allowed_metadata_keys.split(),
        config.allowed_cell_metadata_keys.split(),
        clean_ids=config.clean_ids,
    )
    return nb2str(notebook)


def write(path: Path, content: str | bytes) -> bool:
    "Write a file in one step, so that no reader sees half of it; True if it changed"
    path = Path(path)
    data = content if isinstance(content, bytes) else content.encode()
    if path.exists() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    descriptor, temporary = tempfile.mkstemp(prefix=f'.{path.name}.', dir=path.parent)
    try:
        with os.fdopen(descriptor, 'wb') as file:
            file.write(data)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return True
