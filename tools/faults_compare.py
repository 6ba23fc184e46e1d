"Whether two results are the same, but for times; and which files one has in addition."

import hashlib
import json
import re
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open

# what differs between two equal runs: times, the machine, and names that are drawn at random
VARYING = (
    'seconds',
    'wait',
    'images_per_second',
    'hardware',
    'commit',
    'finished',
    'vectors',
    'sha256',
)
# logs of times, and pages that quote times
LOGS = ('tasks.jsonl', 'model_card.md', 'times.json')
RANDOM_NAME = re.compile(r'vectors-[0-9a-f]{12}')


def digest(data: bytes) -> str:
    "A short hash"
    return hashlib.sha256(data).hexdigest()[:16]


def without_times(value: object) -> object:
    "A JSON value without what varies between two equal runs"
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key not in VARYING}
        return {key: without_times(item) for key, item in kept.items()}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def json_digest(text: str) -> str:
    "Of a JSON document, or of lines of JSON in any order"
    try:
        found = [json.loads(text)]
    except json.JSONDecodeError:
        found = [json.loads(line) for line in text.splitlines() if line]
        # of two results of one run, the later one counts
        ids = [line.get('id', i) if isinstance(line, dict) else i for i, line in enumerate(found)]
        found = [*dict(zip(ids, found)).values()]
    lines = sorted(json.dumps(without_times(value), sort_keys=True) for value in found)
    return digest('\n'.join(lines).encode())


def tensors_digest(path: Path) -> str:
    "Of tensors and header of a safetensors file"
    content = hashlib.sha256()
    with safe_open(path, 'np') as file:
        header = json.loads((file.metadata() or {}).get('mfsr_nb', '{}'))
        content.update(json.dumps(without_times(header), sort_keys=True).encode())
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            content.update(f'{name} {tensor.dtype} {tensor.shape}'.encode() + tensor.tobytes())
    return content.hexdigest()[:16]


def file_digest(path: Path) -> str:
    "Of a file, by its kind; a damaged one has a digest, too"
    try:
        if path.suffix == '.safetensors':
            return tensors_digest(path)
        if path.suffix in ('.json', '.jsonl'):
            return json_digest(path.read_text(encoding='utf-8'))
    except (SafetensorError, ValueError) as error:
        return f'damaged: {type(error).__name__}'
    return digest(path.read_bytes())


def files(folder: Path) -> list[Path]:
    "All files below a folder, which a run may be changing"
    while True:
        # a folder may vanish while it is listed
        with suppress(FileNotFoundError):
            return sorted(path for path in folder.rglob('*') if path.is_file())


def name_in(folder: Path, path: Path) -> str:
    "The name of a file in a result"
    return RANDOM_NAME.sub('vectors', path.relative_to(folder).as_posix())


def is_compared(path: Path) -> bool:
    "Is the file a result, and no log, lock or hidden file?"
    return path.name not in LOGS and not path.name.startswith('.')


def content(folder: Path) -> dict[str, str]:
    "Name and digest of every file of a result"
    return {name_in(folder, path): file_digest(path) for path in files(folder) if is_compared(path)}


def names(folder: Path) -> list[str]:
    "The names of all files, hidden ones too"
    return sorted(name_in(folder, path) for path in files(folder))


def difference(wanted: dict[str, str], found: dict[str, str]) -> str:
    "The first file that differs, or nothing"
    for name in sorted({*wanted, *found}):
        if wanted.get(name) != found.get(name):
            return name
    return ''
