"Checks of a notebook's form: metadata, outputs, ids, imports apart, prose between exports."

import ast
import base64
import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from common import cleaned, directives, short_name, source
from render import machine_path

EXPORTS = {'export', 'exports', 'exporti'}
MAX_NOTEBOOK_KB = 1400
MAX_IMAGE_KB = 150
# lines of an exported cell, and of one that holds a single class
MAX_LINES = 80
MAX_CLASS_LINES = 120
# exported cells in a row without prose between them
MAX_RUN = 2
MAGIC = re.compile(r'\s*[%!]')


class Notebook:
    "One notebook as the checks see it"

    def __init__(self, path: Path):
        self.path = path
        self.text = path.read_text(encoding='utf-8')
        self.cells = json.loads(self.text)['cells']
        for cell in self.cells:
            cell['directives'] = directives(cell)
        modules = [
            cell['directives']['default_exp'][0]
            for cell in self.cells
            if 'default_exp' in cell['directives']
        ]
        self.module = modules[0] if modules else None

    def code(self) -> list[dict]:
        "The code cells"
        return [cell for cell in self.cells if cell['cell_type'] == 'code']

    def prose(self) -> list[dict]:
        "The markdown cells"
        return [cell for cell in self.cells if cell['cell_type'] == 'markdown']

    def says(self, finding: str, cell: dict | None = None) -> str:
        "A finding as one line: file, cell and remedy"
        place = f' cell {cell.get("id")}' if cell else ''
        return f'{short_name(self.path)}{place}: {finding}'


def is_python(text: str) -> bool:
    "Whether the text can be parsed"
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def python_text(cell: dict) -> str:
    "The cell's Python; where there are magics and shell lines, they become empty lines"
    text = source(cell)
    if is_python(text):
        return text
    return '\n'.join('' if MAGIC.match(line) else line for line in text.splitlines())


def parsed(cell: dict) -> list[ast.stmt]:
    "The cell's statements; none if it is not Python"
    text = python_text(cell)
    return ast.parse(text).body if is_python(text) else []


def is_exported(cell: dict) -> bool:
    "Whether nbdev writes the cell to a module"
    return bool(EXPORTS & set(cell['directives']))


def is_import(node: ast.AST) -> bool:
    "Whether the node is an import statement"
    return isinstance(node, (ast.Import, ast.ImportFrom))


def holds_import(node: ast.AST) -> bool:
    "Whether the node is or contains an import statement"
    return any(is_import(inner) for inner in ast.walk(node))


def check_clean(notebook: Notebook) -> Iterator[str]:
    "Metadata that nbdev removes"
    if cleaned(notebook.text) != notebook.text:
        yield notebook.says('holds metadata that nbdev_clean removes; run nbdev_clean')


def joined(value: str | list[str]) -> str:
    "Text that a notebook may hold as a list of lines"
    return ''.join(value) if isinstance(value, list) else value


def image_kilobytes(kind: str, text: str) -> int:
    "Size of an image in an output"
    content = text.encode() if 'svg' in kind else base64.b64decode(text)
    return len(content) >> 10


def output_findings(output: dict) -> Iterator[str]:
    "What is wrong with one output of a cell"
    data = {kind: joined(value) for kind, value in output.get('data', {}).items()}
    if output['output_type'] == 'error':
        yield 'holds an error; fix the cell and run tools/render.py'
    if output.get('name') == 'stderr':
        yield 'holds stderr; silence the cause and run tools/render.py'
    if path := machine_path([dict(text=joined(output.get('text', '')), data=data)]):
        yield f'shows {path}, a path of one machine; print names or relative paths'
    for kind in data:
        size = image_kilobytes(kind, data[kind]) if kind.startswith('image/') else 0
        if size > MAX_IMAGE_KB:
            yield f'{kind} of {size} KB, more than {MAX_IMAGE_KB}; lower its dpi or size'


def check_outputs(notebook: Notebook) -> Iterator[str]:
    "Outputs: no errors, no stderr, no machine paths, nothing large"
    size = len(notebook.text.encode()) >> 10
    if size > MAX_NOTEBOOK_KB:
        yield notebook.says(
            f'{size} KB, more than {MAX_NOTEBOOK_KB}; make its pictures smaller or fewer'
        )
    for cell in notebook.code():
        for output in cell['outputs']:
            for finding in output_findings(output):
                yield notebook.says(finding, cell)


def shows_figure(cell: dict) -> bool:
    "Whether an output of the cell is an image"
    kinds = chain.from_iterable(output.get('data', {}) for output in cell['outputs'])
    return any(kind.startswith('image/') for kind in kinds)


def check_figures(notebook: Notebook) -> Iterator[str]:
    "Every figure is described for those who cannot see it"
    for cell in notebook.code():
        if shows_figure(cell) and 'fig-alt:' not in cell['directives']:
            yield notebook.says('shows a figure; describe it by `#| fig-alt: "..."`', cell)


def check_ids(notebook: Notebook) -> Iterator[str]:
    "Every cell has an id of its own"
    ids = [cell.get('id') for cell in notebook.cells]
    if None in ids or len(set(ids)) < len(ids):
        yield notebook.says('cells without an id, or with the same one; give each its own id')


def mixes_imports(cell: dict) -> bool:
    "Whether the cell has imports beside other code; in an exported function they are allowed"
    found = is_import if is_exported(cell) else holds_import
    body = parsed(cell)
    some = any(found(statement) for statement in body)
    return some and not all(is_import(statement) for statement in body)


def line_limit(body: list[ast.stmt]) -> int:
    "How many lines an exported cell may have"
    one_class = len(body) == 1 and isinstance(body[0], ast.ClassDef)
    return MAX_CLASS_LINES if one_class else MAX_LINES


def check_cells(notebook: Notebook) -> Iterator[str]:
    "Imports in cells of their own, exported cells short and explained"
    run = 0
    for cell in notebook.cells:
        if cell['cell_type'] == 'markdown':
            run = 0
        if cell['cell_type'] != 'code':
            continue
        if mixes_imports(cell) and 'nbdev_export(' not in source(cell):
            yield notebook.says(
                'imports and other code in one cell, and the documentation build runs cells '
                'with imports; give the imports a cell of their own',
                cell,
            )
        if not is_exported(cell):
            continue
        body = parsed(cell)
        lines = len(source(cell).strip().splitlines())
        limit = line_limit(body)
        if lines > limit:
            yield notebook.says(f'exported cell of {lines} lines, more than {limit}', cell)
        run += not all(is_import(statement) for statement in body)
        if run == MAX_RUN + 1:
            yield notebook.says(
                f'exported cell number {run} in a row without prose; say before it what it is for',
                cell,
            )
