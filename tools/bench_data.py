"Benchmarks of drawing, decoding, reading, masking and finding faces; each yields rows."

import importlib.util
import io
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from bench_common import decode_pillow, in_turns, jpeg, row, seconds_of
from common import ROOT

Rows = Iterator[dict]


# ---- decoding


def decode_opencv(data: bytes) -> np.ndarray:
    "An image decoded by OpenCV"
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def decode_torchvision(data: bytes) -> np.ndarray:
    "An image decoded by torchvision"
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return decode_jpeg(buffer, mode=ImageReadMode.RGB).permute(1, 2, 0).numpy()


def decode_each(decode: Callable, files: list[bytes]) -> None:
    "Decode all files, one after the other"
    for data in files:
        decode(data)


def drawn_files(size: int, number: int) -> list[bytes]:
    "JPEGs of a size; twenty different ones, again and again"
    from mfsr_nb.world.faces import FaceWorld

    drawn = FaceWorld(seed=0, size=min(size, 256)).faces(np.arange(20), np.arange(20), None)
    images = [Image.fromarray(image).resize((size, size)) for image in drawn.image]
    files = [jpeg(image, quality=90) for image in images]
    return (files * number)[:number]


def decoding() -> Rows:
    "Libraries that decode JPEGs, on the same bytes in memory, one thread each, against Pillow"
    import cv2
    import simplejpeg

    cv2.setNumThreads(1)
    readers = dict(
        simplejpeg=simplejpeg.decode_jpeg,
        OpenCV=decode_opencv,
        torchvision=decode_torchvision,
    )
    for size, number in ((112, 400), (256, 200), (1024, 20)):
        files = drawn_files(size, number)
        for name, decode in readers.items():
            for data in files[:20]:
                assert (decode(data) == decode_pillow(data)).all(), name
            ours = partial(decode_each, decode, files)
            theirs = partial(decode_each, decode_pillow, files)
            seconds = in_turns(ours, theirs, rounds=7)
            what = f'decoding {size} px with {name}'
            yield row(what, 'Pillow', seconds, number, unit='images/s')


# ---- the face world


def open_rgb(data: bytes) -> np.ndarray:
    "An image that is known to be RGB, decoded by Pillow"
    return np.asarray(Image.open(io.BytesIO(data)))


def draw_faces(size: int) -> dict:
    "Drawing faces of one size"
    from mfsr_nb.world.faces import FaceWorld

    world = FaceWorld(seed=0, size=size)
    number = 32 if size > 200 else 128
    identities = np.arange(number) % 16
    views = np.arange(number) // 16
    masks = [None, 'surgical'] * (number // 2)
    files = [jpeg(image) for image in world.faces(identities, views, masks).image]

    ours = partial(world.faces, identities, views, masks)
    seconds = in_turns(ours, partial(decode_each, open_rgb, files))
    what = f'faces drawn at {size} px'
    against = 'decoding them from JPEG (Pillow)'
    return row(what, against, seconds, number, unit='faces/s')


def world() -> Rows:
    "Drawing a face against decoding one of the same size from a JPEG in memory"
    for size in (64, 112, 256):
        yield draw_faces(size)


# ---- RecordIO


def read_bytes(path: str) -> bytes:
    "A file's content"
    with open(path, 'rb') as file:
        return file.read()


def write_both_layouts(folder: Path, number: int, rng: np.random.Generator) -> list[Path]:
    "The same JPEGs in identity folders and as RecordIO; returns the paths in the folders"
    from mfsr_nb.data.recordio import write_recordio

    paths = []
    images = []
    for index in range(number):
        coarse = Image.fromarray(rng.integers(0, 256, (14, 14, 3), np.uint8))
        data = jpeg(coarse.resize((112, 112), Image.Resampling.BICUBIC))
        path = folder / f'folders/{index // 40:03}/{index:05}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        paths.append(path)
        images.append((data, index // 40))
    write_recordio(folder / 'rec', images)
    return paths


def read_records(folder: Path) -> Rows:
    "Reading in random order from RecordIO against identity folders"
    from mfsr_nb.data.recordio import RecordFile

    rng = np.random.default_rng(0)
    number = 2000
    files = write_both_layouts(folder, number, rng)
    records = RecordFile(folder / 'rec')
    order = rng.permutation(number).tolist()
    keys = records.keys[order].tolist()
    paths = [str(files[index]) for index in order]
    sizes = [path.stat().st_size for path in files]

    def records_as(convert: Callable) -> None:
        for key in keys:
            convert(records.encoded(key))

    def folders_as(convert: Callable) -> None:
        for path in paths:
            convert(read_bytes(path))

    whats = {
        'RecordIO, 112 px JPEGs in random order, bytes only': len,
        'the same, decoded (Pillow)': decode_pillow,
    }
    for what, convert in whats.items():
        seconds = in_turns(partial(records_as, convert), partial(folders_as, convert))
        yield row(
            what,
            'the same files in identity folders',
            seconds,
            count=number,
            unit='images/s',
            note=f'{np.mean(sizes) / 1024:.1f} KB each',
        )


def read_headers(folder: Path) -> None:
    "The header of every record, by a loop of seek, read and unpack"
    with open(folder / 'train.rec', 'rb') as records, open(folder / 'train.idx') as index:
        for line in index:
            records.seek(int(line.split('\t')[1]) + 8)
            struct.unpack('<IfQQ', records.read(24))


def open_many_records(folder: Path) -> dict:
    "Opening a file of half a million records"
    from mfsr_nb.data.recordio import RecordFile, write_recordio

    number = write_recordio(folder, ((b'JPEG', index // 50) for index in range(500_000)))
    seconds = in_turns(lambda: RecordFile(folder), lambda: read_headers(folder), rounds=3)
    (folder / 'train.idx').unlink()
    scans = [seconds_of(lambda: RecordFile(folder)) for _ in range(3)]
    opened = np.median(seconds[:, 0])
    return row(
        f'opening a RecordIO file of {number:,} images, all labels read and checked',
        'a loop of seek, read and unpack',
        seconds,
        count=number,
        unit='images/s',
        note=f'{opened:.1f} s; {np.median(scans):.1f} s without an index',
    )


def recordio() -> Rows:
    "RecordIO against identity folders, files in the page cache; opening many records"
    with tempfile.TemporaryDirectory() as folder:
        yield from read_records(Path(folder))
        yield open_many_records(Path(folder) / 'many')


# ---- loading in training


class PlainImages:
    "Decodes whole files with Pillow in the training step, one after the other"

    def __init__(self, paths: list[str], size: int):
        self.paths = list(paths)
        self.size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: list[int]) -> object:
        import torch

        from mfsr_nb.data.squares import to_square

        images = [Image.open(self.paths[index]).convert('RGB') for index in rows]
        return torch.from_numpy(np.stack([to_square(image, self.size) for image in images]))


def write_faces(folder: Path, size: int, number: int, identities: int) -> None:
    "Drawn faces as JPEGs in identity folders, the identities in turns"
    from mfsr_nb.world.faces import FaceWorld

    indices = np.arange(number)
    drawn = FaceWorld(seed=0, size=size).faces(indices % identities, indices // identities, None)
    for index, image in enumerate(drawn.image):
        path = folder / f'{index % identities}' / f'{index}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, quality=95)


def loading() -> Rows:
    """The `mini` recognizer fed from files of 256 px, against decoding within the step.

    The files are streamed by workers, or held in memory.
    """
    from mfsr_nb.data.loading import load_pixels
    from mfsr_nb.presets import load_preset
    from mfsr_nb.recognition.recognizer import training_set
    from mfsr_nb.recognition.train import train_recognizer

    settings = load_preset('mini').recognition
    steps = 30
    size = settings.image_size
    batch = settings.batch.identities * settings.batch.images_per_identity
    schedule = replace(settings.schedule.casia, steps=steps, milestones=())
    with tempfile.TemporaryDirectory() as folder:
        write_faces(Path(folder), size=256, number=384, identities=48)
        table = training_set(folder)
        feeds = dict(
            plain=PlainImages(table.path, size),
            streamed=load_pixels(table, size, stream=True)[1],
            memory=load_pixels(table, size, stream=False)[1],
        )
        waits = {name: [] for name in feeds}

        def train(name: str) -> None:
            with tempfile.TemporaryDirectory() as run:
                facts = train_recognizer(table, feeds[name], run, settings, schedule)[1]
            waits[name].append(facts['wait'])

        def waiting(name: str) -> str:
            return f'{100 * np.median(waits[name][1:]):.1f} %'

        for name in ('streamed', 'memory'):
            seconds = in_turns(partial(train, name), partial(train, 'plain'))
            yield row(
                f'training, {name}, batch {batch} at {size} px from files of 256 px',
                'decoded by Pillow within the step',
                seconds,
                count=batch * steps,
                unit='images/s',
                note=f'{waiting(name)} of the time waiting for data, against {waiting("plain")}',
            )


# ---- masking


class MaskingFolder:
    "Drawn faces with landmarks on disk, and a plain loop that decodes and encodes them"

    def __init__(self, folder: Path, number: int):
        from mfsr_nb.world.faces import FaceWorld

        self.source = folder / 'src'
        self.plain = folder / 'plain'
        self.folder = folder
        self.turn = count()
        self.names = [f'{index % 200:03d}/{index}.jpg' for index in range(number)]
        indices = np.arange(number)
        self.faces = FaceWorld(seed=0, size=112).faces(indices % 200, indices // 200)
        for name, image in zip(self.names, self.faces.image):
            for root in (self.source, self.plain):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(self.source / name, quality=95, subsampling=0)
        self.write_landmarks()

    def write_landmarks(self) -> None:
        "The landmarks of all faces as one table"
        import pandas as pd

        points = np.stack([face.landmarks.ravel() for face in self.faces])
        columns = []
        for index in range(68):
            columns += [f'x{index}', f'y{index}']
        table = pd.DataFrame(points, self.names, columns).rename_axis('path')
        table.to_csv(self.source / 'landmarks.csv')

    def grow(self, copies: int) -> None:
        "Link every file as other files, with the same landmarks"
        import pandas as pd

        table = pd.read_csv(self.source / 'landmarks.csv')
        tables = [table]
        originals = list(self.names)
        for copy in range(copies):
            tables.append(table.assign(path=f'c{copy}_' + table.path))
            for name in originals:
                new = f'c{copy}_{name}'
                for root in (self.source, self.plain):
                    (root / new).parent.mkdir(exist_ok=True)
                os.link(self.source / name, self.source / new)
                self.names.append(new)
        pd.concat(tables).to_csv(self.source / 'landmarks.csv', index=False)

    def copy_one(self, name: str) -> None:
        "Decode and encode one file"
        image = Image.open(self.source / name).convert('RGB')
        image.save(self.plain / name, quality=95, subsampling=0)

    def copy_all(self, threads: int) -> None:
        "Decode and encode all files"
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self.copy_one, self.names))

    def mask(self, method: str, **options) -> None:
        "Mask the folder into a new one"
        from mfsr_nb.masks.mask_folder import mask_folder

        mask_folder(self.source, self.folder / f'out{next(self.turn)}', method, **options)

    def measure(self, what: str, ours: Callable, threads: int, rounds: int = 3) -> dict:
        "Masking against the plain loop"
        seconds = in_turns(ours, lambda: self.copy_all(threads), rounds)
        words = {1: 'one thread', 2: 'two threads'}
        against = f'decoding and encoding the same files (Pillow), {words[threads]}'
        return row(what, against, seconds, len(self.names), unit='images/s')


MASKS = (
    ('de', {}),
    ('crop', {}),
    ('kp_cvx', {}),
    ('kp_syn', {}),
    ('kp_syn', dict(warp='homography')),
    ('kp_syn', dict(warp='piecewise')),
)


def masking() -> Rows:
    """Masking a folder of 112 px crops against decoding and encoding the same files.

    Masking writes image, segmentation and recipe; the plain loop writes one file.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = MaskingFolder(Path(temporary), number=2000)
        for method, options in MASKS:
            name = ' '.join(['masking by', method, *options.values()])
            ours = partial(folder.mask, method, workers=1, **options)
            yield folder.measure(f'{name}, one process', ours, threads=1)
        yield folder.measure(
            f'masking {len(folder.names):,} images by kp_syn on two cores, one process '
            '(the default for so few)',
            partial(folder.mask, 'kp_syn'),
            threads=2,
        )
        folder.grow(copies=5)
        yield folder.measure(
            f'masking {len(folder.names):,} images by kp_syn on two cores, two processes '
            'with their start',
            partial(folder.mask, 'kp_syn', workers=2),
            threads=2,
            rounds=2,
        )


def stand_in_generator(size: int) -> object:
    "A generator with random weights, which costs about as much as the one of `mini`"
    from torch import nn

    def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1), nn.InstanceNorm2d(outputs), nn.ReLU()
        )

    middle = [conv(64, 64) for _ in range(12)]
    layers = [conv(3, 16), conv(16, 32, 2), conv(32, 64, 2), *middle]
    net = nn.Sequential(*layers, nn.ConvTranspose2d(64, 3, 4, 4), nn.Tanh()).eval()
    net.config = dict(size=size)
    net.translate = net.forward
    return net


def translating() -> Rows:
    """Masking a folder by a generator against that generator alone on one batch.

    Masking reads, translates, and writes image, segmentation and recipe.
    """
    import torch

    from mfsr_nb.generators.generated_folder import Translator
    from mfsr_nb.masks.mask_folder import fill_folder

    number = 512
    size = 64
    batch = 64
    turn = count()
    net = stand_in_generator(size)
    with tempfile.TemporaryDirectory() as folder:
        write_faces(Path(folder) / 'src', size, number, identities=64)
        x = torch.rand(batch, 3, size, size) * 2 - 1

        def alone() -> None:
            with torch.inference_mode():
                for _ in range(number // batch):
                    net.translate(x)

        def ours() -> None:
            translator = Translator(net, 'stand-in', batch=batch)
            fill_folder(f'{folder}/src', f'{folder}/out{next(turn)}', translator)

        yield row(
            f'masking a folder by a generator, {size} px, batch {batch}, random weights',
            'the generator alone on one batch',
            in_turns(ours, alone),
            count=number,
            unit='images/s',
        )


# ---- landmarks


def faces_for_landmarks(number: int) -> tuple[str, list[np.ndarray]]:
    "Faces from LFW where it is there, else drawn ones"
    from mfsr_nb.data.dataset import open_pixels, read
    from mfsr_nb.world.faces import FaceWorld

    photographs = ROOT.parent / 'shared' / 'data' / 'lfw'
    if photographs.is_dir():
        paths = read(photographs).path.sample(number, random_state=0)
        return 'LFW', [open_pixels(path) for path in paths]
    identities = np.arange(number)
    views = np.zeros(number, int)
    return 'drawn', list(FaceWorld(seed=0, size=160).faces(identities, views, None).image)


def mtcnn() -> Rows:
    """Landmarks of 160 px crops against facenet-pytorch's own MTCNN on the same images.

    facenet-pytorch gets its best form: batches of equal size.
    """
    if importlib.util.find_spec('facenet_pytorch') is None:
        print('facenet-pytorch is not installed: no MTCNN to measure')
        return
    import facenet_pytorch

    from mfsr_nb.data.find_faces import find_landmarks
    from mfsr_nb.data.mtcnn import load_mtcnn

    number = 192
    source, images = faces_for_landmarks(number)
    net = load_mtcnn('cpu')
    other = facenet_pytorch.MTCNN(keep_all=True, device='cpu')

    def ours() -> np.ndarray:
        return find_landmarks(images, net)

    def theirs() -> list:
        found = []
        for start in range(0, number, 32):
            batch = [
                np.pad(image, ((40, 40), (40, 40), (0, 0))) for image in images[start : start + 32]
            ]
            found += list(other.detect(np.stack(batch), landmarks=True)[2])
        return found

    our_rate = np.isfinite(ours()[:, 0, 0]).mean()
    their_rate = np.mean([points is not None and len(points) > 0 for points in theirs()])
    yield row(
        f'landmarks of {source} crops of 160 px',
        "facenet-pytorch's own MTCNN, 32 at a time",
        in_turns(ours, theirs, rounds=3),
        count=number,
        unit='images/s',
        note=f'found {our_rate:.1%} and {their_rate:.1%}, border of 25 % for both',
    )


# ---- lists


def write_list(folder: Path, number: int) -> Path:
    "A list of empty files in folders of fifty"
    names = [f'{index // 50:06}/{index % 50:02}.jpg' for index in range(number)]
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    lines = [f'{name} {index // 50}\n' for index, name in enumerate(names)]
    file = folder / 'list.txt'
    file.write_text(''.join(lines))
    return file


def lists() -> Rows:
    "A list of 100,000 images against pandas with a question for each file"
    import pandas as pd

    from mfsr_nb.data.lists import read_list

    number = 100_000
    with tempfile.TemporaryDirectory() as folder:
        file = write_list(Path(folder), number)

        def plain_loop() -> None:
            table = pd.read_csv(file, sep=' ', header=None, names=['path', 'identity'])
            assert all(os.path.isfile(f'{folder}/{name}') for name in table.path)

        yield row(
            f'a list of {number:,} images, each looked up',
            'pandas.read_csv and os.path.isfile for each row',
            in_turns(partial(read_list, file), plain_loop, rounds=5),
            count=number,
            unit='images/s',
        )
