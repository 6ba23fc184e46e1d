"Checks of the code's style that ruff does not make, and ruff's own findings, one a line."

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

from check_notebook import Notebook, is_exported, is_import, parsed, python_text
from common import ROOT, short_name

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# short notes that may stand behind code: `# eq. 4`, `# section 3.2`, `# (B, d)`, `# [0, 1]`
NOTE = re.compile(r'#\s*((eqs?|sec|section|Table|Figure)\b.{0,40}|[\[(].{0,40})$')
MAX_EXPORTED = 30
MAX_SHOWN = 20
MAX_HIDDEN = 30
MAX_CLASS = 65


def below(node: ast.AST) -> Iterator[ast.AST]:
    "Every node below `node`, without it"
    for child in ast.iter_child_nodes(node):
        yield from ast.walk(child)


# ---- rules on the syntax tree: each yields (line, finding)


def assigned_lambdas(tree: ast.AST) -> Iterator[tuple[int, str]]:
    "A lambda that gets a name in a tuple or by a condition; ruff finds the plain ones (E731)"
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Assign, ast.AnnAssign)):
            continue
        values = []
        if isinstance(node.value, ast.Tuple):
            values = node.value.elts
        if isinstance(node.value, ast.IfExp):
            values = [node.value.body, node.value.orelse]
        if any(isinstance(value, ast.Lambda) for value in values):
            yield node.lineno, 'a lambda with a name; write a def'


def stray_walrus(tree: ast.AST) -> Iterator[tuple[int, str]]:
    "`:=` outside the test of an `if` or a `while`"
    allowed = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.If, ast.While)):
            allowed.update(id(inner) for inner in ast.walk(node.test))
    for node in ast.walk(tree):
        if isinstance(node, ast.NamedExpr) and id(node) not in allowed:
            yield node.lineno, '`:=` outside an `if` or `while`; assign on a line of its own'


def deep_comprehensions(tree: ast.AST) -> Iterator[tuple[int, str]]:
    "More than one level of comprehension"
    for node in ast.walk(tree):
        if not isinstance(node, COMPREHENSIONS):
            continue
        if len(node.generators) > 1:
            yield node.lineno, 'a comprehension with two `for`; write a loop or a generator'
        elif any(isinstance(inner, COMPREHENSIONS) for inner in below(node)):
            yield node.lineno, 'a comprehension in a comprehension; name the inner one'


def nested_conditionals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    "A conditional expression inside another one"
    for node in ast.walk(tree):
        if isinstance(node, ast.IfExp) and any(isinstance(o, ast.IfExp) for o in below(node)):
            yield node.lineno, 'a conditional expression in another; write an if statement'


def parallel_assignments(tree: ast.AST) -> Iterator[tuple[int, str]]:
    "`a, b = x, y`, unless a value is made of a target, as in `a, b = b, a`"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
            continue
        target = node.targets[0]
        if not isinstance(target, ast.Tuple) or len(target.elts) != len(node.value.elts):
            continue
        names = {ast.unparse(name) for name in target.elts}
        read = {ast.unparse(inner) for inner in below(node.value) if isinstance(inner, ast.expr)}
        if not names & read:
            yield node.lineno, 'several assignments in one; write a line for each'


TREE_RULES = (
    assigned_lambdas,
    stray_walrus,
    deep_comprehensions,
    nested_conditionals,
    parallel_assignments,
)


def docment_lines(tree: ast.AST) -> set[int]:
    "Lines where a trailing comment documents a parameter or a field"
    lines = set()
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            lines.update(range(node.lineno, node.body[0].lineno))
        if isinstance(node, ast.ClassDef):
            fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
            for field in fields:
                lines.update(range(field.lineno, field.end_lineno + 1))
    return lines


def token_findings(text: str, docments: set[int]) -> Iterator[tuple[int, str]]:
    "Semicolons, comments behind code, and silenced rules"
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line, column = token.start
        if token.type == tokenize.OP and token.string == ';':
            yield line, 'a semicolon; one statement a line, and none behind the last expression'
        if token.type != tokenize.COMMENT:
            continue
        if re.search(r'#\s*(noqa|ruff:|type:\s*ignore)', token.string):
            yield line, f'`{token.string}` silences a rule; rewrite the line instead'
        behind_code = bool(lines[line - 1][:column].strip())
        if behind_code and line not in docments and not NOTE.match(token.string):
            yield line, 'a comment behind code; put it on a line of its own above'


def style_findings(text: str) -> list[tuple[int, str]]:
    "All findings in a piece of Python: line and text"
    try:
        tree = ast.parse(text)
        found = list(token_findings(text, docment_lines(tree)))
    except (SyntaxError, tokenize.TokenError) as error:
        return [(getattr(error, 'lineno', 1) or 1, f'is not Python: {error}')]
    for rule in TREE_RULES:
        found.extend(rule(tree))
    return sorted(found)


def check_style(notebook: Notebook) -> Iterator[str]:
    "The style of every code cell"
    for cell in notebook.code():
        if python_text(cell).lstrip().startswith('%%'):
            continue
        for line, finding in style_findings(python_text(cell)):
            yield notebook.says(f'line {line}: {finding}', cell)


def check_python_file(path: Path) -> Iterator[str]:
    "The style of a plain Python file"
    for line, finding in style_findings(path.read_text(encoding='utf-8')):
        yield f'{short_name(path)} line {line}: {finding}'


# ---- size of cells


def is_docstring(node: ast.stmt) -> bool:
    "Whether the statement is a string that stands alone"
    alone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return alone and isinstance(node.value.value, str)


def count_statements(node: ast.AST) -> int:
    "Statements in a node, itself included, docstrings left out"
    found = [inner for inner in ast.walk(node) if isinstance(inner, ast.stmt)]
    return sum(not is_docstring(statement) for statement in found)


def largest_method(node: ast.ClassDef) -> int:
    "Statements of a class's largest method"
    methods = [count_statements(part) for part in node.body if isinstance(part, FUNCTIONS)]
    return max(methods, default=0)


def cell_limit(cell: dict) -> tuple[str, int]:
    "The kind of a cell, and how many statements it may hold"
    if is_exported(cell):
        return 'exported', MAX_EXPORTED
    if 'hide' in cell['directives']:
        return 'hidden', MAX_HIDDEN
    return 'shown', MAX_SHOWN


def check_size(notebook: Notebook) -> Iterator[str]:
    "The number of statements in each code cell"
    for cell in notebook.code():
        body = [statement for statement in parsed(cell) if not is_docstring(statement)]
        if all(is_import(statement) for statement in body):
            continue
        kind, limit = cell_limit(cell)
        total = sum(count_statements(statement) for statement in body)
        size = total
        if len(body) == 1 and isinstance(body[0], ast.ClassDef) and total <= MAX_CLASS:
            size = largest_method(body[0])
        if size > limit:
            yield notebook.says(f'{kind} cell of {total} statements, more than {limit}', cell)


# ---- type hints


def parameters(function: ast.FunctionDef) -> list[ast.arg]:
    "Parameters that need a type: not self, cls, *args or **kwargs"
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [argument for argument in named if argument.arg not in ('self', 'cls')]


def untyped(function: ast.FunctionDef) -> list[str]:
    "What lacks a type: names of parameters, and `return`"
    names = [argument.arg for argument in parameters(function) if argument.annotation is None]
    if function.returns is None and not function.name.startswith('__'):
        names.append('return')
    return names


def public_functions(body: list[ast.stmt], prefix: str = '') -> Iterator[tuple[str, ast.AST]]:
    "Public functions and methods, constructors included, with their full names"
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
            yield from public_functions(node.body, f'{node.name}.')
        if not isinstance(node, FUNCTIONS):
            continue
        if not node.name.startswith('_') or (prefix and node.name in ('__init__', '__call__')):
            yield prefix + node.name, node


def check_hints(notebook: Notebook) -> Iterator[str]:
    "Type hints on every public parameter and return value that is exported"
    for cell in notebook.code():
        if not is_exported(cell):
            continue
        for name, function in public_functions(parsed(cell)):
            if missing := untyped(function):
                yield notebook.says(f'{name} has no type for {", ".join(missing)}', cell)


# ---- ruff


def ruff(*arguments: str) -> list[dict]:
    "Findings of a ruff command as it reports them in JSON"
    command = [str(Path(sys.executable).with_name('ruff')), *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if result.returncode > 1:
        sys.exit(f'ruff failed: {result.stderr.strip()}')
    return json.loads(result.stdout or '[]')


def cell_id(path: Path, number: int | None, ids: dict[Path, list[str]]) -> str:
    "The id of a notebook's cell, whose number counts from 1"
    if number is None:
        return ''
    if path not in ids:
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        ids[path] = [cell.get('id', '?') for cell in cells]
    return f' cell {ids[path][number - 1]}'


def check_ruff(paths: list[Path] | None = None) -> Iterator[str]:
    "`ruff format --check` and `ruff check` on some files, or on all that its settings include"
    files = [str(path) for path in paths or []]
    ids = {}
    for command in (['format', '--check'], ['check']):
        for found in ruff(*command, '--output-format', 'json', '--no-cache', *files):
            path = Path(found['filename'])
            place = f'{short_name(path)}{cell_id(path, found["cell"], ids)}'
            line = found['location']['row']
            if found['code'] == 'unformatted':
                yield f'{place} line {line}: is not formatted; run ruff format'
            else:
                yield f'{place} line {line}: {found["code"]} {found["message"]}'
