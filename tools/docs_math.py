"""MathJax for the documentation site, from the files of JupyterLab, so that maths reads offline.

JupyterLab carries MathJax as modules of its own bundle. The few that typeset a page are put into
one file, with a loader of some lines. Its fonts are copied under the names that MathJax expects.
"""

import json
import re
import shutil
import sys
from pathlib import Path

from fontTools.ttLib import TTFont, TTLibError

from common import write

LAB = Path(sys.prefix) / 'share' / 'jupyter' / 'lab' / 'static'
# the function of JupyterLab that imports what typesets a page
IMPORTS = re.compile(
    r'ensureMathDocument=async.{0,400}?let\[(.*?)\]=await Promise\.all\(\[(.*?)\]\);'
)
NAMES = ('mathjax', 'CHTML', 'TeX', 'AllPackages', 'HTMLHandler', 'browserAdaptor')
# safe addresses in formulas, and MathML for those who listen to a page
NAMES += ('SafeHandler', 'AssistiveMmlHandler')
# letters of a formula on a phone, as a share of their size elsewhere
SMALLEST = 0.65
LOADER = """\
(() => {
const modules = {}, loaded = {};
self[BUNDLE] = {push: ([, found]) => Object.assign(modules, found)};
function load(id) {
  if (!loaded[id]) {
    const module = loaded[id] = {exports: {}};
    modules[id].call(module.exports, module, module.exports, load);
  }
  return loaded[id].exports;
}
load.o = (object, name) => Object.prototype.hasOwnProperty.call(object, name);
load.d = (exports, getters) => {
  for (const name in getters) {
    Object.defineProperty(exports, name, {enumerable: true, get: getters[name]});
  }
};
load.r = exports => Object.defineProperty(exports, '__esModule', {value: true});
load.n = module => Object.assign(() => module.default || module, {a: module.default || module});
load.g = self;
"""
START = """
const fonts = new URL('mathjax', document.currentScript.src).href;
const jax = {};
for (const [name, id] of Object.entries(IDS)) jax[name] = load(id)[name];
const handler = new jax.HTMLHandler(jax.browserAdaptor());
jax.mathjax.handlers.register(jax.AssistiveMmlHandler(jax.SafeHandler(handler)));
function typeset() {
  const InputJax = new jax.TeX({packages: jax.AllPackages, inlineMath: [['\\\\(', '\\\\)']],
    displayMath: [['\\\\[', '\\\\]']]});
  const OutputJax = new jax.CHTML({fontURL: fonts});
  // MyST's sections ask for no maths but in elements of this class
  const options = {InputJax, OutputJax, processHtmlClass: 'math'};
  if (document.querySelector('.math')) jax.mathjax.document(document, options).render();
  addEventListener('resize', fit);
  fit();
}
// on a phone, a wide formula has smaller letters, down to SMALLEST; beyond that it scrolls
function fit() {
  for (const formula of document.querySelectorAll('mjx-container[display="true"]')) {
    const size = formula.dataset.size ??= formula.style.fontSize || '100%';
    formula.style.fontSize = size;
    // elements within a line have no width
    let box = formula.parentElement;
    while (!box.clientWidth && box !== document.body) box = box.parentElement;
    const share = box.clientWidth / formula.scrollWidth;
    if (share < 1) formula.style.fontSize = `calc(${size} * ${Math.max(SMALLEST, share - .005)})`;
  }
}
if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', typeset);
else typeset();
})();
"""


def module_ids(text: str) -> tuple[dict[str, int], list[str]] | None:
    "Name -> module, and the chunks that hold them, as JupyterLab imports them"
    found = IMPORTS.search(text)
    if not found:
        return None
    names = re.findall(r'\{(\w+):', found[1])
    ids = [int(number) for number in re.findall(r'bind\(\w+,(\d+)', found[2])]
    chunks = list(dict.fromkeys(re.findall(r'\.e\((\d+)\)', found[2])))
    by_name = dict(zip(names, ids))
    if len(names) != len(ids) or not set(NAMES) <= set(by_name):
        return None
    return {name: by_name[name] for name in NAMES}, chunks


def mathjax_script(lab: Path = LAB) -> str | None:
    "One script that typesets a page; None where JupyterLab is not what this expects"
    for core in lab.glob('jlab_core.*.js'):
        if found := module_ids(core.read_text(encoding='utf-8')):
            break
    else:
        return None
    ids, chunks = found
    files = [next(lab.glob(f'{chunk}.*.js'), None) for chunk in chunks]
    if None in files:
        return None
    parts = [file.read_text(encoding='utf-8') for file in files]
    bundle = re.search(r'self\.(\w+)=self', parts[0])
    start = START.replace('IDS', json.dumps(ids)).replace('SMALLEST', str(SMALLEST))
    return LOADER.replace('BUNDLE', repr(bundle[1])) + ';\n'.join(parts) + ';\n' + start


def copy_fonts(folder: Path, lab: Path = LAB) -> None:
    "MathJax's fonts under their own names"
    folder.mkdir(parents=True, exist_ok=True)
    for file in lab.glob('*.woff'):
        try:
            name = TTFont(file)['name'].getDebugName(6)
        except TTLibError:
            continue
        if name.startswith('MathJax'):
            shutil.copy(file, folder / f'{name}.woff')


def write_mathjax(static: Path, lab: Path = LAB) -> bool:
    "Put MathJax into the static files of the site; whether there was one"
    script = mathjax_script(lab)
    if script is None:
        return False
    write(static / 'mathjax.js', script)
    copy_fonts(static / 'mathjax', lab)
    return True
