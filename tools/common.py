"What the tools share: where the project is, which notebooks it has, and nbdev's idea of a clean notebook."

import io, json, multiprocessing, os, sys, tempfile, time
from contextlib import redirect_stderr
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
START = Path.cwd()
os.chdir(ROOT)  # nbdev looks for settings.ini from here upwards
from execnb.nbio import nb2str
from nbdev.clean import clean_nb
from nbdev.config import get_config
from nbdev.process import extract_directives


def notebooks(names=()):
    "The notebooks in `names`, or all of them in reading order"
    if not names:
        nbs = get_config().nbs_path
        return sorted(
            p
            for p in nbs.rglob('*.ipynb')
            if not any(o[0] in '._' for o in p.relative_to(nbs).parts)
        )
    found = [START / n for n in names]
    if missing := [n for n, p in zip(names, found) if not p.is_file()]:
        sys.exit(f'{missing[0]}: no such notebook')
    return [p.resolve() for p in found]


def name(path):
    "`path` as people write it: relative to the project where it lies inside"
    path = Path(path)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def source(cell):
    return ''.join(cell['source'])


def directives(cell):
    "nbdev's directives of a code cell, as a dict of name to arguments"
    return (
        extract_directives(SimpleNamespace(source=source(cell)), remove=False)
        if cell['cell_type'] == 'code'
        else {}
    )


def cleaned(text):
    "The text of a notebook as `nbdev_clean` would write it"
    nb, cfg = json.loads(text), get_config()
    clean_nb(
        nb,
        cfg.clear_all,
        cfg.allowed_metadata_keys.split(),
        cfg.allowed_cell_metadata_keys.split(),
        cfg.clean_ids,
    )
    return nb2str(nb)


def write(path, text):
    "Write `text` to `path` so that a reader sees the old file or the new one, never half of it; True if it changed"
    path, data = Path(path), text if isinstance(text, bytes) else text.encode()
    if path.exists() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, tmp = tempfile.mkstemp(prefix=f'.{path.name}.', dir=path.parent)
    try:
        with os.fdopen(fd, 'wb') as f:
            f.write(data)
        os.chmod(tmp, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(tmp, path)
    except BaseException:
        Path(tmp).unlink(missing_ok=True)
        raise
    return True


def forget_spawn():
    "Data loaders in this process start their workers the platform's own way, as they do under nbdev_test"
    multiprocessing.set_start_method(None, force=True)


def test(path, flags):
    "One notebook by nbdev's test function: (verdict, seconds, what it wrote to stderr); here, as IPython takes the name `__main__` for itself"
    from nbdev.test import test_nb

    t, err = time.time(), io.StringIO()
    with redirect_stderr(err):
        passed, ran = test_nb(
            Path(path), skip_flags=get_config().tst_flags.split(), force_flags=flags, basepath=ROOT
        )
    return (
        ('skip' if passed and not ran else 'ok' if passed else 'FAIL'),
        time.time() - t,
        err.getvalue(),
    )
