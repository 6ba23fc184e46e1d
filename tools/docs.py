"""Build the documentation site into _docs.

Quarto builds it where it is installed, Sphinx where it is not.
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import nbformat
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from common import NBS, ROOT, get_config, notebooks, write
from docs_math import write_mathjax
from docs_style import CSS

# ---- Quarto's Markdown: callouts, fenced divs, attributes, cell options, links

ALERTS = dict(note='NOTE', tip='TIP', important='IMPORTANT', warning='WARNING', caution='CAUTION')
OPTION = re.compile(r'\s*#\s*\|\s*([\w-]+):?\s*(.*)$')
CODE_FENCE = re.compile(r'\s*(`{3,}|~{3,})')
OPEN_DIV = re.compile(r'^:{3,}\s*\{([^}]*)\}\s*$')
CLOSE_DIV = re.compile(r':{3,}\s*')
# a target that is neither absolute nor an anchor of the same page
RELATIVE = r'(?![a-z]+:|#|/)'
MARKDOWN_LINK = re.compile(rf'(\]\(){RELATIVE}([^)\s]+)((?:\s+"[^"]*")?\))')
HTML_LINK = re.compile(rf'(<(?:img|a)\b[^>]*?\b(?:src|href)="){RELATIVE}([^"]+)(")')
# Pandoc's `{target=...}` behind a link or a picture
LINK_ATTRIBUTES = re.compile(r'(\]\([^)\s]+(?:\s+"[^"]*")?\))\{[^}\n]*\}')
# what nbdev makes of a name of the library: a link, also within the text of a link, and in code
NAME_LINK = re.compile(r'\[(`[^`]+`)\]\([^)\s]*\)')
# names with an underscore have no heading
PRIVATE_LINK = re.compile(r'\[(`[^`]+`)\]\([^)\s]*#(?:\w+\.)*_\w+\)')
SAME_PAGE = re.compile(r'(\]\(#)([^)\s]+)(\))')
NESTED_LINK = re.compile(r'\[([^\[\]]*)\[(`[^`]+`)\]\([^)\s]*\)([^\[\]]*)\]\(')
DISPLAYED = re.compile(r'\$\$.*?\$\$', re.DOTALL)
HIDE_LINE = re.compile(r'^\s*#\|\s*hide_line\s*$', re.M)
# kind, title and lines of a callout -> its lines in another dialect
Style = Callable[[str, str, list[str]], list[str]]


def github_alert(kind: str, title: str, body: list[str]) -> list[str]:
    "A callout as GitHub's alert"
    lines = [f'**{title}**', '', *body] if title else body
    quoted = [f'> {line}'.rstrip() for line in lines]
    return [f'> [!{ALERTS.get(kind, "NOTE")}]', *quoted]


def myst_admonition(kind: str, title: str, body: list[str]) -> list[str]:
    "A callout as MyST's admonition; the outer fence is longer, so that they nest"
    fences = [len(line) - len(line.lstrip(':')) for line in body if line.startswith(':::')]
    fence = ':' * max([3, *(length + 1 for length in fences)])
    shown = 'warning' if kind == 'caution' else kind
    opening = f'{fence}{{admonition}} {title or kind.title()}'
    return [opening, f':class: {shown}', '', *body, fence]


class Div(NamedTuple):
    "A fenced div that is open: its kind is empty unless it is a callout"

    kind: str
    title: str
    lines: list[str]


def open_div(attributes: str) -> Div:
    "A div from the attributes of its first line"
    kind = re.search(r'\.callout-(\w+)', attributes)
    title = re.search(r'title="([^"]*)"', attributes)
    return Div(kind[1] if kind else '', title[1] if title else '', [])


def closed_div(div: Div, style: Style) -> list[str]:
    "The lines of a finished div: a callout in `style`, other divs opened up"
    body = '\n'.join(div.lines).strip('\n').split('\n')
    title = div.title
    heading = re.match(r'#+\s+(.*)', body[0])
    if heading and not title:
        title = heading[1]
        body = body[1:]
    return style(div.kind, title, body) if div.kind else body


def code_fence(line: str, fence: str | None) -> str | None:
    "The fence of the code block that is open behind `line`, given the one before it"
    found = CODE_FENCE.match(line)
    if not found:
        return fence
    if fence is None:
        return found[1]
    closes = found[1].startswith(fence) and line.strip() == found[1]
    return None if closes else fence


def callouts(text: str, style: Style) -> str:
    "Markdown with its fenced divs resolved; code blocks are left alone"
    # the lowest div stands for the page itself
    stack = [Div('', '', [])]
    fence = None
    for line in text.split('\n'):
        fence = code_fence(line, fence)
        opening = OPEN_DIV.match(line)
        if fence is None and opening:
            stack.append(open_div(opening[1]))
        elif fence is None and len(stack) > 1 and CLOSE_DIV.fullmatch(line):
            finished = stack.pop()
            stack[-1].lines.extend(closed_div(finished, style))
        else:
            stack[-1].lines.append(line)
    # a div that is never closed is opened up
    lines = []
    for div in stack:
        lines += div.lines
    return '\n'.join(lines)


def without_attributes(text: str) -> str:
    "Markdown without Pandoc's attributes of links and pictures"
    return LINK_ATTRIBUTES.sub(r'\1', text)


def without_name_links(text: str) -> str:
    "Markdown where names of the library are no links within other links, nor in code blocks"
    while NESTED_LINK.search(text):
        text = NESTED_LINK.sub(r'[\1\2\3](', text)
    text = PRIVATE_LINK.sub(r'\1', text)
    lines = []
    fence = None
    for line in text.split('\n'):
        fence = code_fence(line, fence)
        lines.append(NAME_LINK.sub(r'\1', line) if fence else line)
    return '\n'.join(lines)


def cell_options(text: str) -> tuple[dict[str, str], str]:
    "Options of a code cell, such as `#| echo: false`, and its code without them"
    options = {}
    lines = text.split('\n')
    while lines and (not lines[0].strip() or OPTION.match(lines[0])):
        if found := OPTION.match(lines.pop(0)):
            options[found[1]] = found[2].strip().strip('"')
    return options, HIDE_LINE.sub('', '\n'.join(lines)).rstrip()


def map_links(text: str, target: Callable[[str], str | None]) -> str:
    "Markdown with every relative link `x` replaced by `target(x)` where that is not None"

    def replaced(found: re.Match) -> str:
        new = target(found[2])
        return f'{found[1]}{new}{found[3]}' if new else found[0]

    return HTML_LINK.sub(replaced, MARKDOWN_LINK.sub(replaced, text))


def relative(path: Path | str, start: Path | str) -> str:
    "`path` as seen from the folder `start`"
    return os.path.relpath(path, start).replace(os.sep, '/')


NO_MATHJAX = 'docs: this JupyterLab has no MathJax that the site could use; pages load it online'

# ---- the sidebar


def matching(patterns: list[str], names: list[str]) -> list[str]:
    "The names that match, in the order of the patterns"
    found = []
    for pattern in patterns:
        for name in names:
            if fnmatch(name, pattern) and name not in found:
                found.append(name)
    return found


def site_settings() -> dict:
    "_quarto.yml with the patterns of its sidebar replaced by the notebooks that they match"
    settings = yaml.safe_load((ROOT / '_quarto.yml').read_text(encoding='utf-8'))
    sidebar = settings['website']['sidebar']
    left = [path.relative_to(NBS).as_posix() for path in notebooks()]
    for section in sidebar['contents']:
        section['contents'] = matching(section['contents'], left)
        left = [name for name in left if name not in section['contents']]
    if left:
        sys.exit(f'_quarto.yml: {left[0]} has no place in the sidebar; add a pattern for it')
    sidebar['contents'] = [section for section in sidebar['contents'] if section['contents']]
    return settings


# ---- Quarto

# what Quarto's pages load from the network to typeset maths
MATHS_ONLINE = re.compile(
    r'<script\b[^>]*\bsrc="https?://[^"]*(?:mathjax|polyfill)[^"]*"[^>]*></script>'
)


def maths_from_site(page: str, address: str) -> str:
    "A page that loads MathJax from `address` instead of the network; others as they are"
    if not MATHS_ONLINE.search(page):
        return page
    own = f'<script defer src="{address}"></script>\n</head>'
    return MATHS_ONLINE.sub('', page).replace('</head>', own, 1)


def bring_maths_along(site: Path) -> None:
    "Let the pages of Quarto typeset maths without a network"
    if not write_mathjax(site):
        print(NO_MATHJAX)
        return
    for file in site.rglob('*.html'):
        page = file.read_text(encoding='utf-8')
        write(file, maths_from_site(page, relative(site / 'mathjax.js', file.parent)))


def build_with_quarto(settings: dict) -> None:
    "nbdev's own way"
    note = "# Copied from the project's _quarto.yml by tools/docs.py: edit that one.\n"
    write(NBS / '_quarto.yml', note + yaml.safe_dump(settings, sort_keys=False))
    # tools/readme.py writes the README; with a new time nbdev_docs leaves it alone
    if (ROOT / 'README.md').exists():
        os.utime(ROOT / 'README.md')
    subprocess.run([str(Path(sys.executable).with_name('nbdev_docs'))], check=True)
    bring_maths_along(get_config().doc_path)


# ---- Sphinx

FRONT_MATTER = re.compile(r'\s*---\n(.*?)\n---\s*', re.DOTALL)
GENERATED = 'WARNING: THIS FILE WAS AUTOGENERATED'
METADATA = dict(
    kernelspec=dict(name='python3', display_name='python3', language='python'),
    language_info=dict(name='python', pygments_lexer='ipython3'),
)
CONF = """
project = html_title = {title!r}
copyright = {copyright!r}
html_baseurl = {url!r}
extensions = ['myst_nb', 'sphinx.ext.mathjax']
html_theme = 'furo'
nb_execution_mode = 'off'
nb_render_markdown_format = 'myst'
myst_enable_extensions = ['attrs_block', 'dollarmath', 'amsmath', 'colon_fence']
myst_heading_anchors = 4
nb_code_prompt_show = nb_code_prompt_hide = 'Code'
html_favicon = 'images/favicon.png'
html_static_path = ['_static']
html_extra_path = ['images/card.jpg']
myst_html_meta = {meta!r}
html_css_files = ['site.css']
html_theme_options = dict(top_of_page_buttons=[])
suppress_warnings = ['myst.header', 'myst.xref_missing', 'mystnb.unknown_mime_type']
"""


def shown_outputs(outputs: list[dict]) -> list[dict]:
    "Outputs without the plain text that stands beside a picture, such as `<Axes: ...>`"
    if len(outputs) < 2:
        return outputs
    shown = []
    for output in outputs:
        is_result = output['output_type'] == 'execute_result'
        if not is_result or set(output['data']) != {'text/plain'}:
            shown.append(output)
    return shown


def docstring(text: str) -> str:
    "A docstring that show_doc wrote in italics, upright, with its own asterisks"
    found = re.fullmatch(r'\s*\*(.*)\*\s*', text, re.DOTALL)
    if not found:
        return text
    # pieces with an odd number are code
    pieces = re.split(r'(`[^`]*`)', found[1])
    pieces[::2] = [piece.replace('*', r'\*') for piece in pieces[::2]]
    return ''.join(pieces)


def documentation(outputs: list[NotebookNode]) -> Iterator[str]:
    "What nbdev's show_doc wrote, as Markdown: heading, link to the source, signature, docstring"
    for output in outputs:
        text = output.get('data', {}).get('text/markdown') or output.get('text', '')
        text = re.sub(r'\A\s*---\s*\n', '', text)
        source_link = r'\A\s*(\[source\]\([^)]*\))(?:\{[^}]*\})?\s*\n+(#+ .*\n)'
        signature, fence, words = re.sub(source_link, r'\2\n\1\n', text).rpartition('```\n')
        yield signature + fence + ('\n' + docstring(words) if fence else words)


# ---- exported code that is shown


def shown_source(cell: NotebookNode) -> str:
    "The code of a cell that nbdev marks as exported source; empty for other cells"
    if cell.cell_type != 'code':
        return ''
    options, code = cell_options(cell.source)
    return code if options.get('code-summary') == 'Exported source' else ''


def definitions(code: str) -> Iterator[tuple[str, str]]:
    "Name and code of each function and class; what stands behind the last one without a name"
    lines = code.split('\n')
    start = 0
    for node in ast.parse(code).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, '\n'.join(lines[start : node.end_lineno]).strip('\n')
            start = node.end_lineno
    if rest := '\n'.join(lines[start:]).strip('\n'):
        yield '', rest


def documented_name(cell: NotebookNode) -> str:
    "What a cell of show_doc documents; empty for other cells"
    found = re.search(r'^show_doc\((\w+)\)', cell.source, re.M)
    return found[1] if found and cell.cell_type == 'code' else ''


def each_once(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Cells where a function whose source is shown has no signature as well.

    Its source stands under the heading that nbdev gave to the signature.
    """
    sources = {}
    for cell in cells:
        if code := shown_source(cell):
            sources[cell.id] = [*definitions(code)]
    shown = {name for name, _ in chain.from_iterable(sources.values()) if name}
    heads = {}
    result = []
    for cell in cells:
        if documented_name(cell) in shown:
            heads[documented_name(cell)] = next(documentation(cell.outputs), '').partition('```')[0]
    for cell in cells:
        if documented_name(cell) in shown:
            continue
        for name, code in sources.get(cell.id, []):
            if heads.get(name):
                result.append(new_markdown_cell(heads[name]))
            result.append(new_code_cell(code))
        if cell.id not in sources:
            result.append(cell)
    return result


def one_environment(text: str) -> str:
    "Lines of displayed formulas end with TeX's word for it: Sphinx wraps formulas with `\\\\`"
    return DISPLAYED.sub(lambda found: found[0].replace('\\\\', '\\cr '), text)


def myst_anchor(anchor: str) -> str:
    "The anchor that MyST gives the heading"
    return re.sub(r'[^a-z0-9_-]', '', anchor.lower().replace(' ', '-'))


def repository_address(path: PurePosixPath) -> str:
    "Where the repository shows a file of the notebooks' folder"
    config = get_config()
    return f'{config.git_url}/blob/{config.branch}/{config.nbs_path.name}/{path}'


class Page:
    "A notebook that nbdev has processed, on its way to Sphinx"

    def __init__(self, path: Path, processed: Path):
        self.path = PurePosixPath(path.relative_to(processed).as_posix())
        self.notebook = nbformat.read(path, as_version=4)
        self.front = {}
        for cell in self.notebook.cells[:2]:
            if found := FRONT_MATTER.fullmatch(cell.source):
                self.front = yaml.safe_load(found[1])
                break
        file = self.front.get('output-file', self.path.name)
        # the page's path in the site without its ending
        self.name = (self.path.parent / Path(file).stem).as_posix()

    def link(self, target: str, names: dict[str, str]) -> str | None:
        "A link to another notebook as a link to its page; None for other files"
        file, _, anchor = target.partition('#')
        name = names.get(os.path.normpath(self.path.parent / file))
        if name is None:
            return self.source_link(file)
        page = f'{relative(name, PurePosixPath(self.name).parent)}.ipynb'
        return f'{page}#{myst_anchor(anchor)}' if anchor else page

    def source_link(self, file: str) -> str | None:
        "A program beside the notebook as a link to the repository; None for other files"
        path = PurePosixPath(os.path.normpath(self.path.parent / file))
        return repository_address(path) if path.suffix == '.py' else None

    def prose(self, text: str, names: dict[str, str]) -> str:
        "Markdown in MyST's dialect, with links into the site"
        config = get_config()

        # nbdev links names of the library to absolute addresses of the site
        def from_here(found: re.Match) -> str:
            return f']({relative(found[1], self.path.parent)}.ipynb'

        address = re.escape(config.doc_host + config.doc_baseurl)
        text = re.sub(rf'\]\({address}/?([\w/.-]*)\.html', from_here, text)
        text = one_environment(without_name_links(text))
        text = without_attributes(callouts(text, myst_admonition))
        # JupyterLab's anchors keep capitals
        text = SAME_PAGE.sub(lambda found: found[1] + myst_anchor(found[2]) + found[3], text)
        return map_links(text, lambda target: self.link(target, names))

    def code(self, cell: NotebookNode, names: dict[str, str]) -> Iterator[NotebookNode]:
        "A code cell as Sphinx shows it"
        options, code = cell_options(cell.source)
        if options.get('include') == 'false':
            return
        outputs = cell.outputs if options.get('output') != 'false' else []
        if options.get('output') == 'asis':
            for text in documentation(outputs):
                yield new_markdown_cell(self.prose(text, names))
            return
        outputs = shown_outputs(outputs)
        for output in outputs:
            if 'text/markdown' in output.get('data', {}):
                output.data['text/markdown'] = self.prose(output.data['text/markdown'], names)
        if code or outputs:
            yield self.code_cell(options, code, outputs)

    def code_cell(
        self, options: dict[str, str], code: str, outputs: list[NotebookNode]
    ) -> NotebookNode:
        "A code cell with MyST's tags for Quarto's options"
        tags = []
        if options.get('echo') == 'false' or not code:
            tags.append('remove-input')
        if options.get('code-fold') == 'true':
            tags.append('hide-input')
        cell = new_code_cell(code, outputs=outputs, metadata=dict(tags=tags))
        shown = {}
        if options.get('fig-alt'):
            shown['image'] = dict(alt=options['fig-alt'])
        if options.get('fig-cap'):
            shown['figure'] = dict(caption=options['fig-cap'])
        cell.metadata['mystnb'] = shown
        return cell

    def head(self, names: dict[str, str]) -> str:
        "Title, description and a link to the notebook"
        title = self.front.get('title', self.path.stem)
        description = self.front.get('description')
        lead = f'{self.prose(description, names)}\n\n' if description else ''
        return f'# {title}\n\n{{.lead}}\n{lead}[notebook]({repository_address(self.path)})'

    def write(self, folder: Path, names: dict[str, str], extra: str = '') -> None:
        "Write the page as a notebook for Sphinx, with `extra` at its end"
        cells = [new_markdown_cell(self.head(names))]
        for cell in each_once(self.notebook.cells):
            if cell.cell_type == 'markdown' and GENERATED not in cell.source:
                cells.append(new_markdown_cell(self.prose(cell.source, names)))
            if cell.cell_type == 'code':
                cells += self.code(cell, names)
        if extra:
            cells.append(new_markdown_cell(extra))
        for number, cell in enumerate(cells):
            cell.id = f'c{number}'
        file = folder / f'{self.name}.ipynb'
        file.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(cells=cells, metadata=METADATA), file)


def processed_pages(folder: Path) -> list[Page]:
    "All notebooks that nbdev has processed"
    files = sorted(folder.rglob('*.ipynb'))
    return [Page(file, folder) for file in files if '_docs' not in file.parts]


def processed_folder() -> Path:
    "The folder where nbdev has processed the notebooks; `nbdev_docs` would install Quarto"
    from nbdev.serve import proc_nbs

    return proc_nbs(force=True, n_workers=2)


def contents(settings: dict, pages: list[Page]) -> str:
    "The sidebar as Sphinx's tables of contents"
    names = {page.path.as_posix(): page.name for page in pages}
    blocks = []
    for section in settings['website']['sidebar']['contents']:
        listed = [names[path] for path in section['contents'] if path in names]
        listed = [name for name in listed if name != 'index']
        if listed:
            lines = ['```{toctree}', ':hidden:', f':caption: {section["section"]}', '']
            blocks.append('\n'.join([*lines, *listed, '```']))
    return '\n\n'.join(blocks)


def social_card(title: str, url: str) -> dict[str, str]:
    "What other sites show of a link to this one"
    card = dict(type='website', site_name=title, image=f'{url}card.jpg')
    found = {f'property=og:{name}': value for name, value in card.items()}
    return {'description': get_config().description, 'twitter:card': 'summary_large_image', **found}


def write_sources(folder: Path, settings: dict, processed: Path) -> None:
    "What Sphinx reads"
    config = get_config()
    title = settings['website']['title']
    pages = processed_pages(processed)
    names = {page.path.as_posix(): page.name for page in pages}
    names |= {f'{page.name}.ipynb': page.name for page in pages}
    sidebar = contents(settings, pages)
    for page in pages:
        page.write(folder, names, extra=sidebar if page.name == 'index' else '')
    if 'index' not in names.values():
        write(folder / 'index.md', f'# {title}\n\n{sidebar}\n')
    write(folder / '_static' / 'site.css', CSS)
    url = f'{config.doc_host}{config.doc_baseurl}/'
    meta = social_card(title, url)
    conf = CONF.format(title=title, copyright=config.copyright, url=url, meta=meta)
    if write_mathjax(folder / '_static'):
        conf += "mathjax_path = 'mathjax.js'\n"
    else:
        print(NO_MATHJAX)
    write(folder / 'conf.py', conf)
    for images in processed.rglob('images'):
        shutil.copytree(images, folder / images.relative_to(processed), dirs_exist_ok=True)


def build_with_sphinx(settings: dict, processed: Path) -> None:
    "The same site without Quarto"
    with tempfile.TemporaryDirectory() as temporary:
        sources = Path(temporary) / 'sources'
        html = Path(temporary) / 'html'
        write_sources(sources, settings, processed)
        sphinx = [sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going', '-b', 'html']
        trees = ['-d', f'{temporary}/trees']
        subprocess.run([*sphinx, *trees, str(sources), str(html)], check=True)
        shutil.rmtree(html / 'jupyter_execute', ignore_errors=True)
        (html / '.nojekyll').touch()
        shutil.rmtree(get_config().doc_path, ignore_errors=True)
        shutil.copytree(html, get_config().doc_path)


# ---- the command


def lost_pages() -> list[str]:
    "Notebooks that have no page in the site"
    pages = processed_pages(ROOT / '_proc')
    site = get_config().doc_path
    return [str(page.path) for page in pages if not (site / f'{page.name}.html').is_file()]


def main() -> None:
    "Build the site and say where it is"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--sphinx', action='store_true', help='with Sphinx, even where Quarto is installed'
    )
    options = parser.parse_args()
    settings = site_settings()
    try:
        if shutil.which('quarto') and not options.sphinx:
            build_with_quarto(settings)
        else:
            build_with_sphinx(settings, processed_folder())
    except subprocess.CalledProcessError as error:
        sys.exit(f'docs: {Path(error.cmd[0]).name} failed; its messages are above')
    lost = lost_pages()
    site = get_config().doc_path
    for path in lost:
        print(f'{path}: has no page in {site.name}')
    pages = len(list(site.rglob('*.html')))
    print(f'docs: {pages} pages in {site.name}/, open index.html')
    sys.exit(bool(lost))


if __name__ == '__main__':
    main()
