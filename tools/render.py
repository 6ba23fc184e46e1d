"Execute notebooks in a real kernel, with nbdev's flags obeyed, and save their outputs in place."

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from common import ROOT, cleaned, directives, get_config, notebooks, short_name, write

# what progress bars write
BAR = re.compile(
    r'\d+%\s*\|'
    r'|\d+(\.\d+)?\s*(it|s)/(s|it)'
    r'|\[\d+:\d+<'
    r'|IProgress not found'
    r'|import tqdm as notebook_tqdm'
    r'|^(\x1b\[\w)*\s*$'
)
# what a finished bar leaves behind
EMPTY_HTML = re.compile(r'(<style.*?</style>|<progress.*?</progress>[^<]*|</?div>|\s)*', re.DOTALL)
COLOR = re.compile(r'\x1b\[[\d;]*m')


class FlaggedClient(NotebookClient):
    "A client that leaves cells and their outputs alone where nbdev's flags say so"

    skip_flags = frozenset()
    cell = None

    def skipped(self, cell: NotebookNode) -> bool:
        "Whether the cell is not executed"
        if cell.cell_type != 'code' or 'nbdev_export(' in cell.source:
            return True
        flags = directives(cell)
        not_evaluated = 'eval:' in flags and flags['eval:'][0].lower() == 'false'
        return not_evaluated or bool(self.skip_flags & set(flags))

    async def async_execute_cell(self, cell: NotebookNode, *args, **kwargs) -> NotebookNode:
        "Execute a cell from empty outputs, and remember it for messages"
        if self.skipped(cell):
            return cell
        self.cell = cell
        cell.outputs = []
        return await super().async_execute_cell(cell, *args, **kwargs)


def settled(text: str) -> str:
    "The lines of `text` as a terminal would show them in the end, without progress bars"
    lines = [line.rstrip('\r').split('\r')[-1] for line in text.split('\n')]
    return '\n'.join(line for line in lines if not line or not BAR.search(line))


def is_empty(output: NotebookNode) -> bool:
    "Whether a settled output shows nothing"
    if output.output_type == 'stream':
        return not output.text.strip()
    if output.output_type != 'display_data' or not output.data:
        return output.output_type == 'display_data'
    only_html = set(output.data) <= {'text/html', 'text/plain'}
    return only_html and bool(EMPTY_HTML.fullmatch(output.data.get('text/html', '-')))


def is_silent(cell: NotebookNode) -> bool:
    "Whether nothing of a cell is shown: `#| output: false`, for tests that train"
    flags = directives(cell)
    return 'output:' in flags and flags['output:'][0].lower() == 'false'


def tidied(outputs: list[NotebookNode]) -> list[NotebookNode]:
    "Outputs without what progress bars leave behind"
    for output in outputs:
        if output.output_type == 'stream':
            output.text = settled(output.text)
    return [output for output in outputs if not is_empty(output)]


def private_folders() -> list[str]:
    "Folders of this machine that must not show in an output"
    project = ROOT.parent if ROOT.parent != Path('/') else ROOT
    temporary = Path(tempfile.gettempdir()).resolve()
    folders = {project, ROOT, Path.home(), temporary, Path('/tmp')}
    return [str(folder) for folder in folders if folder != Path('/')]


def output_texts(output: dict) -> Iterator[str]:
    "The parts of an output that are text, SVG included"
    yield output.get('text', '')
    for kind, value in output.get('data', {}).items():
        if isinstance(value, str) and (kind.startswith('text') or 'svg' in kind):
            yield value


def machine_path(outputs: list[dict]) -> str | None:
    "The first path of this machine that an output shows"
    folders = '|'.join(re.escape(folder) for folder in private_folders())
    pattern = re.compile(rf'(?<![\w.-])(?:{folders})/[^\s"\'<>,)\]]*')
    for output in outputs:
        for text in output_texts(output):
            if found := pattern.search(text):
                return found[0]
    return None


def faults(cells: list[NotebookNode]) -> Iterator[str]:
    "What must not be committed: stderr, and paths of this machine"
    for cell in cells:
        for output in cell.outputs:
            if output.output_type == 'stream' and output.name == 'stderr':
                last = output.text.strip().splitlines()[-1]
                yield (
                    f'cell {cell.id} wrote to stderr: {last!r}; silence the cause, '
                    'or catch the warning in the cell'
                )
        if path := machine_path(cell.outputs):
            yield (
                f'cell {cell.id} shows {path}, a path of this machine; '
                'print names or relative paths'
            )


def execute(client: FlaggedClient, timeout: int) -> None:
    "Execute all cells; raises RuntimeError with the failed cell's id"
    try:
        client.execute()
    except CellExecutionError as error:
        traceback = COLOR.sub('', str(error)).partition('\n')[2].strip()
        raise RuntimeError(f'cell {client.cell.id} failed: {traceback}') from None
    except CellTimeoutError:
        raise RuntimeError(
            f'cell {client.cell.id} took longer than {timeout} s; give it less to do, '
            'or give --timeout'
        ) from None
    except DeadKernelError:
        raise RuntimeError(f'cell {client.cell.id}: the kernel died (out of memory?)') from None


def executed(
    path: Path,
    flags: list[str],  # flags whose cells run too
    timeout: int,  # seconds for one cell
) -> str:
    "The text of the notebook at `path` with new outputs"
    notebook = nbformat.reads(path.read_text(encoding='utf-8'), as_version=4)
    client = FlaggedClient(
        notebook,
        extra_arguments=['--IPKernelApp.log_level=40'],
        timeout=timeout,
        kernel_name='python3',
        coalesce_streams=True,
        shutdown_kernel='immediate',
        resources={'metadata': {'path': str(path.parent)}},
    )
    client.skip_flags = set(get_config().tst_flags.split()) - set(flags)
    execute(client, timeout)
    ran = [cell for cell in notebook.cells if not client.skipped(cell)]
    for cell in ran:
        cell.outputs = [] if is_silent(cell) else tidied(cell.outputs)
    if found := list(faults(ran)):
        raise RuntimeError('\n'.join(found))
    return cleaned(nbformat.writes(notebook))


def render(path: Path, flags: list[str], timeout: int) -> str:
    "Execute one notebook and save it unless something is wrong; returns what happened"
    start = time.time()
    before = path.read_bytes()
    text = executed(path, flags, timeout)
    if path.read_bytes() != before:
        raise RuntimeError('was edited while it ran: run it again')
    state = 'saved' if write(path, text) else 'unchanged'
    return f'{state}, {time.time() - start:.1f} s'


def shown_lines(cell: NotebookNode) -> Iterator[str]:
    "The lines of all texts that a cell shows"
    for output in cell.get('outputs', ()):
        for text in output_texts(output):
            yield from text.split('\n')


def first_difference(stored: NotebookNode, new: NotebookNode) -> str:
    "Where the texts that a cell shows differ; '' where they are equal (pictures are not compared)"
    lines = zip_longest(shown_lines(stored), shown_lines(new), fillvalue='(nothing)')
    for old, line in lines:
        if old != line:
            return f'cell {new.id} shows\n  {line.strip()}\nand the page has\n  {old.strip()}'
    return ''


def compare(path: Path, flags: list[str], timeout: int) -> str:
    "Execute one notebook and raise RuntimeError where it shows another text than it has stored"
    start = time.time()
    stored = nbformat.read(path, as_version=4)
    new = nbformat.reads(executed(path, flags, timeout), as_version=4)
    found = filter(None, map(first_difference, stored.cells, new.cells))
    if found := '\n'.join(found):
        raise RuntimeError(f'{found}\n`python tools/render.py {short_name(path)}` stores it')
    return f'as stored, {time.time() - start:.1f} s'


def render_all(paths: list[Path], what: Callable, flags: list[str], timeout: int) -> int:
    "Render or compare notebooks one after the other; returns how many failed"
    failed = 0
    for path in paths:
        print(f'{short_name(path)}: ', end='', flush=True)
        try:
            print(what(path, flags, timeout), flush=True)
        except Exception as error:
            failed += 1
            print(f'FAILED, not saved\n{error}', flush=True)
    return failed


def arguments() -> argparse.Namespace:
    "The command line"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'notebooks', nargs='*', metavar='NB', help='notebooks (default: all, in reading order)'
    )
    parser.add_argument(
        '--flags',
        default='notest',
        help='flags of tst_flags whose cells run too (default: notest, whose outputs are part of '
        'the page); cells with other flags keep the outputs they have',
    )
    parser.add_argument(
        '--compare',
        action='store_true',
        help='save nothing; fail where a page shows another text than it has stored',
    )
    parser.add_argument(
        '--timeout', type=int, default=1800, help='seconds for one cell (default: 1800)'
    )
    return parser.parse_args()


def main() -> None:
    "Execute what the command line names, with this environment's kernel and an empty profile"
    options = arguments()
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
    os.environ['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    os.environ['JUPYTER_PREFER_ENV_PATH'] = '1'
    with tempfile.TemporaryDirectory() as profile:
        os.environ['IPYTHONDIR'] = profile
        # the guard of the notebooks themselves allows what is asked for here
        os.environ['MFSR_FLAGS'] = options.flags
        what = compare if options.compare else render
        how = options.flags.split(), options.timeout
        failed = render_all(notebooks(options.notebooks), what, *how)
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
