"Out of Quarto's dialect: callouts, fenced divs, attributes, cell options."

import os, re

GITHUB = dict(note='NOTE', tip='TIP', important='IMPORTANT', warning='WARNING', caution='CAUTION')
OPTION = re.compile(r'\s*#\s*\|\s*([\w-]+):?\s*(.*)$')
DIV = re.compile(r'^(:{3,})\s*\{([^}]*)\}\s*$')


def github(kind, title, body):
    "A callout as GitHub's alert"
    lines = ([f'**{title}**', ''] if title else []) + body
    return [f'> [!{GITHUB.get(kind, "NOTE")}]', *(f'> {o}'.rstrip() for o in lines)]


def myst(kind, title, body):
    "A callout as MyST's admonition; a longer fence outside, so that they nest"
    n = max([3] + [len(o) - len(o.lstrip(':')) + 1 for o in body if o.startswith(':::')])
    return [
        f'{":" * n}{{admonition}} {title or kind.title()}',
        f':class: {"warning" if kind == "caution" else kind}',
        '',
        *body,
        ':' * n,
    ]


def callouts(text, style):
    "Markdown with its fenced divs resolved: callouts in `style`, other divs opened up; code blocks are left alone"
    out, stack, code = (
        [],
        [],
        None,
    )  # the stack holds (fence, kind, title, lines) of the divs that are open
    for line in text.split('\n'):
        if m := re.match(r'\s*(`{3,}|~{3,})', line):
            if code is None:
                code = m[1]
            elif m[1].startswith(code) and line.strip() == m[1]:
                code = None
        here = stack[-1][2] if stack else out
        if code is None and (m := DIV.match(line)):
            kind, title = re.search(r'\.callout-(\w+)', m[2]), re.search(r'title="([^"]*)"', m[2])
            stack.append((kind and kind[1], title and title[1], []))
        elif code is None and stack and re.fullmatch(r':{3,}\s*', line):
            kind, title, body = stack.pop()
            while body and not body[0].strip():
                body.pop(0)
            while body and not body[-1].strip():
                body.pop()
            if body and not title and (m := re.match(r'#+\s+(.*)', body[0])):
                title, body = m[1], body[1:]
            (stack[-1][2] if stack else out).extend(style(kind, title, body) if kind else body)
        else:
            here.append(line)
    for kind, title, body in stack:
        out += body  # a div that was never closed
    return '\n'.join(out)


def attributes(text):
    "Without Pandoc's `{target=...}` after links and pictures"
    return re.sub(r'(\]\([^)\s]+(?:\s+"[^"]*")?\))\{[^}\n]*\}', r'\1', text)


def options(text):
    "A code cell as (options, code): `#| echo: false` and the like, and the directives of nbdev"
    opts, lines = {}, text.split('\n')
    while lines and (not lines[0].strip() or OPTION.match(lines[0])):
        if m := OPTION.match(lines.pop(0)):
            opts[m[1]] = m[2].strip().strip('"')
    return opts, re.sub(r'^\s*#\|\s*hide_line\s*$', '', '\n'.join(lines), flags=re.M).rstrip()


def links(text, target):
    "`text` with every relative link and picture `x` sent through `target(x)`"

    def sub(m):
        to = target(m[2])
        return f'{m[1]}{to}{m[3]}' if to else m[0]

    text = re.sub(r'(\]\()(?![a-z]+:|#|/)([^)\s]+)((?:\s+"[^"]*")?\))', sub, text)
    return re.sub(r'(<(?:img|a)\b[^>]*?\b(?:src|href)=")(?![a-z]+:|#|/)([^"]+)(")', sub, text)


def relative(path, start):
    return os.path.relpath(path, start).replace(os.sep, '/')
