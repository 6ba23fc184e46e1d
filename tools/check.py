"""Check the form of the project, or run its notebooks as tests.

Without arguments everything is checked: library, notebooks and README in step, outputs clean and
small, imports in order, style, type hints and links. With notebooks, only these are checked, each
for itself. With --test, the notebooks are run instead.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from check_library import check_library
from check_links import check_links, check_page_links
from check_notebook import (
    Notebook,
    check_cells,
    check_clean,
    check_figures,
    check_ids,
    check_outputs,
)
from check_run import run_tests
from check_style import check_hints, check_python_file, check_ruff, check_size, check_style
from common import ROOT, get_config, notebooks

NOTEBOOK_CHECKS = (
    check_clean,
    check_outputs,
    check_figures,
    check_ids,
    check_cells,
    check_style,
    check_size,
    check_hints,
    check_links,
)
PAGES = ('README.md', 'CONTRIBUTING.md')


def notebook_findings(found: list[Notebook]) -> Iterator[str]:
    "The checks that look at one notebook"
    for notebook in found:
        for check in NOTEBOOK_CHECKS:
            yield from check(notebook)


def readme_findings() -> Iterator[str]:
    "README.md against the notebook that it is made from"
    from readme import stale

    for file in stale():
        yield f'{file}: not in step with nbs/index.ipynb; run make readme'


def project_findings(found: list[Notebook]) -> Iterator[str]:
    "The checks that look at the whole project"
    yield from check_library(found)
    yield from notebook_findings(found)
    scripts = [*sorted((ROOT / 'tools').glob('*.py')), ROOT / 'setup.py']
    for path in [*scripts, get_config().lib_path / '__init__.py']:
        yield from check_python_file(path)
    yield from check_ruff()
    for page in PAGES:
        if (ROOT / page).exists():
            yield from check_page_links(ROOT / page)
    yield from readme_findings()


def run_checks(paths: list[Path], whole: bool) -> bool:
    "Print one line for each finding and a summary; True if there is none"
    start = time.time()
    count = 0
    found = [Notebook(path) for path in paths]
    findings = project_findings(found) if whole else chosen_findings(found)
    for finding in findings:
        count += 1
        print(finding, flush=True)
    seconds = time.time() - start
    plural = '' if count == 1 else 's'
    print(f'check: {len(found)} notebooks, {count} finding{plural}, {seconds:.0f} s')
    return count == 0


def chosen_findings(found: list[Notebook]) -> Iterator[str]:
    "The checks of some notebooks"
    yield from notebook_findings(found)
    yield from check_ruff([notebook.path for notebook in found])


def arguments() -> argparse.Namespace:
    "The command line"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('notebooks', nargs='*', metavar='NB', help='notebooks (default: all)')
    parser.add_argument('--test', action='store_true', help='run the notebooks as tests')
    flags = get_config().tst_flags
    parser.add_argument('--flags', default='', help=f'flags whose cells run too, of: {flags}')
    parser.add_argument('--workers', type=int, default=2, help='processes (default: 2)')
    parser.add_argument(
        '--fresh',
        action='store_true',
        help='a new process for every notebook: slower, and no state passes to the next',
    )
    return parser.parse_args()


def main() -> None:
    "Run what the command line asks for; the exit status says whether all is well"
    options = arguments()
    paths = notebooks(options.notebooks)
    if options.test:
        good = run_tests(paths, options.flags.split(), options.workers, options.fresh)
    else:
        good = run_checks(paths, whole=not options.notebooks)
    sys.exit(not good)


if __name__ == '__main__':
    main()
