"What a preset would cost: counts the arithmetic of every kind of training step at the preset's real sizes, measures steps here, and writes results/projection.json; with --times also what mfsr_reproduce --dry-run shows.  On a CPU small batches are measured and scaled; with --device cuda the real ones."

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

os.environ.setdefault('TQDM_DISABLE', '1')
import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from common import ROOT
from mfsr_nb.core import hardware
from mfsr_nb.data.dataset import decode
from mfsr_nb.data.loading import to_square
from mfsr_nb.engine.files import atomic_write
from mfsr_nb.engine.fit import has_bf16
from mfsr_nb.generators.attribute_gans import (
    ATTRIBUTE_GANS,
    AttributeGAN,
    AttributeGANLoss,
    make_attribute_gan,
    train_attribute_gan,
)
from mfsr_nb.generators.gan import CycleGAN, CycleLoss
from mfsr_nb.generators.iamgan import IAMGAN, IAMLoss, train_iamgan
from mfsr_nb.generators.pipeline import VARIANTS, Classifier, generator_settings, with_steps
from mfsr_nb.masks.unet import UNet, train_unet
from mfsr_nb.presets import load_preset, settings, to_dataclass
from mfsr_nb.recognition.dfm import PARTIAL, train_partial
from mfsr_nb.recognition.recognizer import Recognizer, loss_settings
from mfsr_nb.recognition.train import train_recognizer
from mfsr_nb.study.plan import plan
from mfsr_nb.study.rows import rows
from mfsr_nb.study.study import Study

RATES = (20, 100)  # TFLOP/s, sustained: assumed, see the notebook 47_cost
BIG = 10**9


class Enough(Exception):
    "Enough steps have been seen"


class Whole(nullcontext):
    parents = {
        'Global'
    }  # the counter without its eye on modules, which cannot follow a gradient of a gradient


class Meter(Callback):
    "The arithmetic of the first step, the seconds of the others (on a GPU after a few more)"

    order = 30  # after all phases of a step, before samples and checkpoints

    def __init__(self):
        self.warm, self.flop, self.seconds = 3, None, []

    def clock(self):
        "On a CPU this process's own seconds, so that nothing else on the machine counts"
        if CUDA:
            torch.cuda.synchronize()
        return time.perf_counter() if CUDA else time.process_time()

    def before_batch(self):
        if self.flop is None:
            self.count = counter()
            self.count.__enter__()
        self.begin = self.clock()

    def after_batch(self):
        took, first = self.clock() - self.begin, self.flop is None
        if first:
            self.count.__exit__(None, None, None)
            self.flop = self.count.get_total_flops()
        elif CUDA and self.warm:
            self.warm -= 1
            return
        if not first or took > 2:
            self.seconds.append(took)  # of a long step the counting is no part
        if len(self.seconds) >= STEPS or sum(self.seconds) > A.limit:
            raise Enough('of this')


def watch(train):
    "(FLOP of a step, seconds of each of the next ones): of a function that takes callbacks"
    m = Meter()
    with (
        tempfile.TemporaryDirectory() as d,
        patch('mfsr_nb.gan.Samples.after_batch', lambda self: None),
    ):
        try:
            train(dest=d, cbs=[m], device=A.device, every=BIG)
        except Enough:
            pass
    return m.flop, m.seconds


def calls(f):
    "The same for a function that is called"
    m = Meter()
    with torch.inference_mode():
        try:
            while True:
                m.before_batch()
                f()
                m.after_batch()
        except Enough:
            pass
    return m.flop, m.seconds


class Some:
    "As many images as you like: a few, again and again"

    def __init__(self, n, size):
        self.n, self.x = n, torch.randint(0, 256, (16, size, size, 3), dtype=torch.uint8)

    def __len__(self):
        return self.n

    def __getitem__(self, rows):
        return self.x[torch.as_tensor(rows) % len(self.x)]


def people(p):
    return p.data.train_sets.casia.identities if p.world is None else p.world.casia['identities']


def cut(p, batch, least=1):
    "The batch that is measured: the whole one on a GPU and of small images, else a small one"
    return batch if CUDA or p.recognition.image_size <= 64 else max(least, min(batch, A.most))


def recogniser(p, loss):
    "A step of a recogniser: (FLOP, seconds, images measured, images in a step)"
    n, r, k = people(p), p.recognition, p.recognition.batch.images_per_identity
    ids = cut(p, r.batch.identities * k, 2 * k) // k
    name, _, late = loss.partition(', ')
    q = load_preset(
        p.name,
        recognition=dict(init='random', workers=0, batch=dict(identities=ids)),
        losses=dict(dfm=dict(sliding=dict(start=0.0 if late else 1.0))),
    )
    t, px, how = (
        pd.DataFrame(dict(label=np.arange(n), domain=0)),
        Some(n, r.image_size),
        dict(schedule=schedule_of(p, 3000), desc=loss),
    )
    if name in PARTIAL:
        m = watch(lambda **kw: train_partial(name, t, px, preset=q, **how, **kw))
    else:
        m = watch(
            lambda **kw: train_recognizer(
                t, px, r=q.recognition, loss=name, options=loss_settings(q, name)[1], **how, **kw
            )
        )
    return *m, ids * k, r.batch.identities * k


def schedule_of(p, steps):
    return to_dataclass(settings(p.recognition.schedule.casia) | dict(steps=steps, milestones=[]))


def segmenter(p):
    s = p.segmentation
    bs = cut(p, s.batch_size)
    with tempfile.TemporaryDirectory() as d:
        for i in range(bs):
            for k, a in (
                (
                    'images',
                    np.random.default_rng(i).integers(
                        0, 256, (s.image_size, s.image_size, 3), np.uint8
                    ),
                ),
                (
                    'labels',
                    np.uint8(255) * (np.indices((s.image_size,) * 2)[0] > s.image_size // 2),
                ),
            ):
                (Path(d) / k).mkdir(exist_ok=True)
                Image.fromarray(np.uint8(a)).save(f'{d}/{k}/{i}.png')
        s = load_preset(p.name, segmentation=dict(batch_size=bs, epochs=3000)).segmentation
        return *watch(lambda **kw: train_unet(d, s=s, **kw)), bs, p.segmentation.batch_size


def generator(p, name):
    o = generator_settings(p, name)
    bs = cut(p, o.batch_size)
    from_ = o.batch_size
    key = (
        dict(generators={name: dict(batch_size=bs)})
        if name in ATTRIBUTE_GANS
        else dict(iamgan=dict(batch_size=bs))
    )
    o = with_steps(generator_settings(load_preset(p.name, **key), name), 3000)
    f, m, labels = Some(16, o.image_size), Some(16, o.image_size), np.arange(16)
    if name in ATTRIBUTE_GANS:
        return *watch(lambda **kw: train_attribute_gan(f, m, labels, section=o, **kw)), bs, from_
    r = p.recognition
    C = (
        Classifier(
            Recognizer(
                people(p), r.backbone, r.neck.linear, o.image_size, r.neck.pool, r.normalize_input
            )
        )
        if name == 'iamgan'
        else None
    )
    return (
        *watch(
            lambda **kw: train_iamgan(
                f, m, labels, section=o, S=UNet(p.segmentation.widths, o.image_size), C=C, **kw
            )
        ),
        bs,
        from_,
    )


def inference(p, what):
    "One image: embedding, finding its mask, putting one on"
    n = 32 if CUDA else 1 if p.recognition.image_size > 64 else 32
    dev = A.device
    r, o = p.recognition, p.iamgan
    if what == 'embed':
        net = (
            Recognizer(
                people(p), r.backbone, r.neck.linear, r.image_size, r.neck.pool, r.normalize_input
            )
            .to(dev)
            .eval()
        )
        x = torch.zeros(n, r.image_size, r.image_size, 3, dtype=torch.uint8, device=dev)
        f = lambda: net.phi(x)
    elif what == 'find':
        net = UNet(p.segmentation.widths, o.image_size).to(dev).eval()
        x = torch.zeros(n, 3, o.image_size, o.image_size, device=dev)
        f = lambda: net(x)
    else:
        g = generator_settings(p, what)
        net = make_attribute_gan(what, size=g.image_size, **settings(g.generator)).to(dev).eval()
        x = torch.zeros(n, 3, g.image_size, g.image_size, device=dev).to(
            memory_format=torch.channels_last
        )
        f = lambda: net.translate(x)
    return *calls(f), n, 1


def decoding(p):
    "Seconds of one core for an image on its way to a batch: a JPEG of 112 pixels, decoded and resized"
    import io

    b = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (14, 14, 3), np.uint8)).resize(
        (112, 112)
    ).save(b, 'JPEG', quality=95)
    b = b.getvalue()
    out = []
    for _ in range(5):
        t = time.process_time()
        for _ in range(100):
            to_square(decode(b), p.recognition.image_size)
        out.append((time.process_time() - t) / 100)
    return out


@contextmanager
def weightless():
    "Networks and images made within have shapes and no numbers: whole batches can be counted on any machine"
    with (
        torch.device('meta'),
        patch('torch.autocast', lambda *a, **k: nullcontext()),
        patch('torch.is_autocast_enabled', lambda *a: False),
    ):
        yield


def counter():
    c = FlopCounterMode(display=False)
    c.mod_tracker = Whole()
    return c


def count(p, what):
    "(images in a step, FLOP of the step) of a whole batch, for what `units` names"
    n, r, s = people(p), p.recognition, p.segmentation
    kind, _, name = what.partition(' ')
    name, _, late = name.partition(', ')
    seen = counter()
    image = lambda n, size: torch.zeros(n, 3, size, size).to(memory_format=torch.channels_last)
    net = lambda size: Recognizer(
        n, r.backbone, r.neck.linear, size, r.neck.pool, r.normalize_input
    )
    with weightless():
        if kind != 'step':
            with torch.no_grad():
                if kind == 'embed':
                    m, x = (
                        net(r.image_size).eval(),
                        torch.zeros(1, r.image_size, r.image_size, 3, dtype=torch.uint8),
                    )
                    f = m.phi
                elif kind == 'find':
                    f, x = UNet(s.widths, p.iamgan.image_size).eval(), image(1, p.iamgan.image_size)
                else:
                    o = generator_settings(p, what.split()[-1])
                    f, x = (
                        make_attribute_gan(
                            what.split()[-1], size=o.image_size, **settings(o.generator)
                        )
                        .eval()
                        .translate,
                        image(1, o.image_size),
                    )
                with seen:
                    f(x)
            return 1, seen.get_total_flops()
        if name in ('softmax', 'dcr', *PARTIAL):
            B = r.batch.identities * r.batch.images_per_identity
            x = torch.zeros(B, r.image_size, r.image_size, 3, dtype=torch.uint8)
            m = (
                PARTIAL[name][1](
                    n,
                    load_preset(p.name, recognition=dict(init='random')).recognition,
                    getattr(p.losses, name),
                    3000,
                )
                if name in PARTIAL
                else net(r.image_size)
            )
            m.train()
            m.n_steps = torch.zeros((), dtype=torch.long, device='cpu')
            if name == 'dfm':
                m.start = 0 if late else 1
            with seen:
                out = m(x)
                loss = (
                    PARTIAL[name][2](p.losses.interpret_fr)(
                        out, torch.zeros(B, dtype=torch.long), None
                    )
                    if name == 'interpret_fr'
                    else sum(
                        o.float().sum()
                        for o in (out.values() if isinstance(out, dict) else out)
                        if isinstance(o, torch.Tensor)
                    )
                )
                loss.backward()  # Interpret-FR's loss has products of maps, which count
            return B, seen.get_total_flops()
        if name == 'S':
            m, x = UNet(s.widths, s.image_size).train(), image(s.batch_size, s.image_size)
            with seen:
                m(x).sum().backward()
            return s.batch_size, seen.get_total_flops()
        o = generator_settings(p, name)
        o = to_dataclass(
            settings(o) | (dict(pool_size=0) if name not in ATTRIBUTE_GANS else {}), 'Section'
        )
        B = o.batch_size // 2 * o.n_critic if name in ATTRIBUTE_GANS else o.batch_size
        m = (
            AttributeGAN(o)
            if name in ATTRIBUTE_GANS
            else CycleGAN(o)
            if name == 'cyclegan'
            else IAMGAN(o, S=UNet(s.widths, o.image_size), C=Classifier(net(o.image_size)))
        )
        loss = (
            AttributeGANLoss
            if name in ATTRIBUTE_GANS
            else CycleLoss
            if name == 'cyclegan'
            else IAMLoss
        )(o)
        m.train()
        m.n_steps = torch.zeros((), dtype=torch.long, device='cpu')
        f, x, ids, out = (
            image(B, o.image_size),
            image(B, o.image_size),
            torch.zeros(B, dtype=torch.long),
            {},
        )
        for i, phase in enumerate(m.phases):
            on = {id(q) for k in m.nets(phase) for q in k.parameters()}
            for q in m.parameters():
                q.requires_grad_(id(q) in on)
            with seen_by(seen):
                out |= m(f, x, phase, out)
                (getattr(loss, phase) if i else loss)(out, ids).backward()
        return o.batch_size, seen.total


@contextmanager
def seen_by(c):
    "Counting that adds up over several times"
    one = counter()
    with one:
        yield
    c.total = getattr(c, 'total', 0) + one.get_total_flops()


def units(p, have, keep):
    "name -> what a step or an image takes: counted for the whole batch, and measured where that is wanted and lacking; `keep(units so far)` after each new one"
    jobs = (
        {f'step {l}': (recogniser, l) for l in ('softmax', 'dcr', *PARTIAL, 'dfm, matching')}
        | {'step S': (segmenter,)}
        | {f'step {g}': (generator, g) for g in ('cyclegan', 'iamgan', *ATTRIBUTE_GANS)}
    )
    jobs |= {w: (inference, w) for w in ('embed', 'find')} | {
        f'mask by {g}': (inference, g) for g in ('iamgan', *ATTRIBUTE_GANS)
    }
    for k in jobs:
        if 'tflop' in have.get(k, {}):
            continue
        B, flop = count(p, k)
        have[k] = dict(batch=B, tflop=flop / 1e12)
        keep(have)
        print(f'{p.name}: {k}: {flop / 1e12:.4f} TFLOP for {B} images', flush=True)
    for k, (f, *args) in jobs.items():
        u = have[k]
        if 'seconds' in u or not any(fnmatch(f'{p.name} {k}', o) for o in A.measure):
            continue
        flop, s, batch, _ = f(p, *args)
        s, flop = np.array(s) * u['batch'] / batch, flop * u['batch'] / batch / 1e12
        if abs(flop / u['tflop'] - 1) > 0.02:
            sys.exit(
                f'project: {p.name}, {k}: {u["tflop"]:.4f} TFLOP counted, {flop:.4f} in the step that was made'
            )  # all but linear in the batch: DFM's comparison of pairs is a few thousandths of its step
        u |= dict(
            measured_batch=batch,
            counted_in_step=flop,
            seconds=round(float(np.median(s)), 6),
            seconds_least=round(s.min(), 6),
            seconds_most=round(s.max(), 6),
            steps=len(s),
        )
        u['tflop_per_second'] = round(u['tflop'] / u['seconds'], 4)
        keep(have)
        print(
            f'{p.name}: {k}: {u["seconds"]:.3f} s ({batch} of {u["batch"]} images), {1e3 * u["tflop_per_second"]:.0f} GFLOP/s',
            flush=True,
        )
    return have


def counts_of(p):
    "(training world -> images, test images, labelled images for S)"
    w, d = p.world, p.data
    if w is None:
        return (
            {k: getattr(d.train_sets, k).images for k in ('casia', 'vggface2')},
            d.mfsr_rec.images,
            d.mfsr_seg.images,
        )
    return (
        {k: getattr(w, k)['identities'] * getattr(w, k)['images'] for k in ('casia', 'vggface2')},
        w.rec['identities'] * (w.rec['full'] + w.rec['masked']),
        w.seg['images'],
    )


def parts(p, kind, row):
    "unit -> how many of them a task of a kind takes"
    train, test, seg = counts_of(p)
    what, *rest = kind.split(' ')
    steps = lambda w: getattr(p.recognition.schedule, w).steps
    if what == 'run' and (row.loss, row.masks) == ('softmax', ''):
        return dict(embed=test)  # its training is a task of its own
    if what == 'run':
        loss, n = (
            loss_settings(p, row.loss)[0] if row.loss not in PARTIAL else row.loss,
            steps(row.train),
        )
        late = n - round(n * p.losses.dfm.sliding.start) if loss == 'dfm' else 0
        return {
            f'step {loss if loss in ("dcr", *PARTIAL) else "softmax"}': n - late,
            **({'step dfm, matching': late} if late else {}),
            'embed': test,
        }
    if what == 'softmax':
        return {'step softmax': steps(rest[0])}
    if what == 'segmenter':
        s = p.segmentation
        return {
            'step S': round(s.epochs * 0.9 * (seg + s.full_faces) / s.batch_size)
        }  # a tenth is held out
    if what == 'masks' and rest[0] in VARIANTS:
        g, n = generator_settings(p, rest[0]), train[rest[1]]
        name = (
            rest[0]
            if rest[0] in ATTRIBUTE_GANS
            else 'cyclegan'
            if rest[0] == 'cyclegan'
            else 'iamgan'
        )
        return {
            f'step {name}': g.steps,
            f'mask by {"iamgan" if name == "cyclegan" else name}': n,
            'find': n,
        }
    if what == 'card':
        return dict(embed=1000, find=500)
    return {}  # masks by rules, drawing, records: a CPU's


def tasks_of(p):
    "Tasks of the whole plan with one seed: name -> kind, what it is made of, rows that need it"
    study = SimpleNamespace(
        drawn=p.world is not None,
        preset=p,
        kind='paper',
        card_name=lambda row, seed: Study.card_name(study, row, seed),
        has_card=lambda row: row.masks not in ('', 'true'),
    )
    todo = plan(study, rows())
    runs = {n: {n} for n, t in todo.items() if t.what == 'run'}
    need = {n: set() for n in todo}
    for n in runs:
        seen, stack = set(), [n]
        while stack:
            k = stack.pop()
            seen.add(k)
            stack += [o for o in todo[k].needs if o not in seen]
        for k in seen:
            need[k].add(todo[n].args[0].name)
    return {
        n: dict(
            kind=t.kind,
            what=t.what,
            parts=parts(p, t.kind, t.args[0] if t.what == 'run' else None),
            rows=sorted(need[n]),
        )
        for n, t in todo.items()
    }


def save(f, o):
    with atomic_write(f) as t:
        t.write_text(json.dumps(o, indent=1) + '\n', encoding='utf-8')


def main():
    f, g = ROOT / 'results' / 'projection.json', ROOT / 'results' / 'times.json'
    load = lambda f: json.loads(f.read_text(encoding='utf-8')) if f.is_file() else {}
    for name in A.presets:
        p, out = load_preset(name), load(f) or dict(presets={})
        out['rates'] = list(RATES)
        now = dict(
            hardware=torch.cuda.get_device_name() if CUDA else hardware(),
            device=A.device,
            threads=torch.get_num_threads(),
            bf16=has_bf16(A.device),
        )
        d = out['presets'].get(name, {})
        d = out['presets'][name] = (
            d if A.keep and all(d.get(k) == v for k, v in now.items()) else now | dict(units={})
        )
        if 'decoding' not in d:
            s = decoding(p)
            d['decoding'] = dict(
                seconds=round(float(np.median(s)), 6),
                seconds_least=round(min(s), 6),
                seconds_most=round(max(s), 6),
            )
        train, test, labelled = counts_of(p)
        d |= dict(images=dict(train=train, test=test, labelled=labelled), tasks=tasks_of(p))
        units(p, d['units'], lambda _: save(f, out))
        save(f, out)
        if A.times and p.recognition.image_size > 64:  # small presets are run, not projected
            o = load(g)
            per = {
                k: (u['seconds'] if CUDA else u['tflop'] / A.times) for k, u in d['units'].items()
            }
            o[name] = dict(
                hardware=f'{d["hardware"]}, projected from measured steps'
                if CUDA
                else f'no machine: projected for a GPU that sustains {A.times:g} TFLOP/s',
                seconds=dict(
                    sorted(
                        {
                            t['kind']: round(sum(per[k] * n for k, n in t['parts'].items()), 1)
                            for t in d['tasks'].values()
                            if t['parts']
                        }.items()
                    )
                ),
            )
            save(g, o)


if __name__ == '__main__':
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument('presets', nargs='*', default=['mini', 'gpu', 'paper'])
    a.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    a.add_argument('--steps', type=int, default=5, help='steps timed of each kind')
    a.add_argument('--limit', type=float, default=10, help='no more of them after so many seconds')
    a.add_argument(
        '--most', type=int, default=2, help='images of a batch on a CPU (recognisers: two people)'
    )
    a.add_argument(
        '--measure',
        nargs='*',
        default=['*'],
        help='what to measure, such as "paper step S" or "mini *"; with nothing behind it only counts',
    )
    a.add_argument('--keep', action='store_true', help='measure only what the file lacks')
    a.add_argument(
        '--times',
        type=float,
        default=0,
        help='write results/times.json for a GPU of so many TFLOP/s',
    )
    A = a.parse_args()
    CUDA, STEPS = A.device.startswith('cuda'), A.steps
    if not CUDA:
        torch.set_num_threads(1)
    main()
