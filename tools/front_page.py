"""Bring the lists of pages in nbs/index.ipynb up to date.

A list is a table with the header `| notebook | what it contains |`. Its first link says which
folder it lists. Titles and descriptions are those of the pages.
"""

import json
import re
from pathlib import Path

from common import NBS, notebooks, source

HEADER = '| notebook | what it contains |\n|---|---|\n'
TABLE = re.compile(re.escape(HEADER) + r'(?:\|.*\n?)+')
LINK = re.compile(r'\]\((\w+)/')


def title_and_description(page: Path) -> tuple[str, str]:
    "The heading of a page and the quotation below it, without links"
    text = source(json.loads(page.read_text(encoding='utf-8'))['cells'][0])
    title = text.partition('\n')[0].lstrip('# ').strip()
    quoted = [line[1:].strip() for line in text.splitlines() if line.startswith('>')]
    description = re.sub(r'\[([^\]]+)\]\([^)]+\)', r'\1', ' '.join(quoted))
    return title, description.replace('|', r'\|')


def table_of(folder: str) -> str:
    "The list of the pages of a folder"
    rows = []
    for page in notebooks():
        if page.parent == NBS / folder:
            title, description = title_and_description(page)
            rows.append(f'| [{title}]({folder}/{page.name}) | {description} |\n')
    return HEADER + ''.join(rows)


def with_tables(text: str) -> str:
    "A Markdown text with all lists of pages up to date"

    def renewed(found: re.Match) -> str:
        new = table_of(LINK.search(found[0])[1])
        return new if found[0].endswith('\n') else new.rstrip('\n')

    return TABLE.sub(renewed, text)


def update(index: Path) -> bool:
    "Write the lists of a front page; returns whether they have changed"
    notebook = json.loads(index.read_text(encoding='utf-8'))
    changed = False
    for cell in notebook['cells']:
        new = with_tables(source(cell)) if cell['cell_type'] == 'markdown' else source(cell)
        if new != source(cell):
            cell['source'] = new.splitlines(keepends=True)
            changed = True
    if changed:
        text = json.dumps(notebook, indent=1, ensure_ascii=False) + '\n'
        index.write_text(text, encoding='utf-8')
    return changed
