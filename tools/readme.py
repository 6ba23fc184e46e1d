"README.md from nbs/index.ipynb, with the pictures in nbs/images: what GitHub shows is what the notebook shows."

import argparse, base64, json, re, sys
from pathlib import Path
from common import ROOT, directives, get_config, source, write
from common import short_name as name
from bs4 import BeautifulSoup
from dialect import attributes, callouts, github, links, options, relative

HIDDEN = {'hide', 'export', 'exporti', 'default_exp'}
NOTE = '<!-- Made from {} by tools/readme.py: edit the notebook, then run `make readme`. -->\n\n'


def table(html):
    "An HTML table in Markdown, or as plain HTML where it spans cells"
    soup = BeautifulSoup(html, 'html.parser')
    for o in soup(['style', 'script']):
        o.decompose()
    if not soup.table:
        return ''.join(map(str, soup.contents)).strip()
    spans = [
        o
        for o in soup.table(['th', 'td'])
        if any(int(o.get(k, 1)) > 1 for k in ('colspan', 'rowspan'))
    ]
    if spans or len(soup('table')) > 1:
        for o in soup(True):
            o.attrs = {k: v for k, v in o.attrs.items() if k in ('colspan', 'rowspan') and v != '1'}
        return re.sub(r'\n\s*', '\n', '\n'.join(map(str, soup('table'))))
    rows = [
        [o.get_text(' ', strip=True).replace('|', r'\|') for o in r(['th', 'td'])]
        for r in soup.table('tr')
    ]
    head = len(soup.table.thead('tr')) if soup.table.thead else 1
    top = [
        ' '.join(filter(None, col)) for col in zip(*rows[:head])
    ]  # a named index makes two header rows: one will do
    numeric = [
        all(re.fullmatch(r'[-+±–−\d.,%\s/()x×–]*', r[i]) for r in rows[head:])
        for i in range(len(top))
    ]
    rule = ['---:' if n else '---' for n in numeric]
    return '\n'.join('| ' + ' | '.join(r) + ' |' for r in [top, rule, *rows[head:]])


class Page:
    "A notebook on its way to Markdown in the file `out`"

    def __init__(self, path, out):
        self.path, self.out, self.images = path, out, {}
        self.cells = json.loads(path.read_text(encoding='utf-8'))['cells']

    def link(self, to):
        page, hash, anchor = to.partition('#')
        return relative(self.path.parent / page, self.out.parent) + hash + anchor

    def output(self, o, stem):
        data = {k: ''.join(v) for k, v in o.get('data', {}).items() if isinstance(v, (str, list))}
        for kind, ext in {'image/png': 'png', 'image/jpeg': 'jpg', 'image/svg+xml': 'svg'}.items():
            if kind in data:
                file = self.path.parent / 'images' / f'{stem}.{ext}'
                self.images[file] = (
                    data[kind].encode() if ext == 'svg' else base64.b64decode(data[kind])
                )
                return f'![{self.caption}]({relative(file, self.out.parent)})'
        if 'text/markdown' in data:
            return self.markdown(data['text/markdown'])
        if 'text/html' in data:
            return table(data['text/html'])
        text = ''.join(o.get('text', '')) or data.get('text/plain', '')
        return f'```text\n{text.rstrip()}\n```' if text.strip() else ''

    def markdown(self, text):
        return attributes(links(callouts(text, github), self.link)).strip()

    def code(self, cell):
        opts, code = options(source(cell))
        if (
            HIDDEN & set(directives(cell))
            or opts.get('include') == 'false'
            or 'nbdev_export(' in code
        ):
            return
        self.caption = opts.get('fig-alt') or opts.get('fig-cap') or ''
        if opts.get('echo') != 'false' and code:
            block = f'```python\n{code}\n```'
            yield (
                f'<details>\n<summary>{opts.get("code-summary", "Code")}</summary>\n\n{block}\n\n</details>'
                if opts.get('code-fold') == 'true'
                else block
            )
        if opts.get('output') == 'false':
            return
        shown = [
            o
            for o in cell['outputs']
            if not (
                o['output_type'] == 'execute_result'
                and len(cell['outputs']) > 1
                and set(o['data']) == {'text/plain'}
            )
        ]  # <Axes: ...> beside a picture
        for i, o in enumerate(shown):
            yield self.output(o, f'{self.path.stem}_{cell["id"]}' + (f'_{i}' if i else ''))
        if opts.get('fig-cap') and self.images:
            yield f'*{opts["fig-cap"]}*'

    def text(self):
        parts = []
        for c in self.cells:
            if c['cell_type'] == 'markdown':
                parts.append(self.markdown(source(c)))
            if c['cell_type'] == 'code':
                parts += self.code(c)
        return (
            NOTE.format(relative(self.path, self.out.parent))
            + '\n\n'.join(filter(None, parts))
            + '\n'
        )


def build(path=None, out=None):
    "Everything the README consists of: {file: bytes}"
    path = path or get_config().nbs_path / get_config().readme_nb
    if not path.exists():
        return {}
    page = Page(path, out or ROOT / 'README.md')
    text = page.text()
    return {page.out: text.encode(), **page.images}


def orphans(files, path=None):
    "Pictures of an earlier README"
    path = path or get_config().nbs_path / get_config().readme_nb
    return [p for p in sorted((path.parent / 'images').glob(f'{path.stem}_*')) if p not in files]


def stale():
    "Files that are not as `build` would make them"
    files = build()
    return [
        name(p)
        for p in [
            *(p for p, data in files.items() if not p.exists() or p.read_bytes() != data),
            *orphans(files),
        ]
    ]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--notebook', type=Path, default=get_config().nbs_path / get_config().readme_nb)
    p.add_argument('--out', type=Path, default=ROOT / 'README.md')
    a = p.parse_args()
    if not a.notebook.exists():
        sys.exit(f'{name(a.notebook)}: no such notebook')
    files = build(a.notebook.resolve(), a.out.resolve())
    changed = [name(p) for p, data in files.items() if write(p, data)]
    for o in orphans(files, a.notebook.resolve()):
        o.unlink()
        changed.append(f'{name(o)} (removed)')
    print('readme:', ', '.join(changed) or 'in step already')


if __name__ == '__main__':
    main()
