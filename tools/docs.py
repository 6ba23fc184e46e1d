"The documentation site, into _docs: by Quarto where it is installed, by Sphinx where it is not."

import argparse, os, re, shutil, subprocess, sys, tempfile
from pathlib import Path
from common import ROOT, get_config, notebooks, write
import nbformat, yaml
from nbformat.v4 import new_code_cell, new_markdown_cell
from dialect import attributes, callouts, links, myst, options, relative

FRONT = re.compile(r'\s*---\n(.*?)\n---\s*', re.S)
CONF = """project = html_title = {title!r}
copyright, html_baseurl = {copyright!r}, {url!r}
extensions, html_theme, nb_execution_mode = ['myst_nb', 'sphinx.ext.mathjax'], 'furo', 'off'
myst_enable_extensions, myst_heading_anchors = ['attrs_block', 'dollarmath', 'amsmath', 'colon_fence'], 4
html_static_path, html_css_files = ['_static'], ['site.css']
html_theme_options = dict(top_of_page_buttons=[])
suppress_warnings = ['myst.header', 'myst.xref_missing', 'mystnb.unknown_mime_type']
"""
CSS = """.cell_output table { border-collapse: collapse; font-size: .85rem } .cell_output table :is(th, td) { border: 0; padding: .2rem .7rem; text-align: right }
.cell_output img { max-width: 100% } article h3 { font-size: 1.25rem } article p.lead { font-size: 1.1rem; color: var(--color-foreground-secondary) } article h2 { font-size: 1.6rem }
"""


def site_yml():
    "_quarto.yml without the pages that do not exist; every page has its place"
    yml, have = (
        yaml.safe_load((ROOT / '_quarto.yml').read_text(encoding='utf-8')),
        {p.relative_to(get_config().nbs_path).as_posix() for p in notebooks()},
    )
    parts = yml['website']['sidebar']['contents']
    listed = {o for part in parts for o in part['contents']}
    if lost := sorted(have - listed):
        sys.exit(f'_quarto.yml: {lost[0]} has no place in the sidebar; add it to a part')
    for part in parts:
        part['contents'] = [o for o in part['contents'] if o in have]
    yml['website']['sidebar']['contents'] = [o for o in parts if o['contents']]
    return yml


def quarto(yml):
    "The way of nbdev"
    write(
        get_config().nbs_path / '_quarto.yml',
        "# Copied from the project's _quarto.yml by tools/docs.py: edit that one.\n"
        + yaml.safe_dump(yml, sort_keys=False),
    )
    if (ROOT / 'README.md').exists():
        os.utime(
            ROOT / 'README.md'
        )  # tools/readme.py writes it: nbdev_docs must find nothing to do there
    subprocess.run([str(Path(sys.executable).with_name('nbdev_docs'))], check=True)


class Page:
    "A notebook that nbdev has processed, on its way to Sphinx"

    def __init__(self, path, proc):
        self.path, self.rel, self.nb = path, path.relative_to(proc), nbformat.read(path, 4)
        self.front = next(
            (yaml.safe_load(m[1]) for c in self.nb.cells[:2] if (m := FRONT.fullmatch(c.source))),
            {},
        )
        self.name = (
            self.rel.parent / Path(self.front.get('output-file', self.rel.name)).stem
        ).as_posix()

    def prose(self, text, site):
        "Markdown in MyST, links pointing into the site"
        cfg = get_config()

        def inside(to):
            page, _, anchor = to.partition('#')
            target = site.get((self.rel.parent / page).as_posix())
            return (
                f'{relative(target, Path(self.name).parent)}.ipynb'
                + (
                    f'#{re.sub(r"[^a-z0-9_-]", "", anchor.lower().replace(" ", "-"))}'
                    if anchor
                    else ''
                )
                if target
                else None
            )

        text = re.sub(
            r'\]\(' + re.escape(cfg.doc_host + cfg.doc_baseurl) + r'/?([\w/.-]*)\.html',
            r'](\1.ipynb',
            text,
        )  # nbdev's links to names of the library
        return links(attributes(callouts(text, myst)), inside)

    def shown(self, outputs):
        "What show_doc wrote, as prose: heading, signature, docstring"
        for o in outputs:
            text = o.get('data', {}).get('text/markdown') or o.get('text', '')
            text = re.sub(r'\A\s*---\s*\n', '', text)
            yield re.sub(
                r'\A\s*(\[source\]\([^)]*\))(?:\{[^}]*\})?\s*\n+(#+ .*\n)', r'\2\n\1\n', text
            )

    def code(self, cell, site):
        opts, source = options(cell.source)
        outputs = [o for o in cell.outputs if opts.get('output') != 'false']
        if opts.get('include') == 'false':
            return
        if opts.get('output') == 'asis':
            yield from (new_markdown_cell(self.prose(t, site)) for t in self.shown(outputs))
            return
        if len(outputs) > 1:
            outputs = [
                o
                for o in outputs
                if not (o.output_type == 'execute_result' and set(o.data) == {'text/plain'})
            ]  # <Axes: ...> beside a picture
        tags = ['remove-input'] * (opts.get('echo') == 'false' or not source) + ['hide-input'] * (
            opts.get('code-fold') == 'true'
        )
        new = new_code_cell(source, outputs=outputs, metadata=dict(tags=tags))
        if caption := opts.get('fig-cap'):
            new.metadata['mystnb'] = dict(figure=dict(caption=caption))
        for o in outputs:
            if 'text/markdown' in o.get('data', {}):
                o.data['text/markdown'] = self.prose(o.data['text/markdown'], site)
        if source or outputs:
            yield new

    def write(self, dest, site, extra=''):
        cells = []
        for c in self.nb.cells:
            if c.cell_type == 'markdown' and 'WARNING: THIS FILE WAS AUTOGENERATED' not in c.source:
                cells.append(new_markdown_cell(self.prose(c.source, site)))
            if c.cell_type == 'code':
                cells += self.code(c, site)
        title = self.front.get('title', self.rel.stem)
        cfg = get_config()
        lead = f'{self.front["description"]}\n\n' if self.front.get('description') else ''
        cells = [
            new_markdown_cell(
                f'# {title}\n\n{{.lead}}\n{lead}[notebook]({cfg.git_url}/blob/{cfg.branch}/{cfg.nbs_path.name}/{self.rel.as_posix()})'
            ),
            *cells,
            *([new_markdown_cell(extra)] if extra else []),
        ]
        for i, c in enumerate(cells):
            c.id = f'c{i}'
        file = dest / f'{self.name}.ipynb'
        file.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(
            nbformat.v4.new_notebook(
                cells=cells,
                metadata=dict(
                    kernelspec=dict(name='python3', display_name='python3', language='python'),
                    language_info=dict(name='python', pygments_lexer='ipython3'),
                ),
            ),
            file,
        )


def process():
    "nbdev's processing, without `nbdev_docs`: that one fetches Quarto with sudo where it is missing"
    from nbdev.serve import proc_nbs

    return proc_nbs(force=True, n_workers=2)


def sphinx(yml, proc):
    "The same site without Quarto"
    cfg = get_config()
    pages = {p.rel.as_posix(): p for p in (Page(f, proc) for f in sorted(proc.rglob('*.ipynb')))}
    site = {rel: p.name for rel, p in pages.items()} | {
        f'{p.name}.ipynb': p.name for p in pages.values()
    }
    parts = [
        (
            part['section'],
            [pages[o].name for o in part['contents'] if o in pages and pages[o].name != 'index'],
        )
        for part in yml['website']['sidebar']['contents']
    ]
    toc = '\n\n'.join(
        '```{toctree}\n:hidden:\n:caption: ' + '\n'.join([section, '', *names]) + '\n```'
        for section, names in parts
        if names
    )
    with tempfile.TemporaryDirectory() as d:
        src, out = Path(d) / 'src', Path(d) / 'html'
        for p in pages.values():
            p.write(src, site, extra=toc if p.name == 'index' else '')
        if 'index' not in site.values():
            write(src / 'index.md', f'# {yml["website"]["title"]}\n\n{toc}\n')
        write(src / '_static' / 'site.css', CSS)
        if (proc / 'images').is_dir():
            shutil.copytree(proc / 'images', src / 'images')
        write(
            src / 'conf.py',
            CONF.format(
                title=yml['website']['title'],
                copyright=cfg.copyright,
                url=cfg.doc_host + cfg.doc_baseurl + '/',
            ),
        )
        subprocess.run(
            [
                sys.executable,
                '-m',
                'sphinx',
                '-q',
                '-W',
                '--keep-going',
                '-b',
                'html',
                '-d',
                f'{d}/trees',
                str(src),
                str(out),
            ],
            check=True,
        )
        shutil.rmtree(out / 'jupyter_execute', ignore_errors=True)
        (out / '.nojekyll').touch()
        shutil.rmtree(cfg.doc_path, ignore_errors=True)
        shutil.copytree(out, cfg.doc_path)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument(
        '--sphinx', action='store_true', help='by Sphinx, even where Quarto is installed'
    )
    a, yml = p.parse_args(), site_yml()
    try:
        if shutil.which('quarto') and not a.sphinx:
            quarto(yml)
        else:
            sphinx(yml, process())
    except subprocess.CalledProcessError as e:
        sys.exit(f'docs: {Path(e.cmd[0]).name} failed; its messages are above')
    proc = ROOT / '_proc'
    lost = [
        o
        for o in (Page(f, proc) for f in sorted(proc.rglob('*.ipynb')) if '_docs' not in f.parts)
        if not (get_config().doc_path / f'{o.name}.html').is_file()
    ]
    for o in lost:
        print(f'{o.rel}: has no page in {get_config().doc_path.name}')
    print(
        f'docs: {len(list(get_config().doc_path.rglob("*.html")))} pages in {get_config().doc_path.name}/, open index.html'
    )
    sys.exit(bool(lost))


if __name__ == '__main__':
    main()
