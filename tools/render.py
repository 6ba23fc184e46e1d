"Execute notebooks in a real kernel, honouring nbdev's flags, and save their outputs in place."

import argparse, os, re, sys, tempfile, time
from pathlib import Path
from common import ROOT, cleaned, directives, get_config, notebooks, write
from common import short_name as name
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

BAR = re.compile(
    r'\d+%\s*\||\d+(\.\d+)?\s*(it|s)/(s|it)|\[\d+:\d+<|IProgress not found|import tqdm as notebook_tqdm|^(\x1b\[\w)*\s*$'
)
NOTHING = re.compile(
    r'(<style.*?</style>|<progress.*?</progress>[^<]*|</?div>|\s)*', re.S
)  # what a finished bar leaves behind


class Flagged(NotebookClient):
    "A client that leaves cells alone, outputs included, where nbdev's flags say so"

    skip, cell = frozenset(), None

    def skipped(self, cell):
        d = directives(cell)
        return (
            cell.cell_type != 'code'
            or (d.get('eval:') or [''])[0].lower() == 'false'
            or self.skip & set(d)
            or 'nbdev_export(' in cell.source
        )

    async def async_execute_cell(self, cell, *args, **kwargs):
        if self.skipped(cell):
            return cell
        self.cell, cell.outputs = cell, []
        return await super().async_execute_cell(cell, *args, **kwargs)


def settle(text):
    "The lines of `text` as a terminal would show them in the end, without progress bars"
    lines = [o.rstrip('\r').split('\r')[-1] for o in text.split('\n')]
    return '\n'.join(o for o in lines if not o or not BAR.search(o))


def tidy(outputs):
    "Outputs without the litter of progress bars"
    for o in outputs:
        if o.output_type == 'stream':
            o.text = settle(o.text)

    def empty(o):
        if o.output_type == 'stream':
            return not o.text.strip()
        return o.output_type == 'display_data' and (
            not o.data
            or (
                set(o.data) <= {'text/html', 'text/plain'}
                and NOTHING.fullmatch(o.data.get('text/html', '-'))
            )
        )

    return [o for o in outputs if not empty(o)]


def places():
    "Folders of this machine that must not show in an output"
    project = ROOT.parent if ROOT.parent != Path('/') else ROOT
    return [
        str(p)
        for p in {project, ROOT, Path.home(), Path(tempfile.gettempdir()).resolve(), Path('/tmp')}
        if p != Path('/')
    ]


def machine_path(outputs):
    "The first path of this machine that a text output holds"
    pat = re.compile(r'(?<![\w.-])(?:' + '|'.join(map(re.escape, places())) + r')/[^\s"\'<>,)\]]*')
    for o in outputs:
        for text in [o.get('text', '')] + [
            v
            for k, v in o.get('data', {}).items()
            if isinstance(v, str) and (k.startswith('text') or 'svg' in k)
        ]:
            if m := pat.search(text):
                return m[0]


def faults(cells):
    "What must not be committed: stderr and paths of this machine"
    for c in cells:
        for o in c.outputs:
            if o.output_type == 'stream' and o.name == 'stderr':
                yield f'cell {c.id} wrote to stderr: {o.text.strip().splitlines()[-1]!r}; silence the cause, or catch the warning in the cell'
        if p := machine_path(c.outputs):
            yield f'cell {c.id} shows {p}, a path of this machine; print names or relative paths'


def run(path, flags, timeout):
    "Execute the notebook at `path`; returns its text with the new outputs"
    nb = nbformat.reads(path.read_text(encoding='utf-8'), 4)
    client = Flagged(
        nb,
        extra_arguments=['--IPKernelApp.log_level=40'],
        timeout=timeout,
        kernel_name='python3',
        coalesce_streams=True,
        shutdown_kernel='immediate',
        resources={'metadata': {'path': str(path.parent)}},
    )
    client.skip = set(get_config().tst_flags.split()) - set(flags)
    try:
        client.execute()
    except CellExecutionError as e:
        raise RuntimeError(
            f'cell {client.cell.id} failed: '
            + re.sub(r'\x1b\[[\d;]*m', '', str(e)).partition('\n')[2].strip()
        )
    except CellTimeoutError:
        raise RuntimeError(
            f'cell {client.cell.id} took longer than {timeout} s; give it less to do, or give --timeout'
        )
    except DeadKernelError:
        raise RuntimeError(f'cell {client.cell.id}: the kernel died (out of memory?)')
    ran = [c for c in nb.cells if not client.skipped(c)]
    for c in ran:
        c.outputs = tidy(c.outputs)
    if bad := list(faults(ran)):
        raise RuntimeError('\n'.join(bad))
    return cleaned(nbformat.writes(nb))


def render(path, flags=('notest',), timeout=1800):
    "Execute one notebook and save it, unless something is wrong; returns what happened"
    t, before = time.time(), path.read_bytes()
    text = run(path, flags, timeout)
    if path.read_bytes() != before:
        raise RuntimeError('was edited while it ran: run it again')
    state = 'saved' if write(path, text) else 'unchanged'
    return f'{state}, {time.time() - t:.1f} s'


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('nbs', nargs='*', metavar='NB', help='notebooks (default: all, in order)')
    p.add_argument(
        '--flags',
        default='notest',
        help='flags of tst_flags whose cells run too (default: notest, whose outputs are part of the page); cells with other flags keep the outputs they have',
    )
    p.add_argument('--timeout', type=int, default=1800, help='seconds for one cell (default: 1800)')
    a = p.parse_args()
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
    os.environ['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    os.environ['JUPYTER_PREFER_ENV_PATH'] = '1'  # this environment's kernel, not one of the user's
    failed = 0
    with tempfile.TemporaryDirectory() as d:
        os.environ['IPYTHONDIR'] = d  # nobody's profile
        for path in notebooks(a.nbs):
            print(f'{name(path)}: ', end='', flush=True)
            try:
                print(render(path, a.flags.split(), a.timeout), flush=True)
            except Exception as e:
                failed += 1
                print(f'FAILED, not saved\n{e}', flush=True)
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
