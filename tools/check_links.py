"Check of relative links: the file exists, and so does the heading behind `#`."

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from check_notebook import Notebook, is_exported, parsed
from common import directives, short_name, source

FENCE = re.compile(r'^\s*(```|~~~).*?^\s*\1\s*$', re.M | re.S)
INLINE_CODE = re.compile(r'`+[^`\n]*`+')
LINKS = (
    re.compile(r'\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)'),
    re.compile(r'<(?:a|img)\b[^>]*?\b(?:href|src)="([^"]+)"'),
    re.compile(r'^\[[^\]]+\]:\s*(\S+)', re.M),
)
HEADING = re.compile(r'^#{1,6}\s+(.*?)\s*#*\s*$', re.M)
EXPLICIT_ID = re.compile(r'\{[^}]*#([\w-]+)[^}]*\}')


def plain(text: str) -> str:
    "A heading without marks of Markdown"
    text = re.sub(r'!?\[([^\]]*)\]\([^)]*\)', r'\1', text)
    text = re.sub(r'\{[^}]*\}\s*$', '', text)
    return re.sub(r'[`*]|\\(?=\W)', '', text).strip()


def slugs(heading: str) -> set[str]:
    "The anchors that GitHub and Quarto give a heading"
    text = plain(heading).lower()
    github = re.sub(r'[^\w\- ]', '', text).replace(' ', '-')
    pandoc = re.sub(r'\s+', '-', re.sub(r'[^\w\-. ]', '', text))
    pandoc = re.sub(r'^[^a-z]+', '', pandoc) or 'section'
    return {github, pandoc, *EXPLICIT_ID.findall(heading)}


def markdown_texts(path: Path) -> list[str]:
    "The prose of a notebook or of a Markdown file"
    text = path.read_text(encoding='utf-8')
    if path.suffix != '.ipynb':
        return [text]
    cells = json.loads(text)['cells']
    return [source(cell) for cell in cells if cell['cell_type'] == 'markdown']


def exported_names(path: Path) -> set[str]:
    "Names that the site documents under an anchor of their own"
    if path.suffix != '.ipynb':
        return set()
    names = set()
    for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
        cell['directives'] = directives(cell)
        if is_exported(cell):
            names.update(getattr(node, 'name', '').lower() for node in parsed(cell))
    return names


@cache
def anchors(path: Path) -> set[str]:
    "Every anchor of a page"
    found = exported_names(path)
    for text in markdown_texts(path):
        for heading in HEADING.findall(FENCE.sub('', text)):
            found |= slugs(heading)
    return found


def targets(text: str) -> list[str]:
    "Relative link targets in a piece of Markdown, code left out"
    text = INLINE_CODE.sub('', FENCE.sub('', text))
    found = []
    for pattern in LINKS:
        found += pattern.findall(text)
    return [target for target in found if not re.match(r'[a-z][a-z0-9+.-]*:|/', target, re.I)]


def link_findings(page: Path, text: str) -> Iterator[str]:
    "What is wrong with the links in a piece of a page's Markdown"
    for target in targets(text):
        file, _, anchor = target.partition('#')
        path = (page.parent / file).resolve() if file else page
        if not path.exists():
            yield f'links to {file}, which does not exist; correct the path'
        elif anchor and path.suffix in ('.ipynb', '.md') and anchor.lower() not in anchors(path):
            yield f'links to {target}, but {path.name} has no such heading; correct the anchor'


def check_links(notebook: Notebook) -> Iterator[str]:
    "Links in the markdown cells of a notebook"
    for cell in notebook.prose():
        for finding in link_findings(notebook.path, source(cell)):
            yield notebook.says(finding, cell)


def check_page_links(path: Path) -> Iterator[str]:
    "Links in a Markdown file"
    for finding in link_findings(path, path.read_text(encoding='utf-8')):
        yield f'{short_name(path)}: {finding}'
