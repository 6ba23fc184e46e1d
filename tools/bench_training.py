"Benchmarks of the protocol, of training steps and of what reports compute; each yields rows."

import copy
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from bench_common import in_turns, row, seconds_of
from common import ROOT

Rows = Iterator[dict]


# ---- the protocol


def random_embeddings(number: int, identities: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    "Embeddings (number, 512) and their identities"
    rng = np.random.default_rng(seed)
    embedding = rng.standard_normal((number, 512), dtype=np.float32)
    return embedding, rng.integers(0, identities, number)


def unit(x: np.ndarray) -> np.ndarray:
    "Rows of unit length"
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def protocol() -> Rows:
    """Exact ranks and mAP of the paper's test set, from embeddings.

    The other side is numpy, which sorts the finished similarity matrix.
    """
    from mfsr_nb.protocol.metrics import retrieval

    probe, probe_id = random_embeddings(3648, identities=704, seed=0)
    gallery, gallery_id = random_embeddings(7967, identities=704, seed=1)
    similarity = unit(probe) @ unit(gallery).T
    yield row(
        'retrieval 3,648 x 7,967 x 512, from embeddings to ranks',
        'np.argsort of the similarity matrix alone',
        in_turns(
            lambda: retrieval(probe, probe_id, gallery, gallery_id),
            lambda: np.argsort(-similarity, axis=1),
        ),
        count=3648,
        unit='probes/s',
    )


SEARCH_A_MILLION = """
import json
import time
from pathlib import Path

import numpy as np

from mfsr_nb.protocol.metrics import retrieval


def peak():
    # ru_maxrss would begin with the memory of the process that started this one
    status = Path('/proc/self/status').read_text()
    return int(status.partition('VmHWM:')[2].split()[0]) / 1024


rng = np.random.default_rng(0)
gallery = rng.standard_normal((1_000_000, 512), dtype=np.float32)
gallery_id = rng.integers(0, 10_000, 1_000_000)
probe = gallery[:256] + 0.5 * rng.standard_normal((256, 512), dtype=np.float32)
held = peak()
start = time.perf_counter()
retrieval(probe, gallery_id[:256], gallery, gallery_id)
seconds = time.perf_counter() - start
print(json.dumps(dict(seconds=seconds, peak=peak(), held=held)))
"""


def memory() -> Rows:
    "256 probes in a gallery of a million: the memory that the search needs beside the vectors"
    command = [sys.executable, '-c', SEARCH_A_MILLION]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if result.returncode:
        reason = result.stderr.strip().splitlines()[-1]
        sys.exit(f'the search in a million vectors failed: {reason}')
    found = json.loads(result.stdout)
    added = found['peak'] - found['held']
    matrix = 256 * 1_000_000 * 4 / 2**20
    yield dict(
        what='256 probes x 1,000,000 gallery x 512: memory on top of the embeddings',
        against='the similarity matrix',
        unit='MB',
        ours=added,
        theirs=matrix,
        ratio=added / matrix,
        note=f'peak {found["peak"]:.0f} MB, of which {found["held"]:.0f} before the search; '
        f'{found["seconds"]:.0f} s',
    )


INTERVALS = """
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, 'tools')
import numpy as np
import pandas as pd

from bench_training import dense_pair_means
from mfsr_nb.protocol.report_metrics import far_limits, pair_metrics
from mfsr_nb.stats import bootstrap_pair_means, bootstrap_weights


def peak():
    # ru_maxrss would begin with the memory of the process that started this one
    status = Path('/proc/self/status').read_text()
    return int(status.partition('VmHWM:')[2].split()[0]) / 1024


rng, n_ids, n = np.random.default_rng(0), 100_000, 100_000
same = np.arange(n) < n // 2
left = rng.permutation(n_ids)
ids = np.stack([left, np.where(same, left, rng.permutation(n_ids))], 1)
scores = rng.standard_normal(n) + 2 * same
weights, correct, unmatched = None, (scores > 1) == same, ids[~same]
side = sys.argv[1]
if side != 'report':
    weights = bootstrap_weights(n_ids, 1000, seed=0)
held, start = peak(), time.perf_counter()
if side == 'report':
    sets = rng.permutation(n) % 10
    pairs = pd.DataFrame(dict(set=sets, left=ids[:, 0], right=ids[:, 1] + n_ids, same=same))
    pair_metrics(scores, pairs, ids, limits=far_limits(), bootstrap=1000, seed=0)
else:
    means = dict(ours=bootstrap_pair_means, theirs=dense_pair_means)[side]
    drawn = means(correct[~same], unmatched, weights)
print(json.dumps(dict(seconds=time.perf_counter() - start, added=peak() - held)))
"""


def dense_pair_means(values: np.ndarray, ids: np.ndarray, weights: np.ndarray) -> np.ndarray:
    "The means of pairs as products of a sparse matrix with all weights"
    from scipy.sparse import coo_matrix

    n_ids = weights.shape[1]
    often = weights.T.astype(np.float64)

    def weighted_sum(column: np.ndarray) -> np.ndarray:
        by_pair = coo_matrix((column, (ids[:, 0], ids[:, 1])), (n_ids, n_ids)).tocsr()
        return (often * (by_pair @ often)).sum(0)

    return weighted_sum(values.astype(float)) / weighted_sum(np.ones(len(ids)))


def in_own_process(script: str, *words: str) -> str:
    "What a script prints in a process of its own, whose memory is its own, too"
    command = [sys.executable, '-c', script, *words]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if result.returncode:
        sys.exit(f'a benchmark failed: {result.stderr.strip()}')
    return result.stdout


def intervals_of(side: str) -> dict:
    "Seconds and added memory of one side, in a process of its own"
    return json.loads(in_own_process(INTERVALS, side))


def intervals() -> Rows:
    "Resampled means of 100,000 identities: time and memory, against a sparse matrix product"
    import pandas as pd

    against = 'scipy.sparse matrix times all weights'
    found = dict(ours=[], theirs=[])
    rounds = 3
    for _ in range(rounds):
        for side, measured in found.items():
            measured.append(intervals_of(side))
    ours, theirs = (pd.DataFrame(measured) for measured in found.values())
    seconds = np.stack([ours.seconds, theirs.seconds], 1)
    what = '1,000 resampled means of 50,000 pairs, 100,000 identities'
    yield row(what, against, seconds, count=1000, unit='resamples/s')
    report = intervals_of('report')
    added = (ours.added.median(), theirs.added.median())
    yield dict(
        what='the same: memory beside the weights',
        against=against,
        unit='MB',
        ours=added[0],
        theirs=added[1],
        ratio=added[0] / added[1],
        note=f'all metrics of 100,000 pairs with intervals: {report["seconds"]:.1f} s, '
        f'{report["added"]:.0f} MB',
    )


# ---- galleries


def random_units(number: int, seed: int) -> np.ndarray:
    "Vectors of unit length (number, 512), made in blocks to need no other memory"
    rng = np.random.default_rng(seed)
    x = np.empty((number, 512), np.float32)
    for block in np.array_split(x, max(1, number // 10_000)):
        block[:] = unit(rng.standard_normal(block.shape, dtype=np.float32))
    return x


def numpy_best(probe: np.ndarray, vectors: np.ndarray, k: int) -> np.ndarray:
    "The best k rows of each probe from the full product"
    scores = probe @ vectors.T
    best = np.argpartition(scores, -k, axis=1)[:, -k:]
    order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
    return np.take_along_axis(best, order, 1)


SEARCH_BESIDE = """
import json
import sys
from pathlib import Path

sys.path.insert(0, 'tools')
from bench_training import numpy_best, random_units
from mfsr_nb.recognition.nearest import nearest


def peak():
    # ru_maxrss would begin with the memory of the process that started this one
    status = Path('/proc/self/status').read_text()
    return int(status.partition('VmHWM:')[2].split()[0]) / 1024


vectors, probe = random_units(1_000_000, 0), random_units(256, 1)
search = dict(ours=nearest, theirs=numpy_best)[sys.argv[1]]
# libraries allocate in their first call
search(probe[:1], vectors[:1000], 6)
held = peak()
search(probe, vectors, 6)
print(peak() - held)
"""


def added_memory(side: str) -> float:
    "MB that a search needs beside the vectors, in a process of its own"
    return float(in_own_process(SEARCH_BESIDE, side))


def gallery() -> Rows:
    "The best six of a million vectors: time and memory, against numpy's full product"
    from mfsr_nb.recognition.nearest import nearest

    vectors = random_units(1_000_000, 0)
    probe = random_units(256, 1)
    against = "numpy's full product and argpartition"
    assert (nearest(probe[:32], vectors).row == numpy_best(probe[:32], vectors, 6)).all()
    for storage in ('float32', 'float16'):
        stored = vectors.astype(storage, copy=False)
        seconds = in_turns(
            lambda stored=stored: nearest(probe, stored),
            lambda: numpy_best(probe, vectors, 6),
            rounds=3,
        )
        what = f'best 6 of 1,000,000 x 512 for 256 probes, exact, {storage}'
        note = f'vectors {stored.nbytes / 2**20:,.0f} MB'
        yield row(what, against, seconds, count=256, unit='probes/s', note=note)
    ours = added_memory('ours')
    theirs = added_memory('theirs')
    yield dict(
        what='the same, float32: memory beside the vectors',
        against=against,
        unit='MB',
        ours=ours,
        theirs=theirs,
        ratio=ours / theirs,
        note='each in a process of its own',
    )


# ---- recognition


def recognizer() -> Rows:
    "Training steps of the `mini` recognizer against a bare PyTorch loop over one batch in memory"
    import pandas as pd
    import torch
    from torch.nn.functional import cross_entropy

    from mfsr_nb.presets import load_preset
    from mfsr_nb.recognition.recognizer import Recognizer
    from mfsr_nb.recognition.train import train_recognizer

    settings = load_preset('mini').recognition
    steps = 30
    facts = []
    size = settings.image_size
    batch = settings.batch.identities * settings.batch.images_per_identity
    table = pd.DataFrame(dict(label=np.repeat(np.arange(64), 8), domain=0))
    pixels = torch.randint(0, 256, (len(table), size, size, 3), dtype=torch.uint8)
    model = Recognizer(
        64,
        settings.backbone,
        settings.neck.linear,
        size,
        pool=settings.neck.pool,
        normalize=settings.normalize_input,
        init=settings.init,
    )
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    x = pixels[:batch]
    labels = torch.tensor(table.label.to_numpy()[:batch])

    def bare() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            cross_entropy(model(x)[1], labels).backward()
            optimizer.step()

    schedule = replace(settings.schedule.casia, steps=steps, milestones=())

    def ours() -> None:
        with tempfile.TemporaryDirectory() as run:
            facts.append(train_recognizer(table, pixels, run, settings, schedule)[1])

    seconds = in_turns(ours, bare)
    waiting = np.median([fact['wait'] for fact in facts[1:]])
    yield row(
        f'recognizer training, batch {batch} at {size} px, {steps} steps with setup and saving',
        'a bare PyTorch loop on one batch',
        seconds,
        count=batch * steps,
        unit='images/s',
        note=f'{100 * waiting:.1f} % of the time waiting for data',
    )


def dfm_scores() -> dict:
    "DFM's scores, many small Lassos at once, against scikit-learn one after the other"
    import torch
    from sklearn.linear_model import Lasso
    from torch.nn.functional import normalize

    from mfsr_nb.recognition.dfm import fista

    number = 100
    beta = 0.4
    generator = torch.Generator().manual_seed(0)

    def directions(*shape: int) -> torch.Tensor:
        noise = torch.randn(*shape, generator=generator, dtype=torch.double)
        return normalize(noise + 0.7, dim=-1)

    G = directions(number, 5, 64)
    p = directions(number, 64)
    A = G @ G.mT
    b = 4.1 * torch.einsum('gkd,nd->gnk', G, p)
    X = np.linalg.cholesky(A.numpy()).transpose(0, 2, 1)

    def lassos() -> None:
        model = Lasso(alpha=beta / 5, fit_intercept=False, tol=1e-6)
        for i in range(number):
            Y = np.linalg.solve(X[i].T, b[i].numpy().T)
            for j in range(number):
                model.fit(X[i], Y[:, j])

    gram = A.float()
    target = b.float()
    seconds = in_turns(lambda: fista(gram, target, beta), lassos)
    what = 'DFM matching, 5 windows, 100 iterations'
    against = 'scikit-learn Lasso, pair by pair'
    return row(what, against, seconds, number**2, unit='pairs/s')


def interpret_fr_loss() -> dict:
    "The blur of Interpret-FR against a convolution of single channels"
    import torch
    from torch.nn.functional import conv2d

    from mfsr_nb.recognition.interpret_fr import mean_cos2, sad_maps

    generator = torch.Generator().manual_seed(0)
    psi = torch.randn(96, 64, 16, 16, generator=generator).requires_grad_()
    line = torch.tensor([0.0947, 0.1183, 0.0947])
    kernel = line[:, None] * line / line[0]

    def convolution() -> None:
        channels = psi.flatten(0, 1)[:, None]
        blurred = conv2d(channels, kernel[None, None], padding=1).view_as(psi)
        mean_cos2(blurred.flatten(2)).backward()

    return row(
        'Interpret-FR, SAD of 64 maps of 16 x 16, forward and back',
        'the same with the blur as a convolution',
        in_turns(lambda: sad_maps(psi).backward(), convolution),
        count=96,
        unit='images/s',
    )


def partial_faces() -> Rows:
    "The methods for partial faces: DFM's scores and Interpret-FR's loss"
    yield dfm_scores()
    yield interpret_fr_loss()


class DCRStep:
    "A training step of the paper's recognizer: ResNet-50, 32 x 6 images, 10,575 identities"

    n_ids = 10575
    dim = 512
    size = 112
    batch = 192

    def __init__(self):
        import torch
        from torch import nn
        from torchvision.models import resnet50

        from mfsr_nb.recognition.dcr import DCRLoss

        self.body = resnet50(weights=None)
        self.head = nn.Linear(self.dim, self.n_ids)
        self.body.fc = nn.Sequential(
            nn.Linear(2048, self.dim, bias=False), nn.BatchNorm1d(self.dim)
        )
        self.loss = DCRLoss(self.n_ids, self.dim)
        parameters = [*self.body.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.Adam(parameters, 1e-4)
        self.x = torch.randn(self.batch, 3, self.size, self.size)
        self.dom = torch.tensor([0] * 3 + [1] * 3).repeat(self.batch // 6)

    def ids(self) -> object:
        "Other identities at each step, six images of each"
        import torch

        return torch.randperm(self.n_ids)[: self.batch // 6].repeat_interleave(6)

    def step(self, with_dcr: bool) -> None:
        "One step with Softmax, and with DCR beside it"
        from torch.nn.functional import cross_entropy

        ids = self.ids()
        phi = self.body(self.x)
        loss = cross_entropy(self.head(phi), ids)
        if with_dcr:
            loss = loss + self.loss(phi, ids, self.dom)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def alone(self) -> None:
        "DCR on random embeddings"
        import torch

        phi = torch.randn(self.batch, self.dim, requires_grad=True)
        self.loss(phi, self.ids(), self.dom).backward()
        self.loss.diagnostics()


def dcr() -> Rows:
    "A training step of the paper's recognizer with Softmax, with DCR beside it, and DCR alone"
    work = DCRStep()
    seconds = in_turns(work.alone, lambda: work.step(with_dcr=False), rounds=3)
    share = 100 * seconds[:, 0] / (seconds[:, 0] + seconds[:, 1])
    what = f'ResNet-50 training step, {work.batch} images of {work.size} px'
    yield row(
        'DCR alone: forward, backward, centers, diagnostics',
        f'{what}, Softmax',
        seconds,
        count=work.batch,
        unit='images/s',
        note=f'DCR is {np.median(share):.2f} % of the step '
        f'({share.min():.2f} to {share.max():.2f})',
    )
    seconds = in_turns(
        lambda: work.step(with_dcr=True), lambda: work.step(with_dcr=False), rounds=2
    )
    yield row(f'{what}, Softmax + DCR', 'with Softmax only', seconds, work.batch, unit='images/s')


class LargeBatch:
    "DCR on random embeddings, six images of each identity, forward and back"

    dim = 512

    def __init__(self, batch: int):
        import torch

        from mfsr_nb.recognition import losses
        from mfsr_nb.recognition.dcr import DCRLoss

        self.batch = batch
        self.losses = losses
        self.loss = DCRLoss(batch, self.dim)
        self.ids = torch.arange(batch) // 6
        self.dom = torch.arange(batch) // 3 % 2

    def run(self, direct: bool) -> None:
        "One step; `direct` computes every distance exactly, whatever the size"
        import torch

        phi = torch.randn(self.batch, self.dim, requires_grad=True)
        limit = self.losses.DIRECT_PAIRS
        try:
            self.losses.DIRECT_PAIRS = self.batch**2 if direct else limit
            self.loss(phi, self.ids, self.dom).backward()
        finally:
            self.losses.DIRECT_PAIRS = limit


def batches() -> Rows:
    "DCR for large batches, in blocks, against all distances at once"
    for batch in (96, 768, 3072):
        work = LargeBatch(batch)
        yield row(
            f'DCR alone, batch {batch:,} x {work.dim}, forward and back',
            'all distances at once, exact (torch.cdist)',
            in_turns(partial(work.run, direct=False), partial(work.run, direct=True), rounds=3),
            count=batch,
            unit='images/s',
        )


def diagnostics() -> Rows:
    "DCR's diagnostics with a million identities against a walk over the whole bank"
    import torch

    from mfsr_nb.recognition.dcr import DCRLoss, vector_norms

    n_ids = 1_000_000
    dim = 512
    batch = 192
    loss = DCRLoss(n_ids, dim)
    ids = torch.arange(batch) // 6
    phi = torch.randn(batch, dim)
    dom = torch.arange(batch) // 3 % 2
    bank = loss.bank
    bank.seen.fill_(True)
    loss(phi, ids, dom)

    def whole_bank() -> tuple[float, float]:
        apart = vector_norms(bank.c[0] - bank.c[1])[bank.seen.all(0)].mean()
        return float(apart), float((bank.t - bank.last)[bank.seen].float().mean())

    step = np.median([seconds_of(lambda: loss(phi, ids, dom)) for _ in range(5)])
    yield row(
        f'diagnostics of DCR, {n_ids:,} identities, batch {batch}',
        'distance and age of all centers of the bank',
        in_turns(loss.diagnostics, whole_bank, rounds=5),
        count=1,
        unit='calls/s',
        note=f'the loss itself, forward: {1e3 * step:.0f} ms; every tenth step by default',
    )


def losses() -> Rows:
    """A loss with its head, forward and back, against pytorch-metric-learning.

    The batch is the paper's, and the identities are as many as CASIA-WebFace's.
    """
    import torch
    from pytorch_metric_learning import distances, miners, reducers
    from pytorch_metric_learning import losses as other

    from mfsr_nb.presets import load_preset
    from mfsr_nb.recognition.losses import ArcFace, CosineHead, Triplet

    preset = load_preset('paper')
    batch = preset.recognition.batch
    dim = preset.recognition.neck.linear
    n_ids = preset.data.train_sets.casia.identities
    against = 'pytorch-metric-learning'
    torch.manual_seed(0)
    ids = torch.arange(batch.identities).repeat_interleave(batch.images_per_identity)
    phi = torch.randn(len(ids), dim, requires_grad=True)
    head = CosineHead(dim, n_ids)
    arcface = ArcFace()
    other_arcface = other.ArcFaceLoss(n_ids, dim)
    seconds = in_turns(
        lambda: arcface((phi, head(phi)), ids, None).backward(),
        lambda: other_arcface(phi, ids).backward(),
    )
    what = f'ArcFace, batch {len(ids)}, {n_ids:,} identities'
    yield row(what, against, seconds, len(ids), unit='images/s')
    triplet = Triplet()
    no_logits = torch.zeros(len(ids), batch.identities)
    distance = distances.LpDistance(normalize_embeddings=False)
    hardest = miners.BatchHardMiner(distance=distance)
    other_triplet = other.TripletMarginLoss(
        margin=0, smooth_loss=True, distance=distance, reducer=reducers.MeanReducer()
    )
    seconds = in_turns(
        lambda: triplet((phi, no_logits), ids, None).backward(),
        lambda: other_triplet(phi, ids, hardest(phi, ids)).backward(),
        rounds=20,
    )
    what = f'batch-hard triplets, batch {len(ids)}'
    yield row(what, against, seconds, len(ids), unit='images/s')


# ---- segmentation


def segmentation_speed(x: object) -> Rows:
    "S of the preset `mini` against the lightest segmentation network of torchvision"
    import torch
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    from mfsr_nb.masks.unet_network import UNet
    from mfsr_nb.presets import load_preset

    settings = load_preset('mini').segmentation
    light = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=1).eval()
    S = UNet(settings.widths, settings.image_size).eval()
    half = UNet(settings.widths, settings.image_size).eval()
    half.bf16 = True
    z = (x.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)

    def measured(net: torch.nn.Module, precision: str) -> dict:
        return row(
            f'S of mini, {settings.image_size} px{precision}',
            'LR-ASPP on MobileNetV3 (torchvision), whose maps are an eighth as fine',
            in_turns(lambda: net(z), lambda: light(z)),
            count=len(x),
            unit='images/s',
        )

    with torch.inference_mode():
        yield measured(S, '')
        yield measured(half, ', bfloat16')


def augmentation_speed(x: object, y: object) -> dict:
    "S's augmentation against torchvision's own transforms, which take one image at a time"
    import torch
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    from mfsr_nb.masks.unet import augment
    from mfsr_nb.presets import load_preset

    settings = load_preset('mini').segmentation.augment
    transform = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(12, (0.1, 0.1), tuple(settings.zoom)),
            v2.ColorJitter(0.2, 0.2, 0.2),
            v2.GaussianBlur(3),
            v2.ToDtype(torch.float32, scale=True),
            v2.GaussianNoise(0, settings.noise),
        ]
    )

    def theirs() -> None:
        for image, mask in zip(x, y):
            transform(tv_tensors.Image(image.permute(2, 0, 1)), tv_tensors.Mask(mask))

    return row(
        'augmentation of S, with cloth and clutter',
        'affine, jitter, blur and noise of torchvision',
        in_turns(lambda: augment(x, y, 0, 0, settings), theirs),
        count=len(x),
        unit='images/s',
    )


def unet() -> Rows:
    "S of the preset `mini`, and its augmentation, against torchvision's"
    import torch

    from mfsr_nb.presets import load_preset
    from mfsr_nb.world.faces import FaceWorld
    from mfsr_nb.world.traits import LOOSE

    world = FaceWorld(seed=0, size=load_preset('mini').segmentation.image_size, framing=LOOSE)
    faces = world.faces(np.arange(64), 0, 'surgical')
    x = torch.as_tensor(faces.image)
    y = torch.as_tensor(faces.mask)
    yield from segmentation_speed(x)
    yield augmentation_speed(x, y)


# ---- generators


def random_faces(number: int, size: int) -> object:
    "Noise in the form of images"
    import torch

    return torch.randint(0, 256, (number, size, size, 3), dtype=torch.uint8)


def plain_copy(net: object) -> object:
    "A copy of a network in the usual memory format"
    import torch

    return copy.deepcopy(net).to(memory_format=torch.contiguous_format)


def adam(nets: list) -> object:
    "The optimizer of a plain loop"
    import torch

    parameters = []
    for net in nets:
        parameters += net.parameters()
    return torch.optim.Adam(parameters, 2e-4, (0.5, 0.999))


class IAMGANNets(NamedTuple):
    "Copies of the networks that a step of IAMGAN trains or uses"

    G_FM: object
    G_MF: object
    D_M: object
    D_F: object
    S: object
    C: object


class PlainIAMGAN:
    "IAMGAN in a plain loop: one forward pass for each image, float32, channels first"

    def __init__(self, model: object):
        self.nets = IAMGANNets(*(plain_copy(getattr(model, k)) for k in IAMGANNets._fields))
        nets = self.nets
        self.groups = ([nets.G_FM, nets.G_MF], [nets.D_M, nets.D_F], [nets.C])
        self.optimizers = [adam(group) for group in self.groups]

    def only(self, chosen: int) -> None:
        "Gradients for one group of networks"
        for number, group in enumerate(self.groups):
            for net in group:
                net.requires_grad_(number == chosen)
        self.optimizers[chosen].zero_grad()

    @staticmethod
    def lsgan(prediction: object, target: float) -> object:
        "The least-squares loss of a discriminator's output"
        return ((prediction - target) ** 2).mean()

    def generator_loss(self, x: object, y: object, ids: object) -> tuple:
        "The loss of the generators, the generated images and what S keeps"
        import torch
        from torch.nn.functional import cross_entropy

        G_FM, G_MF, D_M, D_F, S, C = self.nets
        fm = G_FM(x)
        mf = G_MF(y)
        with torch.no_grad():
            keep = (S(fm).sigmoid() <= 0.5).float()
        cycle = (G_MF(fm) - x).abs().mean() + (G_FM(mf) - y).abs().mean()
        loss = self.lsgan(D_M(fm), 1.0) + self.lsgan(D_F(mf), 1.0) + 10 * cycle
        loss = loss + cross_entropy(C(fm * keep), ids) + (x * keep - fm * keep).abs().mean()
        return loss, (fm, mf, keep)

    def critic_loss(self, x: object, y: object, fm: object, mf: object) -> object:
        "The loss of both discriminators"
        D_M = self.nets.D_M
        D_F = self.nets.D_F
        masked = self.lsgan(D_M(y), 1.0) + self.lsgan(D_M(fm.detach()), 0.0)
        full = self.lsgan(D_F(x), 1.0) + self.lsgan(D_F(mf.detach()), 0.0)
        return 0.5 * masked + 0.5 * full

    def step(self, x: object, y: object, ids: object) -> None:
        "One step of all three phases"
        from torch.nn.functional import cross_entropy

        self.only(0)
        loss, (fm, mf, keep) = self.generator_loss(x, y, ids)
        loss.backward()
        self.optimizers[0].step()
        self.only(1)
        self.critic_loss(x, y, fm, mf).backward()
        self.optimizers[1].step()
        self.only(2)
        cross_entropy(self.nets.C(x * keep), ids).backward()
        self.optimizers[2].step()


def iamgan_step(preset_name: str, identities: int, steps: int) -> dict:
    "Steps of IAMGAN with the networks of a preset"
    from mfsr_nb.generators.gan import gan_learner
    from mfsr_nb.generators.iamgan import IAMGAN, IAMLoss
    from mfsr_nb.generators.pipeline import Classifier, with_steps
    from mfsr_nb.generators.unpaired import gan_dls
    from mfsr_nb.masks.unet_network import UNet
    from mfsr_nb.presets import load_preset
    from mfsr_nb.recognition.recognizer import Recognizer

    preset = load_preset(preset_name)
    settings = with_steps(preset.iamgan, steps)
    size = preset.iamgan.image_size
    net = preset.recognition
    recognizer = Recognizer(
        identities,
        net.backbone,
        net.neck.linear,
        size,
        pool=net.neck.pool,
        normalize=net.normalize_input,
    )
    S = UNet(preset.segmentation.widths, size).eval()
    C = Classifier(recognizer).eval()
    dls = gan_dls(random_faces(8, size), random_faces(8, size), np.arange(8), settings)
    dls.train.per_epoch = settings.steps
    learner = gan_learner(dls, IAMGAN(settings, 0, S, C), IAMLoss(settings), settings)
    plain = PlainIAMGAN(learner.model)

    def theirs() -> None:
        for x, y, ids in dls.train:
            plain.step(x.contiguous(), y.contiguous(), ids)

    def ours() -> None:
        learner.model.n_steps.zero_()
        learner.fit(1)

    batch = settings.batch_size
    plural = 's' if steps > 1 else ''
    return row(
        f'IAMGAN, nets of {preset_name}, batch {batch} at {size} px, {steps} step{plural}',
        'the same nets in a plain loop',
        in_turns(ours, theirs, rounds=5 if steps > 1 else 3),
        count=steps * batch,
        unit='pairs of images/s',
        note=f'{settings.precision}, where the processor has it',
    )


def gan() -> Rows:
    "A step of IAMGAN, all phases, against the same networks in a plain loop"
    yield iamgan_step('mini', identities=400, steps=10)
    yield iamgan_step('paper', identities=10575, steps=1)


class PlainStarGAN:
    "StarGAN in a plain loop in float32, channels first"

    def __init__(self, model: object, half: int, critic_steps: int):
        import torch

        self.G = plain_copy(model.G)
        self.D = plain_copy(model.D)
        self.g_optimizer = adam([self.G])
        self.d_optimizer = adam([self.D])
        self.critic_steps = critic_steps
        self.attribute = torch.arange(2.0).repeat_interleave(half)

    def penalty(self, x: object, y: object) -> object:
        "The gradient penalty between real and generated images"
        import torch

        mix = (y + torch.rand(len(x), 1, 1, 1) * (x - y)).requires_grad_()
        score = self.D(mix)[0].sum()
        gradient = torch.autograd.grad(score, mix, create_graph=True)[0]
        return ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()

    def critic_step(self, x: object, wanted: object) -> None:
        "One step of the critic"
        from torch.nn.functional import binary_cross_entropy_with_logits as bce

        y = self.G(x, wanted).detach()
        penalty = self.penalty(x, y)
        real, logits = self.D(x)
        self.d_optimizer.zero_grad()
        loss = self.D(y)[0].mean() - real.mean() + 10 * penalty + bce(logits, self.attribute)
        loss.backward()
        self.d_optimizer.step()

    def generator_step(self, x: object, wanted: object) -> None:
        "One step of the generator"
        from torch.nn.functional import binary_cross_entropy_with_logits as bce

        self.g_optimizer.zero_grad()
        y = self.G(x, wanted)
        fake, logits = self.D(y)
        reconstruction = (x - self.G(y, self.attribute)).abs().mean()
        (bce(logits, wanted) - fake.mean() + 10 * reconstruction).backward()
        self.g_optimizer.step()

    def step(self, full: object, masked: object) -> None:
        "Steps of the critic, then one of the generator on the last images"
        import torch

        for a, b in zip(full.chunk(self.critic_steps), masked.chunk(self.critic_steps)):
            x = torch.cat([a, b]).contiguous()
            wanted = self.attribute[torch.randperm(len(self.attribute))]
            self.critic_step(x, wanted)
        self.generator_step(x, wanted)


def editing() -> Rows:
    "A step of StarGAN, critic and generator, against the same networks in a plain loop"
    from mfsr_nb.core import cpu_threads
    from mfsr_nb.engine.fit import Watch
    from mfsr_nb.generators.attribute_gans import AttributeGAN, AttributeGANLoss
    from mfsr_nb.generators.gan import gan_learner
    from mfsr_nb.generators.pipeline import generator_settings, with_steps
    from mfsr_nb.generators.unpaired import gan_dls
    from mfsr_nb.presets import load_preset

    settings = with_steps(generator_settings(load_preset('mini'), 'stargan'), 5)
    size = settings.image_size
    batch = settings.batch_size
    half = settings.batch_size // 2
    faces = random_faces(8, size), random_faces(8, size)
    each = half * settings.n_critic
    dls = gan_dls(*faces, np.arange(8), settings, each=each)
    dls.train.per_epoch = settings.steps
    model = AttributeGAN(settings)
    loss = AttributeGANLoss(settings)
    learner = gan_learner(dls, model, loss, settings, [Watch()])
    plain = PlainStarGAN(learner.model, half, settings.n_critic)

    def theirs() -> None:
        for full, masked, _ in dls.train:
            plain.step(full, masked)

    with cpu_threads(settings.threads):
        yield row(
            f'StarGAN, nets of mini, {settings.threads} thread, batch {batch} at {size} px, '
            f'{settings.steps} steps',
            'the same nets in a plain loop',
            in_turns(lambda: learner.fit(1), theirs),
            count=settings.steps * settings.n_critic * batch,
            unit='images/s',
            note=f'{settings.precision}, where the processor has it; the penalty in float32',
        )


# ---- generator reports


def ssim_speed() -> Rows:
    "SSIM against scikit-image's, image by image"
    if importlib.util.find_spec('skimage') is None:
        print('scikit-image is not installed: no SSIM to measure')
        return
    from skimage.metrics import structural_similarity

    from mfsr_nb.masks.generator_report import outside_ssim
    from mfsr_nb.world.faces import FaceWorld

    number = 64
    world = FaceWorld(seed=0, size=112)
    before = world.faces(np.arange(number), 0, None).image
    after = world.faces(np.arange(number), 0, 'cloth').image
    keep = np.ones((number, 112, 112), bool)
    options = dict(
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
    )

    def theirs() -> np.ndarray:
        return np.array([structural_similarity(a, b, **options) for a, b in zip(before, after)])

    difference = np.abs(outside_ssim(before, after, keep) - theirs()).max()
    yield row(
        'SSIM of 112 px color images',
        'scikit-image, same windows',
        in_turns(lambda: outside_ssim(before, after, keep), theirs),
        count=number,
        unit='images/s',
        note=f'differ by {difference:.0e}',
    )


def frechet_speed() -> dict:
    "The Fréchet distance against the root of the product of covariances"
    from scipy.linalg import sqrtm

    from mfsr_nb.masks.generator_report import frechet

    x, y = np.random.default_rng(0).normal(size=(2, 2000, 512))

    def theirs() -> float:
        c = np.cov(x.T)
        d = np.cov(y.T)
        root = sqrtm(c @ d).real
        means = ((x.mean(0) - y.mean(0)) ** 2).sum()
        return means + np.trace(c) + np.trace(d) - 2 * np.trace(root)

    return row(
        'Fréchet distance, 2 x 2,000 x 512',
        'covariances and scipy.linalg.sqrtm',
        in_turns(lambda: frechet(x, y), theirs, rounds=3),
        count=1,
        unit='distances/s',
        note=f'differ by {abs(frechet(x, y) / theirs() - 1):.0e}',
    )


def card() -> Rows:
    "The two costly parts of a generator report"
    yield from ssim_speed()
    yield frechet_speed()
