"""Open every page of the site that Sphinx built in a browser, and say what a reader misses.

The browser reaches nothing but the site.  It reports what follows.

Messages of the console, broken links and images, formulas that are not typeset, what is wider than
a phone, and the search.  It needs Chromium or Chrome, and Playwright (`make browser`).
"""

import argparse
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

from common import ROOT, get_config

try:
    from playwright.sync_api import Browser, sync_playwright
    from playwright.sync_api import Page as Tab
    from playwright.sync_api import TimeoutError as Late
except ImportError:
    sync_playwright = None

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome')
PHONE = 390
HEIGHT = 844
# milliseconds
PATIENCE = 120_000
# words that a reader types, and the page that must be among the answers
WORDS = ('domain constrained ranking', 'paper/dcr.html')
LOOK = """async () => {
  const images = [...document.images];
  images.forEach(image => image.loading = 'eager');
  await Promise.all(images.map(image => image.decode().catch(() => 0)));
  await document.fonts.ready;
  const all = [...document.querySelectorAll('body *')];
  const maths = [...document.querySelectorAll('.math')];
  const main = document.querySelector('main, [role=main]');
  const width = document.documentElement.clientWidth;
  // a wide table that scrolls in a box of its own is fine
  const boxed = element => element !== main &&
    (getComputedStyle(element).overflowX !== 'visible' || boxed(element.parentElement));
  const wide = element => element.getBoundingClientRect().right > width + 1 &&
    !boxed(element.parentElement);
  const name = element => `<${element.localName} class="${element.getAttribute('class') || ''}">`;
  const formula = element => element.querySelector('mjx-assistive-mml')?.textContent || '';
  return {
    ids: all.map(element => element.id || element.name).filter(id => typeof id === 'string'),
    links: [...document.querySelectorAll('a[href]')].map(link => link.href),
    broken: images.filter(image => !image.naturalWidth).map(image => image.src),
    without: images.filter(image => !image.hasAttribute('alt')).map(image => image.src),
    plain: maths.filter(element => !element.querySelector('mjx-container:not(:empty)')
      || element.querySelector('merror') || formula(element).includes('\\\\'))
      .map(element => element.textContent),
    scrolling: maths.filter(element => [element, element.firstElementChild].some(
      box => box?.clientWidth && box.scrollWidth > box.clientWidth + 1)).map(formula),
    excess: document.documentElement.scrollWidth - width,
    wide: [...main.querySelectorAll('*')].filter(wide).map(name),
  };
}"""


class Visit(NamedTuple):
    "What a page has, by its path in the site"

    name: str
    ids: set[str]
    links: list[str]
    findings: list[str]


class Handler(SimpleHTTPRequestHandler):
    "Files of a folder, without a line for each request"

    def log_message(self, *words: Any) -> None:
        "Nothing"

    def copyfile(self, *files: Any) -> None:
        "A file, if the tab is not closed before"
        with suppress(ConnectionError):
            super().copyfile(*files)


def serve(site: Path) -> ThreadingHTTPServer:
    "A server of the site on a free port of this machine; it ends with the process"
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def find_browser(name: str = '') -> str | None:
    "The program of a browser: `name`, or the first of those that this machine has"
    found = [shutil.which(browser) for browser in ([name] if name else BROWSERS)]
    return next((path for path in found if path), None)


def shortened(text: str, length: int = 100) -> str:
    "One line of text"
    text = ' '.join(text.split())
    return text if len(text) <= length else text[: length - 3] + '...'


class Reader:
    "A reader with a browser who has nothing but the site"

    def __init__(self, browser: 'Browser', site: Path, address: str):
        self.window = browser.new_context()
        self.site = site
        self.address = address
        # pictures of long pages take a busy machine more than the usual half a minute
        self.window.set_default_timeout(PATIENCE)

    def open(self, name: str, messages: list[str], width: int = PHONE) -> 'Tab':
        "A page in a tab of its own; its console and its failed requests come into `messages`"
        tab = self.window.new_page()
        tab.set_viewport_size(dict(width=width, height=HEIGHT))

        def request(route: Any) -> None:
            url = route.request.url
            if url.startswith((self.address, 'data:', 'blob:')):
                return route.continue_()
            messages.append(f'asks the network for {url}')
            return route.abort()

        tab.route('**/*', request)
        tab.on('pageerror', lambda error: messages.append(f'script fails: {error}'))
        tab.on('console', lambda line: line.type == 'error' and messages.append(line.text))
        tab.goto(self.address + name, wait_until='load')
        return tab

    def visit(self, name: str) -> Visit:
        "A page on a phone"
        messages = []
        tab = self.open(name, messages)
        seen = tab.evaluate(LOOK)
        tab.close()
        kinds = dict(
            broken='image is broken',
            without='image has no alternative text',
            plain='formula is not typeset',
            scrolling=f'formula is wider than {PHONE} pixels',
        )
        for key, words in kinds.items():
            messages += [f'{words}: {shortened(text)}' for text in seen[key]]
        if seen['excess'] > 0 or seen['wide']:
            widest = ', '.join(seen['wide'][:3])
            messages.append(f'page is wider than {PHONE} pixels: {widest}')
        return Visit(name, set(seen['ids']), seen['links'], messages)

    def search(self) -> list[str]:
        "What is wrong with the search"
        words, wanted = WORDS
        messages = []
        tab = self.open('index.html', messages, width=1366)
        tab.locator('input[name=q]').first.fill(words)
        tab.keyboard.press('Enter')
        answers = tab.locator('#search-results li a')
        with suppress(Late):
            answers.first.wait_for(timeout=PATIENCE / 4)
        links = answers.evaluate_all('links => links.map(link => link.href)')
        tab.close()
        if not any(urlsplit(link).path.endswith(wanted) for link in links):
            messages.append(f'search for "{words}" has {len(links)} answers without {wanted}')
        return messages

    def picture(self, name: str, width: int, dark: bool, folder: Path) -> None:
        "A picture of a whole page"
        tab = self.open(name, [], width)
        tab.emulate_media(color_scheme='dark' if dark else 'light')
        tab.evaluate(LOOK)
        file = f'{name.removesuffix(".html").replace("/", "-")}-{width}{"-dark" * dark}.png'
        tab.screenshot(path=folder / file, full_page=True)
        tab.close()


def link_finding(link: str, reader: Reader, visits: dict[str, Visit]) -> str | None:
    "What is wrong with a link into the site or into the repository"
    config = get_config()
    parts = urlsplit(link)
    repository = f'{config.git_url}/blob/{config.branch}/'
    if link.startswith(repository):
        file = unquote(parts._replace(fragment='').geturl().removeprefix(repository))
        return None if (ROOT / file).exists() else f'{link}: the repository has no {file}'
    if not link.startswith(reader.address):
        return None
    name = unquote(parts.path.lstrip('/'))
    name = f'{name}index.html' if name.endswith('/') or not name else name
    if not (reader.site / name).is_file():
        return f'broken link to {name}'
    anchor = unquote(parts.fragment)
    if name in visits and anchor and anchor not in visits[name].ids:
        return f'link to {name}#{anchor}, which {name} does not have'
    return None


def findings(reader: Reader, names: list[str]) -> Iterator[str]:
    "Everything that is wrong, with the page in front"
    visits = {}
    for name in tqdm(names, unit='page', disable=None, leave=False):
        visits[name] = reader.visit(name)
    for name, visit in visits.items():
        links = [link_finding(link, reader, visits) for link in dict.fromkeys(visit.links)]
        for finding in [*visit.findings, *filter(None, links)]:
            yield f'{name}: {finding}'
    for finding in reader.search():
        yield f'search: {finding}'


def options() -> argparse.Namespace:
    "The command line"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('pages', nargs='*', help='such as paper/dcr.html (default: all)')
    parser.add_argument('--browser', default='', help='its program (default: Chromium or Chrome)')
    parser.add_argument('--pictures', type=Path, metavar='FOLDER', help='pictures of pages instead')
    parser.add_argument('--width', type=int, default=PHONE, help='of the pictures')
    parser.add_argument('--dark', action='store_true', help='pictures on a dark desktop')
    return parser.parse_args()


def take_pictures(reader: Reader, names: list[str], chosen: argparse.Namespace) -> None:
    "Pictures of the pages"
    chosen.pictures.mkdir(parents=True, exist_ok=True)
    for name in tqdm(names, unit='picture', disable=None, leave=False):
        reader.picture(name, chosen.width, chosen.dark, chosen.pictures)
    print(f'browse: {len(names)} pictures in {chosen.pictures}/')


def main() -> None:
    "Visit the pages and print the findings; they are the exit code"
    chosen = options()
    site = get_config().doc_path
    program = find_browser(chosen.browser)
    if program is None or sync_playwright is None:
        lacks = 'Playwright (make browser)' if program else 'Chromium or Chrome'
        print(f'browse: skipped, this machine lacks {lacks}')
        return
    every = sorted(path.relative_to(site).as_posix() for path in site.rglob('*.html'))
    names = chosen.pages or every
    missing = sorted({*names, 'search.html'} - set(every))
    if missing or not names:
        lacks = f'{site.name} has no page {"".join(missing[:1])}'
        sys.exit(f'browse: {lacks}; make docs ARGS=--sphinx builds it')
    server = serve(site)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        reader = Reader(browser, site, f'http://127.0.0.1:{server.server_port}/')
        if chosen.pictures:
            take_pictures(reader, names, chosen)
            return
        found = [*findings(reader, names)]
    print('\n'.join([*found, f'browse: {len(names)} pages, {len(found)} findings']))
    sys.exit(bool(found))


if __name__ == '__main__':
    main()
