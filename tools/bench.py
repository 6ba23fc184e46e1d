"Measure speed and memory, each against something people use, in the same run; a table, and results/bench.json."

import argparse
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

THREADS = 2
os.environ.update(
    OMP_NUM_THREADS=str(THREADS),
    MKL_NUM_THREADS=str(THREADS),
    OPENBLAS_NUM_THREADS=str(THREADS),
    OMP_WAIT_POLICY='passive',
    TQDM_DISABLE='1',
)
import numpy as np

from common import ROOT, write


def timed(f):
    t = time.perf_counter()
    f()
    return time.perf_counter() - t


def pairs(ours, theirs, n=5):
    "Seconds of both, taken in turns after a warm-up, so that a busy moment hits both"
    ours(), theirs()
    return np.array([(timed(ours), timed(theirs)) for _ in range(n)])


def row(what, against, secs, count, unit, note=''):
    "One line of the table: our speed, theirs, and how many times faster (the median of the pairs, and their range)"
    ratio = secs[:, 1] / secs[:, 0]
    return dict(
        what=what,
        against=against,
        unit=unit,
        ours=count / np.median(secs[:, 0]),
        theirs=count / np.median(secs[:, 1]),
        ratio=np.median(ratio),
        ratio_min=ratio.min(),
        ratio_max=ratio.max(),
        pairs=len(secs),
        note=note,
    )


def world():
    "Drawing a face against decoding one of the same size from a JPEG in memory"
    from PIL import Image

    from mfsr_nb.world.faces import FaceWorld

    for size in (64, 112, 256):
        w, n = FaceWorld(seed=0, size=size), 32 if size > 200 else 128
        ids, views, masks = np.arange(n) % 16, np.arange(n) // 16, [None, 'surgical'] * (n // 2)
        files = []
        for im in w.faces(ids, views, masks).image:
            Image.fromarray(im).save(f := io.BytesIO(), 'JPEG', quality=95)
            files.append(f.getvalue())
        yield row(
            f'faces drawn at {size} px',
            'decoding them from JPEG (Pillow)',
            pairs(
                lambda: w.faces(ids, views, masks),
                lambda: [np.asarray(Image.open(io.BytesIO(b))) for b in files],
            ),
            n,
            'faces/s',
        )


def people(n, d, ids, seed):
    g = np.random.default_rng(seed)
    return g.standard_normal((n, d), dtype=np.float32), g.integers(0, ids, n)


def protocol():
    "Exact ranks and mAP of the paper's test set, products included, against numpy sorting the finished matrix"
    from mfsr_nb.protocol.metrics import retrieval

    (p, pi), (g, gi) = people(3648, 512, 704, 0), people(7967, 512, 704, 1)
    s = (p / np.linalg.norm(p, axis=1, keepdims=True)) @ (
        g / np.linalg.norm(g, axis=1, keepdims=True)
    ).T
    yield row(
        'retrieval 3,648 x 7,967 x 512, from embeddings to ranks',
        'np.argsort of the similarity matrix alone',
        pairs(lambda: retrieval(p, pi, g, gi), lambda: np.argsort(-s, axis=1)),
        3648,
        'probes/s',
    )


MILLION = """
import json, resource, time, numpy as np
from mfsr_nb.protocol.metrics import retrieval
rng = np.random.default_rng(0)
g, gi = rng.standard_normal((1_000_000, 512), dtype=np.float32), rng.integers(0, 10_000, 1_000_000)
p, pi = g[:256] + .5 * rng.standard_normal((256, 512), dtype=np.float32), gi[:256]
held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
t = time.perf_counter()
retrieval(p, pi, g, gi)
print(json.dumps(dict(seconds=time.perf_counter() - t, peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, held=held / 1024)))
"""


def memory():
    "256 probes among a million gallery vectors: what the search adds to the memory that holds them"
    r = subprocess.run([sys.executable, '-c', MILLION], capture_output=True, text=True, cwd=ROOT)
    if r.returncode:
        sys.exit(f'the million-gallery search failed: {r.stderr.strip().splitlines()[-1]}')
    m, matrix = json.loads(r.stdout), 256 * 1_000_000 * 4 / 2**20
    yield dict(
        what='256 probes x 1,000,000 gallery x 512: memory on top of the embeddings',
        against='the similarity matrix',
        unit='MB',
        ours=m['peak'] - m['held'],
        theirs=matrix,
        ratio=(m['peak'] - m['held']) / matrix,
        note=f'peak {m["peak"]:.0f} MB, of which {m["held"]:.0f} before the search; {m["seconds"]:.0f} s',
    )


def recognizer():
    "Training steps of the `mini` recogniser against a bare PyTorch loop over one batch that is already there"
    import pandas as pd
    import torch

    from mfsr_nb.presets import load_preset
    from mfsr_nb.recognition.recognizer import Recognizer
    from mfsr_nb.recognition.train import train_recognizer

    r, steps, facts = load_preset('mini').recognition, 30, []
    k = r.batch.images_per_identity
    n = r.batch.identities * k
    t = pd.DataFrame(dict(label=np.repeat(np.arange(64), 8), domain=0))
    pixels = torch.randint(0, 256, (len(t), r.image_size, r.image_size, 3), dtype=torch.uint8)
    model = Recognizer(
        64, r.backbone, r.neck.linear, r.image_size, r.neck.pool, r.normalize_input, r.init
    )
    opt, x, y = (
        torch.optim.Adam(model.parameters(), fused=True),
        pixels[:n],
        torch.tensor(t.label.to_numpy()[:n]),
    )

    def bare():
        for _ in range(steps):
            opt.zero_grad()
            torch.nn.functional.cross_entropy(model(x)[1], y).backward()
            opt.step()

    schedule = replace(r.schedule.casia, steps=steps, milestones=())

    def ours():
        with tempfile.TemporaryDirectory() as d:
            facts.append(train_recognizer(t, pixels, d, r, schedule)[1])

    secs = pairs(ours, bare)
    wait = np.median([f['wait'] for f in facts[1:]])
    yield row(
        f'recogniser training, batch {n} at {r.image_size} px, {steps} steps with set-up and saving',
        'a bare PyTorch loop on one batch',
        secs,
        n * steps,
        'images/s',
        f'{100 * wait:.1f} % of the time waiting for data',
    )


def partial_faces():
    "DFM's scores, many small Lassos at once, against scikit-learn one after the other; the blur of Interpret-FR against a convolution of single channels"
    import torch
    import torch.nn.functional as F
    from sklearn.linear_model import Lasso

    from mfsr_nb.recognition.dfm import fista
    from mfsr_nb.recognition.interpret_fr import mean_cos2, sad_maps

    g = torch.Generator().manual_seed(0)
    G, p = (
        F.normalize(torch.randn(*s, generator=g, dtype=torch.double) + 0.7, dim=-1)
        for s in ((100, 5, 64), (100, 64))
    )
    A, b = G @ G.mT, 4.1 * torch.einsum('gkd,nd->gnk', G, p)
    X = np.linalg.cholesky(A.numpy()).transpose(0, 2, 1)

    def lassos():
        for i in range(100):
            Y, m = (
                np.linalg.solve(X[i].T, b[i].numpy().T),
                Lasso(alpha=0.4 / 5, fit_intercept=False, tol=1e-6),
            )
            for j in range(100):
                m.fit(X[i], Y[:, j])

    Af, bf = A.float(), b.float()
    yield row(
        'DFM matching, 5 windows, 100 iterations',
        'scikit-learn Lasso, pair by pair',
        pairs(lambda: fista(Af, bf, 0.4), lassos),
        10000,
        'pairs/s',
    )
    psi = torch.randn(96, 64, 16, 16, generator=g).requires_grad_()
    one = torch.tensor([0.0947, 0.1183, 0.0947])
    kernel = one[:, None] * one / one[0]

    def conv():
        mean_cos2(
            F.conv2d(psi.flatten(0, 1)[:, None], kernel[None, None], padding=1)
            .view_as(psi)
            .flatten(2)
        ).backward()

    yield row(
        'Interpret-FR, SAD of 64 maps of 16 x 16, forward and back',
        'the same with the blur as a convolution',
        pairs(lambda: sad_maps(psi).backward(), conv),
        96,
        'images/s',
    )


def decoding():
    "The libraries that decode JPEGs, on the same bytes in memory, one thread each, against Pillow"
    import cv2
    import simplejpeg
    import torch
    from PIL import Image
    from torchvision.io import ImageReadMode, decode_jpeg

    from mfsr_nb.world.faces import FaceWorld

    cv2.setNumThreads(1)
    readers = dict(
        simplejpeg=simplejpeg.decode_jpeg,
        OpenCV=lambda b: cv2.cvtColor(
            cv2.imdecode(np.frombuffer(b, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
        ),
        torchvision=lambda b: (
            decode_jpeg(torch.frombuffer(bytearray(b), dtype=torch.uint8), mode=ImageReadMode.RGB)
            .permute(1, 2, 0)
            .numpy()
        ),
    )
    pillow = lambda b: np.asarray(Image.open(io.BytesIO(b)).convert('RGB'))
    for size, n in ((112, 400), (256, 200), (1024, 20)):
        files = []
        for im in (
            FaceWorld(seed=0, size=min(size, 256)).faces(np.arange(20), np.arange(20), None).image
        ):
            Image.fromarray(im).resize((size, size)).save(f := io.BytesIO(), 'JPEG', quality=90)
            files.append(f.getvalue())
        files = (files * n)[:n]
        for k, f in readers.items():
            assert all((f(b) == pillow(b)).all() for b in files[:20]), k
            yield row(
                f'decoding {size} px with {k}',
                'Pillow',
                pairs(lambda: [f(b) for b in files], lambda: [pillow(b) for b in files], 7),
                n,
                'images/s',
            )


class Plain:
    "Decodes whole files with Pillow inside the training step, one after the other, as a plain loop does"

    def __init__(self, paths, size):
        self.paths, self.size = list(paths), size

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, rows):
        import torch
        from PIL import Image

        from mfsr_nb.data.loading import to_square

        return torch.from_numpy(
            np.stack([to_square(Image.open(self.paths[i]).convert('RGB'), self.size) for i in rows])
        )


def loading():
    "The `mini` recogniser fed from files of 256 px: streamed by workers, and from memory, against decoding within the step"
    from pathlib import Path

    from PIL import Image

    from mfsr_nb.data.loading import load_pixels
    from mfsr_nb.presets import load_preset
    from mfsr_nb.recognition.recognizer import training_set
    from mfsr_nb.recognition.train import train_recognizer
    from mfsr_nb.world.faces import FaceWorld

    r, steps, n = (
        load_preset('mini').recognition,
        30,
        load_preset('mini').recognition.batch.identities
        * load_preset('mini').recognition.batch.images_per_identity,
    )
    schedule = replace(r.schedule.casia, steps=steps, milestones=())
    with tempfile.TemporaryDirectory() as d:
        for i, im in enumerate(
            FaceWorld(seed=0, size=256).faces(np.arange(384) // 8, np.arange(384) % 8, None).image
        ):
            Path(f'{d}/data/{i // 8}').mkdir(parents=True, exist_ok=True)
            Image.fromarray(im).save(f'{d}/data/{i // 8}/{i}.jpg', quality=95)
        t = training_set(f'{d}/data')
        feeds = dict(
            plain=Plain(t.path, r.image_size),
            streamed=load_pixels(t, r.image_size, stream=True)[1],
            memory=load_pixels(t, r.image_size, stream=False)[1],
        )
        wait = {k: [] for k in feeds}

        def train(k):
            with tempfile.TemporaryDirectory() as run:
                wait[k].append(train_recognizer(t, feeds[k], run, r, schedule)[1]['wait'])

        share = lambda k: 100 * np.median(wait[k][1:])
        for k in ('streamed', 'memory'):
            secs = pairs(lambda: train(k), lambda: train('plain'))
            yield row(
                f'training, {k}, batch {n} at {r.image_size} px from files of 256 px',
                'decoded by Pillow within the step',
                secs,
                n * steps,
                'images/s',
                f'{share(k):.1f} % of the time waiting for data, against {share("plain"):.1f} %',
            )


def recordio():
    "Reading 112 px JPEGs in random order from RecordIO against identity folders, files in the page cache; opening half a million records"
    from PIL import Image

    from mfsr_nb.data.recordio import RecordFile, write_recordio

    g, n = np.random.default_rng(0), 2000
    with tempfile.TemporaryDirectory() as d:
        d, files, images = Path(d), [], []
        for i in range(n):
            coarse = Image.fromarray(g.integers(0, 256, (14, 14, 3), np.uint8)).resize(
                (112, 112), Image.Resampling.BICUBIC
            )
            coarse.save(f := io.BytesIO(), 'JPEG', quality=95)
            files.append(d / f'folders/{i // 40:03}/{i:05}.jpg')
            files[-1].parent.mkdir(parents=True, exist_ok=True)
            files[-1].write_bytes(f.getvalue())
            images.append((f.getvalue(), i // 40))
        write_recordio(d / 'rec', images)
        r, order = RecordFile(d / 'rec'), g.permutation(n).tolist()
        keys, paths = r.keys[order].tolist(), [str(files[i]) for i in order]

        def slurp(p):
            with open(p, 'rb') as f:
                return f.read()

        decode = lambda b: np.asarray(Image.open(io.BytesIO(b)).convert('RGB'))
        kb = f'{np.mean([len(b) for b, _ in images]) / 1024:.1f} KB each'
        yield row(
            'RecordIO, 112 px JPEGs in random order, bytes only',
            'the same files in identity folders',
            pairs(lambda: [r.encoded(k) for k in keys], lambda: [slurp(p) for p in paths]),
            n,
            'images/s',
            kb,
        )
        yield row(
            'the same, decoded (Pillow)',
            'the same files in identity folders',
            pairs(
                lambda: [decode(r.encoded(k)) for k in keys],
                lambda: [decode(slurp(p)) for p in paths],
            ),
            n,
            'images/s',
            kb,
        )
        n = write_recordio(d / 'many', ((b'JPEG', i // 50) for i in range(500_000)))

        def loop():
            with open(d / 'many/train.rec', 'rb') as f, open(d / 'many/train.idx') as idx:
                for line in idx:
                    f.seek(int(line.split('\t')[1]) + 8)
                    struct.unpack('<IfQQ', f.read(24))

        secs = pairs(lambda: RecordFile(d / 'many'), loop, 3)
        (d / 'many/train.idx').unlink()
        scan = [timed(lambda: RecordFile(d / 'many')) for _ in range(3)]
        yield row(
            f'opening a RecordIO file of {n:,} images, all labels read and checked',
            'a loop of seek, read and unpack',
            secs,
            n,
            'images/s',
            f'{np.median(secs[:, 0]):.1f} s; {np.median(scan):.1f} s without an index',
        )


def masking():
    "Masking a folder of 112 px crops (image, segmentation and recipe written) against decoding and encoding the same files with Pillow (one file written)"
    from concurrent.futures import ThreadPoolExecutor
    from itertools import count
    from pathlib import Path

    import pandas as pd
    from PIL import Image

    from mfsr_nb.masks.mask_folder import mask_folder
    from mfsr_nb.world.faces import FaceWorld

    n, turn = 2000, count()
    with tempfile.TemporaryDirectory() as d:
        d, faces = (
            Path(d),
            FaceWorld(seed=0, size=112).faces(np.arange(n) % 200, np.arange(n) // 200),
        )
        names = [f'{i % 200:03d}/{i}.jpg' for i in range(n)]
        for o in {k[:3] for k in names}:
            [(d / a / o).mkdir(parents=True) for a in ('src', 'plain')]
        for k, im in zip(names, faces.image):
            Image.fromarray(im).save(d / 'src' / k, quality=95, subsampling=0)
        pd.DataFrame(
            np.stack([f.landmarks.ravel() for f in faces]),
            names,
            [f'{c}{i}' for i in range(68) for c in 'xy'],
        ).rename_axis('path').to_csv(d / 'src/landmarks.csv')

        def one(k):
            Image.open(d / 'src' / k).convert('RGB').save(
                d / 'plain' / k, quality=95, subsampling=0
            )

        def plain(threads):
            with ThreadPoolExecutor(threads) as ex:
                list(ex.map(one, names))

        for method, o in [
            ('de', {}),
            ('crop', {}),
            ('kp_cvx', {}),
            ('kp_syn', {}),
            ('kp_syn', dict(warp='homography')),
            ('kp_syn', dict(warp='piecewise')),
        ]:
            secs = pairs(
                lambda: mask_folder(d / 'src', d / f'out{next(turn)}', method, workers=1, **o),
                lambda: plain(1),
                n=3,
            )
            yield row(
                ' '.join(['masking by', method, *o.values()]) + ', one process',
                'decoding and encoding the same files (Pillow), one thread',
                secs,
                n,
                'images/s',
            )
        secs = pairs(
            lambda: mask_folder(d / 'src', d / f'out{next(turn)}', 'kp_syn'), lambda: plain(2), n=3
        )
        yield row(
            f'masking {n:,} images by kp_syn on two cores, one process (the default for so few)',
            'decoding and encoding the same files (Pillow), two threads',
            secs,
            n,
            'images/s',
        )
        marks, more = (
            pd.read_csv(d / 'src/landmarks.csv'),
            [f'c{c}_{k}' for c in range(5) for k in names],
        )
        for k in more:
            (d / 'src' / k).parent.mkdir(exist_ok=True)
            (d / 'plain' / k).parent.mkdir(exist_ok=True)
            os.link(d / 'src' / k.split('_', 1)[1], d / 'src' / k)
        pd.concat([marks] + [marks.assign(path=f'c{c}_' + marks.path) for c in range(5)]).to_csv(
            d / 'src/landmarks.csv', index=False
        )
        names += more
        secs = pairs(
            lambda: mask_folder(d / 'src', d / f'out{next(turn)}', 'kp_syn', workers=2),
            lambda: plain(2),
            n=2,
        )
        yield row(
            f'masking {len(names):,} images by kp_syn on two cores, two processes with their start',
            'decoding and encoding the same files (Pillow), two threads',
            secs,
            len(names),
            'images/s',
        )


def translating():
    "Masking a folder of faces by a generator (read, translated, image, segmentation and recipe written) against that generator alone, on a batch that is already there"
    from itertools import count

    import torch
    from PIL import Image
    from torch import nn

    from mfsr_nb.masks.generated_folder import Translator
    from mfsr_nb.masks.mask_folder import fill_folder
    from mfsr_nb.world.faces import FaceWorld

    def conv(i, o, stride=1):
        return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1), nn.InstanceNorm2d(o), nn.ReLU())

    n, size, batch, turn = 512, 64, 64, count()
    g = nn.Sequential(
        conv(3, 16),
        conv(16, 32, 2),
        conv(32, 64, 2),
        *(conv(64, 64) for _ in range(12)),
        nn.ConvTranspose2d(64, 3, 4, 4),
        nn.Tanh(),
    ).eval()
    g.config, g.translate = dict(size=size), lambda x: g(x)
    with tempfile.TemporaryDirectory() as d:
        for i, im in enumerate(
            FaceWorld(seed=0, size=size).faces(np.arange(n) % 64, np.arange(n) // 64).image
        ):
            Path(f'{d}/src/{i % 64}').mkdir(parents=True, exist_ok=True)
            Image.fromarray(im).save(f'{d}/src/{i % 64}/{i}.jpg', quality=95)
        x = torch.rand(batch, 3, size, size) * 2 - 1

        def bare():
            with torch.inference_mode():
                [g.translate(x) for _ in range(n // batch)]

        ours = lambda: fill_folder(
            f'{d}/src', f'{d}/out{next(turn)}', Translator(g, 'stand-in', batch=batch)
        )
        yield row(
            f'masking a folder by a generator, {size} px, batch {batch}, random weights',
            'the generator alone on one batch',
            pairs(ours, bare),
            n,
            'images/s',
        )


def mtcnn():
    "Landmarks of 160 px crops against facenet-pytorch's own MTCNN on the same images, in its best form: batches of equal size"
    import importlib.util

    if importlib.util.find_spec('facenet_pytorch') is None:
        print('facenet-pytorch is not installed: no MTCNN to measure')
        return
    import facenet_pytorch

    from mfsr_nb.data.dataset import open_pixels, read
    from mfsr_nb.data.mtcnn import find_landmarks, load_mtcnn
    from mfsr_nb.world.faces import FaceWorld

    n, lfw = 192, ROOT.parent / 'shared' / 'data' / 'lfw'
    images = (
        [open_pixels(p) for p in read(lfw).path.sample(n, random_state=0)]
        if lfw.is_dir()
        else list(FaceWorld(seed=0, size=160).faces(np.arange(n), np.zeros(n, int), None).image)
    )
    net, own = load_mtcnn('cpu'), facenet_pytorch.MTCNN(keep_all=True, device='cpu')

    def theirs():
        found = []
        for i in range(0, n, 32):
            found += list(
                own.detect(
                    np.stack([np.pad(o, ((40, 40), (40, 40), (0, 0))) for o in images[i : i + 32]]),
                    landmarks=True,
                )[2]
            )
        return found

    ours = lambda: find_landmarks(images, net)
    rate = f'found {np.isfinite(ours()[:, 0, 0]).mean():.1%} and {np.mean([o is not None and len(o) > 0 for o in theirs()]):.1%}, border of 25 % for both'
    yield row(
        f'landmarks of {"LFW" if lfw.is_dir() else "drawn"} crops of 160 px',
        "facenet-pytorch's own MTCNN, 32 at a time",
        pairs(ours, theirs, 3),
        n,
        'images/s',
        rate,
    )


def unet():
    "S of the preset `mini` against the lightest segmentation network of torchvision, and its augmentation against torchvision's own transforms, which take an image at a time"
    import torch
    import torchvision
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    from mfsr_nb.masks.unet import UNet, augment
    from mfsr_nb.presets import load_preset
    from mfsr_nb.world.faces import FaceWorld
    from mfsr_nb.world.traits import LOOSE

    s, n = load_preset('mini').segmentation, 64
    f = FaceWorld(seed=0, size=s.image_size, framing=LOOSE).faces(np.arange(n), 0, 'surgical')
    x, y = torch.as_tensor(f.image), torch.as_tensor(f.mask)
    S, light = (
        UNet(s.widths, s.image_size).eval(),
        torchvision.models.segmentation.lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=1
        ).eval(),
    )
    z = (x.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
    half = UNet(s.widths, s.image_size).eval()
    half.bf16 = True
    with torch.inference_mode():
        for net, how in ((S, ''), (half, ', bfloat16')):
            yield row(
                f'S of mini, {s.image_size} px{how}',
                'LR-ASPP on MobileNetV3 (torchvision), whose maps are an eighth as fine',
                pairs(lambda: net(z), lambda: light(z)),
                n,
                'images/s',
            )
    t = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(12, (0.1, 0.1), tuple(s.augment.zoom)),
            v2.ColorJitter(0.2, 0.2, 0.2),
            v2.GaussianBlur(3),
            v2.ToDtype(torch.float32, scale=True),
            v2.GaussianNoise(0, s.augment.noise),
        ]
    )
    theirs = lambda: [
        t(tv_tensors.Image(a.permute(2, 0, 1)), tv_tensors.Mask(b)) for a, b in zip(x, y)
    ]
    yield row(
        'augmentation of S, with cloth and clutter',
        'affine, jitter, blur and noise of torchvision',
        pairs(lambda: augment(x, y, 0, 0, s.augment), theirs),
        n,
        'images/s',
    )


def gan():
    "A step of IAMGAN, all phases, against the same networks in a plain loop: one forward pass for each picture, float32, channels first"
    import copy

    import torch
    import torch.nn.functional as F

    from mfsr_nb.generators.gan import gan_dls, gan_learner
    from mfsr_nb.generators.iamgan import IAMGAN, IAMLoss
    from mfsr_nb.generators.pipeline import Classifier, with_steps
    from mfsr_nb.masks.unet import UNet
    from mfsr_nb.presets import load_preset
    from mfsr_nb.recognition.recognizer import Recognizer

    for name, ids, steps in (('mini', 400, 10), ('paper', 10575, 1)):
        p = load_preset(name)
        o, r, size = with_steps(p.iamgan, steps), p.recognition, p.iamgan.image_size
        S, C = (
            UNet(p.segmentation.widths, size).eval(),
            Classifier(
                Recognizer(ids, r.backbone, r.neck.linear, size, r.neck.pool, r.normalize_input)
            ).eval(),
        )
        f, m = (torch.randint(0, 256, (8, size, size, 3), dtype=torch.uint8) for _ in range(2))
        dls = gan_dls(f, m, np.arange(8), o)
        learn = gan_learner(dls, IAMGAN(o, 0, S, C), IAMLoss(o), o)
        nets = {
            k: copy.deepcopy(getattr(learn.model, k)).to(memory_format=torch.contiguous_format)
            for k in ('G_FM', 'G_MF', 'D_M', 'D_F', 'S', 'C')
        }
        G1, G2, D1, D2, S, C = nets.values()
        opts = [
            torch.optim.Adam([q for n in g for q in n.parameters()], 2e-4, (0.5, 0.999))
            for g in ((G1, G2), (D1, D2), (C,))
        ]

        def only(i):
            for k, g in enumerate(((G1, G2), (D1, D2), (C,))):
                [q.requires_grad_(k == i) for n in g for q in n.parameters()]
            opts[i].zero_grad()
            return opts[i]

        lsgan = lambda d, real: ((d - real) ** 2).mean()

        def plain():
            for x, y, i in dls.train:
                x, y = x.contiguous(), y.contiguous()
                opt = only(0)
                fm, mf = G1(x), G2(y)
                with torch.no_grad():
                    k = (S(fm).sigmoid() <= 0.5).float()
                (
                    lsgan(D1(fm), 1.0)
                    + lsgan(D2(mf), 1.0)
                    + 10 * ((G2(fm) - x).abs().mean() + (G1(mf) - y).abs().mean())
                    + F.cross_entropy(C(fm * k), i)
                    + (x * k - fm * k).abs().mean()
                ).backward()
                opt.step()
                opt = only(1)
                (
                    0.5 * (lsgan(D1(y), 1.0) + lsgan(D1(fm.detach()), 0.0))
                    + 0.5 * (lsgan(D2(x), 1.0) + lsgan(D2(mf.detach()), 0.0))
                ).backward()
                opt.step()
                opt = only(2)
                F.cross_entropy(C(x * k), i).backward()
                opt.step()

        def ours():
            learn.model.n_steps.zero_()
            learn.fit(1)

        n = steps * o.batch_size
        yield row(
            f'IAMGAN, nets of {name}, batch {o.batch_size} at {size} px, {steps} step{"s" * (steps > 1)}',
            'the same nets in a plain loop',
            pairs(ours, plain, 5 if steps > 1 else 3),
            n,
            'pairs of images/s',
            f'{o.precision}, where the processor has it',
        )


def editing():
    "A step of StarGAN, critic and generator, against the same networks in a plain loop in float32, channels first"
    import copy

    import torch
    import torch.nn.functional as F

    from mfsr_nb.engine.fit import Watch
    from mfsr_nb.generators.attribute_gans import AttributeGAN, AttributeGANLoss
    from mfsr_nb.generators.gan import cpu_threads, gan_dls, gan_learner
    from mfsr_nb.generators.pipeline import generator_settings, with_steps
    from mfsr_nb.presets import load_preset

    o = with_steps(generator_settings(load_preset('mini'), 'stargan'), 5)
    half, (f, m) = (
        o.batch_size // 2,
        (
            torch.randint(0, 256, (8, o.image_size, o.image_size, 3), dtype=torch.uint8)
            for _ in range(2)
        ),
    )
    dls = gan_dls(f, m, np.arange(8), o, each=half * o.n_critic)
    learn = gan_learner(dls, AttributeGAN(o), AttributeGANLoss(o), o, [Watch(total=o.steps)])
    G, D = (
        copy.deepcopy(n).to(memory_format=torch.contiguous_format)
        for n in (learn.model.G, learn.model.D)
    )
    g_opt, d_opt = (torch.optim.Adam(n.parameters(), 2e-4, (0.5, 0.999)) for n in (G, D))
    c = torch.arange(2.0).repeat_interleave(half)
    bce = F.binary_cross_entropy_with_logits

    def plain():
        for f, m, _ in dls.train:
            for a, b in zip(f.chunk(o.n_critic), m.chunk(o.n_critic)):
                x, t = torch.cat([a, b]).contiguous(), c[torch.randperm(len(c))]
                y = G(x, t).detach()
                mix = (y + torch.rand(len(x), 1, 1, 1) * (x - y)).requires_grad_()
                slope = (
                    torch.autograd.grad(D(mix)[0].sum(), mix, create_graph=True)[0]
                    .flatten(1)
                    .norm(dim=1)
                )
                real, logits = D(x)
                d_opt.zero_grad()
                (
                    D(y)[0].mean() - real.mean() + 10 * ((slope - 1) ** 2).mean() + bce(logits, c)
                ).backward()
                d_opt.step()
            g_opt.zero_grad()
            y = G(x, t)
            fake, logits = D(y)
            (bce(logits, t) - fake.mean() + 10 * (x - G(y, c)).abs().mean()).backward()
            g_opt.step()

    with cpu_threads(o.threads):
        yield row(
            f'StarGAN, nets of mini, {o.threads} thread, batch {o.batch_size} at {o.image_size} px, {o.steps} steps',
            'the same nets in a plain loop',
            pairs(lambda: learn.fit(1), plain, 5),
            o.steps * o.n_critic * o.batch_size,
            'images/s',
            f'{o.precision}, where the processor has it; the penalty in float32',
        )


def card():
    "The two costly parts of a generator's card: SSIM against scikit-image's, image by image, and the Fréchet distance against the root of the product of covariances"
    import importlib.util

    from scipy.linalg import sqrtm

    from mfsr_nb.masks.generator_report import frechet, outside_ssim
    from mfsr_nb.world.faces import FaceWorld

    n, world = 64, FaceWorld(seed=0, size=112)
    a, b, keep = (
        *(world.faces(np.arange(n), 0, o).image for o in (None, 'cloth')),
        np.ones((n, 112, 112), bool),
    )
    if importlib.util.find_spec('skimage') is None:
        print('scikit-image is not installed: no SSIM to measure')
    else:
        from skimage.metrics import structural_similarity

        theirs = lambda: [
            structural_similarity(
                *o,
                channel_axis=2,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=255,
            )
            for o in zip(a, b)
        ]
        yield row(
            'SSIM of 112 px colour images',
            'scikit-image, same windows',
            pairs(lambda: outside_ssim(a, b, keep), theirs),
            n,
            'images/s',
            f'differ by {np.abs(outside_ssim(a, b, keep) - theirs()).max():.0e}',
        )
    x, y = np.random.default_rng(0).normal(size=(2, 2000, 512))

    def root():
        c, d = np.cov(x.T), np.cov(y.T)
        return (
            ((x.mean(0) - y.mean(0)) ** 2).sum()
            + np.trace(c)
            + np.trace(d)
            - 2 * np.trace(sqrtm(c @ d).real)
        )

    yield row(
        'Fréchet distance, 2 x 2,000 x 512',
        'covariances and scipy.linalg.sqrtm',
        pairs(lambda: frechet(x, y), root, 3),
        1,
        'distances/s',
        f'differ by {abs(frechet(x, y) / root() - 1):.0e}',
    )


HEAD = ['what', 'ours', 'against', 'theirs', 'ratio (min to max)', 'note']


def dcr():
    "A training step of the paper's recogniser (ResNet-50, 32 x 6 images, 10,575 identities) with Softmax, with DCR beside it, and DCR alone"
    import torch
    from torch import nn
    from torchvision.models import resnet50

    from mfsr_nb.recognition.dcr import DCRLoss

    n_ids, dim, size, n = 10575, 512, 112, 192
    body, head, loss = resnet50(weights=None), nn.Linear(dim, n_ids), DCRLoss(n_ids, dim)
    body.fc = nn.Sequential(nn.Linear(2048, dim, bias=False), nn.BatchNorm1d(dim))
    opt, x = (
        torch.optim.Adam([*body.parameters(), *head.parameters()], 1e-4),
        torch.randn(n, 3, size, size),
    )
    dom = torch.tensor([0] * 3 + [1] * 3).repeat(n // 6)

    def who():
        return torch.randperm(n_ids)[: n // 6].repeat_interleave(6)

    def step(dcr):
        ids, phi = who(), body(x)
        l = nn.functional.cross_entropy(head(phi), ids) + (loss(phi, ids, dom) if dcr else 0)
        opt.zero_grad()
        l.backward()
        opt.step()

    def alone():
        loss(torch.randn(n, dim, requires_grad=True), who(), dom).backward()
        loss.diagnostics()

    secs = pairs(alone, lambda: step(False), 3)
    share = 100 * secs[:, 0] / (secs[:, 0] + secs[:, 1])
    what = f'ResNet-50 training step, {n} images of {size} px'
    yield row(
        'DCR alone: forward, backward, centres, diagnostics',
        f'{what}, Softmax',
        secs,
        n,
        'images/s',
        f'DCR is {np.median(share):.2f} % of the step ({share.min():.2f} to {share.max():.2f})',
    )
    yield row(
        f'{what}, Softmax + DCR',
        'with Softmax only',
        pairs(lambda: step(True), lambda: step(False), 2),
        n,
        'images/s',
    )


def losses():
    "A loss with its head, forwards and backwards, for the paper's batch and CASIA-WebFace's identities, against pytorch-metric-learning"
    import torch
    from pytorch_metric_learning import distances, miners, reducers
    from pytorch_metric_learning import losses as pml

    from mfsr_nb.presets import load_preset
    from mfsr_nb.recognition.losses import ArcFace, CosineHead, Triplet

    p = load_preset('paper')
    k, dim, n = (
        p.recognition.batch.images_per_identity,
        p.recognition.neck.linear,
        p.data.train_sets.casia.identities,
    )
    torch.manual_seed(0)
    ids = torch.arange(p.recognition.batch.identities).repeat_interleave(k)
    phi, few = (
        torch.randn(len(ids), dim, requires_grad=True),
        torch.zeros(len(ids), p.recognition.batch.identities),
    )
    head, arc, triplet, d = (
        CosineHead(dim, n),
        ArcFace(),
        Triplet(),
        distances.LpDistance(normalize_embeddings=False),
    )
    arc2, hard, triplet2 = (
        pml.ArcFaceLoss(n, dim),
        miners.BatchHardMiner(distance=d),
        pml.TripletMarginLoss(
            margin=0, smooth_loss=True, distance=d, reducer=reducers.MeanReducer()
        ),
    )
    yield row(
        f'ArcFace, batch {len(ids)}, {n:,} identities',
        'pytorch-metric-learning',
        pairs(
            lambda: arc((phi, head(phi)), ids, None).backward(), lambda: arc2(phi, ids).backward()
        ),
        len(ids),
        'images/s',
    )
    yield row(
        f'batch-hard triplets, batch {len(ids)}',
        'pytorch-metric-learning',
        pairs(
            lambda: triplet((phi, few), ids, None).backward(),
            lambda: triplet2(phi, ids, hard(phi, ids)).backward(),
            20,
        ),
        len(ids),
        'images/s',
    )


def line(r):
    "A row in Markdown"
    num = lambda x: f'{x:,.0f}' if x >= 10 else f'{x:.2f}'
    spread = f' ({r["ratio_min"]:.2f} to {r["ratio_max"]:.2f})' if 'pairs' in r else ''
    return (
        '| '
        + ' | '.join(
            [
                r['what'],
                f'{num(r["ours"])} {r["unit"]}',
                r['against'],
                f'{num(r["theirs"])} {r["unit"]}',
                f'{r["ratio"]:.2f}{spread}',
                r['note'],
            ]
        )
        + ' |'
    )


BENCHES = dict(
    world=world,
    decoding=decoding,
    recordio=recordio,
    loading=loading,
    mtcnn=mtcnn,
    masking=masking,
    translating=translating,
    unet=unet,
    gan=gan,
    editing=editing,
    card=card,
    protocol=protocol,
    memory=memory,
    recognizer=recognizer,
    losses=losses,
    dcr=dcr,
    partial=partial_faces,
)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument(
        'names',
        nargs='*',
        metavar='NAME',
        help=f'of: {", ".join(BENCHES)} (default: all; only a full run writes the file)',
    )
    a = p.parse_args()
    if bad := set(a.names) - set(BENCHES):
        sys.exit(f'{min(bad)}: no such benchmark; choose from {", ".join(BENCHES)}')
    import torch

    from mfsr_nb.core import environment, git_commit

    torch.set_num_threads(THREADS)
    rows = []
    print('| ' + ' | '.join(HEAD) + ' |\n|' + ' --- |' * len(HEAD), flush=True)
    for o in a.names or BENCHES:
        for r in BENCHES[o]():
            rows.append(
                {
                    k: round(float(v), 4) if isinstance(v, (float, np.floating)) else v
                    for k, v in r.items()
                }
            )
            print(line(rows[-1]), flush=True)
    if not a.names:
        write(
            ROOT / 'results' / 'bench.json',
            json.dumps(
                dict(environment=environment(), commit=git_commit(ROOT), rows=rows), indent=1
            )
            + '\n',
        )


if __name__ == '__main__':
    main()
