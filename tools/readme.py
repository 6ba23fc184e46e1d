"""Write README.md from nbs/index.ipynb, with its pictures in nbs/images.

GitHub then shows what the notebook shows. The notebook's lists of pages are brought up to date.
"""

import argparse
import base64
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from bs4 import BeautifulSoup, Tag

from common import ROOT, directives, get_config, short_name, source, write
from docs import (
    callouts,
    cell_options,
    github_alert,
    map_links,
    relative,
    shown_outputs,
    without_attributes,
)
from front_page import update, with_tables

HIDDEN = {'hide', 'export', 'exporti', 'default_exp'}
NOTE = '<!-- Made from {} by tools/readme.py: edit the notebook, then run `make readme`. -->\n\n'
IMAGES = {'image/png': 'png', 'image/jpeg': 'jpg', 'image/svg+xml': 'svg'}
NUMERIC = re.compile(r'[-+±–−\d.,%\s/()x×–]*')


def index_notebook() -> Path:
    "The notebook that the README is made from"
    return get_config().nbs_path / get_config().readme_nb


# ---- tables


def spans_cells(table: Tag) -> bool:
    "Whether a cell of the table covers several rows or columns"
    for cell in table(['th', 'td']):
        if int(cell.get('colspan', 1)) > 1 or int(cell.get('rowspan', 1)) > 1:
            return True
    return False


def plain_html(soup: BeautifulSoup) -> str:
    "Tables as HTML with no attributes but the spans"
    for tag in soup(True):
        spans = {name: tag[name] for name in ('colspan', 'rowspan') if tag.get(name, '1') != '1'}
        tag.attrs = spans
    return re.sub(r'\n\s*', '\n', '\n'.join(str(table) for table in soup('table')))


def row_texts(row: Tag) -> list[str]:
    "The cells of a row for Markdown"
    cells = row(['th', 'td'])
    return [cell.get_text(' ', strip=True).replace('|', r'\|') for cell in cells]


def pipe_table(table: Tag) -> str:
    "A table in Markdown, columns of numbers to the right"
    rows = [row_texts(row) for row in table('tr')]
    # a named index makes two header rows, which become one
    head = len(table.thead('tr')) if table.thead else 1
    top = [' '.join(filter(None, column)) for column in zip(*rows[:head])]
    body = rows[head:]
    rule = []
    for column in range(len(top)):
        numeric = all(NUMERIC.fullmatch(row[column]) for row in body)
        rule.append('---:' if numeric else '---')
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in [top, rule, *body])


def table_markdown(html: str) -> str:
    "An HTML output in Markdown, or as plain HTML where it spans cells"
    soup = BeautifulSoup(html, 'html.parser')
    for tag in soup(['style', 'script']):
        tag.decompose()
    if not soup.table:
        return ''.join(str(part) for part in soup.contents).strip()
    if len(soup('table')) > 1 or spans_cells(soup.table):
        return plain_html(soup)
    return pipe_table(soup.table)


# ---- the page


def joined_data(output: dict) -> dict[str, str]:
    "An output's data, each kind as one text"
    data = output.get('data', {})
    return {kind: ''.join(text) for kind, text in data.items() if isinstance(text, (str, list))}


class Page:
    "A notebook on its way to Markdown in the file `out`"

    def __init__(self, path: Path, out: Path):
        self.path = path
        self.out = out
        self.images = {}
        self.cells = json.loads(path.read_text(encoding='utf-8'))['cells']

    def link(self, target: str) -> str:
        "A link of the notebook, as seen from the page"
        file, mark, anchor = target.partition('#')
        return relative(self.path.parent / file, self.out.parent) + mark + anchor

    def markdown(self, text: str) -> str:
        "Prose of the notebook for GitHub"
        text = map_links(callouts(text, github_alert), self.link)
        return without_attributes(text).strip()

    def image(self, kind: str, content: str, stem: str, caption: str) -> str:
        "Keep an image, and return the Markdown that shows it"
        file = self.path.parent / 'images' / f'{stem}.{IMAGES[kind]}'
        self.images[file] = content.encode() if 'svg' in kind else base64.b64decode(content)
        return f'![{caption}]({relative(file, self.out.parent)})'

    def output(self, output: dict, stem: str, caption: str) -> str:
        "One output in Markdown"
        data = joined_data(output)
        for kind in IMAGES:
            if kind in data:
                return self.image(kind, data[kind], stem, caption)
        if 'text/markdown' in data:
            return self.markdown(data['text/markdown'])
        if 'text/html' in data:
            return table_markdown(data['text/html'])
        text = ''.join(output.get('text', '')) or data.get('text/plain', '')
        return f'```text\n{text.rstrip()}\n```' if text.strip() else ''

    def code_block(self, code: str, options: dict[str, str]) -> str:
        "The code of a cell, folded where its options say so"
        block = f'```python\n{code}\n```'
        if options.get('code-fold') != 'true':
            return block
        summary = options.get('code-summary', 'Code')
        return f'<details>\n<summary>{summary}</summary>\n\n{block}\n\n</details>'

    def code(self, cell: dict) -> Iterator[str]:
        "Code and outputs of a cell"
        options, code = cell_options(source(cell))
        hidden = HIDDEN & set(directives(cell)) or options.get('include') == 'false'
        if hidden or 'nbdev_export(' in code:
            return
        if options.get('echo') != 'false' and code:
            yield self.code_block(code, options)
        if options.get('output') == 'false':
            return
        caption = options.get('fig-alt') or options.get('fig-cap') or ''
        for number, output in enumerate(shown_outputs(cell['outputs'])):
            stem = f'{self.path.stem}_{cell["id"]}' + (f'_{number}' if number else '')
            yield self.output(output, stem, caption)
        if options.get('fig-cap') and self.images:
            yield f'*{options["fig-cap"]}*'

    def text(self) -> str:
        "The whole page"
        parts = []
        for cell in self.cells:
            if cell['cell_type'] == 'markdown':
                parts.append(self.markdown(source(cell)))
            if cell['cell_type'] == 'code':
                parts += self.code(cell)
        note = NOTE.format(relative(self.path, self.out.parent))
        return note + '\n\n'.join(filter(None, parts)) + '\n'


def build(path: Path | None = None, out: Path | None = None) -> dict[Path, bytes]:
    "Everything that the README consists of: file and content"
    path = path or index_notebook()
    if not path.exists():
        return {}
    page = Page(path, out or ROOT / 'README.md')
    text = page.text()
    return {page.out: text.encode(), **page.images}


def orphans(files: dict[Path, bytes], path: Path | None = None) -> list[Path]:
    "Pictures of an earlier README"
    path = path or index_notebook()
    pictures = sorted((path.parent / 'images').glob(f'{path.stem}_*'))
    return [picture for picture in pictures if picture not in files]


def stale() -> list[str]:
    "Files that are not as `build` would make them"
    files = build()
    changed = []
    cells = json.loads(index_notebook().read_text(encoding='utf-8'))['cells']
    if any(with_tables(source(cell)) != source(cell) for cell in cells):
        changed.append(index_notebook())
    for path, content in files.items():
        if not path.exists() or path.read_bytes() != content:
            changed.append(path)
    return [short_name(path) for path in [*changed, *orphans(files)]]


def main() -> None:
    "Write the README, and remove pictures that it no longer shows"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--notebook', type=Path, default=index_notebook(), help='default: nbs/index.ipynb'
    )
    parser.add_argument('--out', type=Path, default=ROOT / 'README.md', help='default: README.md')
    options = parser.parse_args()
    if not options.notebook.exists():
        sys.exit(f'{short_name(options.notebook)}: no such notebook')
    notebook = options.notebook.resolve()
    if update(notebook):
        print(f'readme: lists of pages in {short_name(notebook)}')
    files = build(notebook, options.out.resolve())
    changed = [short_name(path) for path, content in files.items() if write(path, content)]
    for picture in orphans(files, notebook):
        picture.unlink()
        changed.append(f'{short_name(picture)} (removed)')
    print('readme:', ', '.join(changed) or 'in step already')


if __name__ == '__main__':
    main()
