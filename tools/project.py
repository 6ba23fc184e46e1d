"What a preset would cost: counts the arithmetic of every kind of training step at the preset's real sizes, measures steps here, and writes results/projection.json; with --times also what mfsr_reproduce --dry-run shows.  On a CPU small batches are measured and scaled; with --device cuda the real ones."
import argparse, json, os, tempfile, time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

os.environ.setdefault('TQDM_DISABLE', '1')
import numpy as np
import pandas as pd
import torch
from common import ROOT
from fastai.callback.core import Callback
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from mfsr_nb.core import freeze, hardware, load_preset, settings, write_beside
from mfsr_nb.dataset import decode
from mfsr_nb.experiments import Study, rows
from mfsr_nb.generators import Classifier, VARIANTS, variant, with_steps
from mfsr_nb.iamgan import train_iamgan
from mfsr_nb.loading import to_square
from mfsr_nb.partial import train_partial
from mfsr_nb.recognizer import Recognizer, loss_settings, train_recognizer
from mfsr_nb.reproduce import plan
from mfsr_nb.training import has_bf16
from mfsr_nb.translators import EDITORS, make_translator, train_editor
from mfsr_nb.unet import UNet, train_unet

RATES = (20, 100)                                              # TFLOP/s, sustained: assumed, see the notebook 47_cost
BIG = 10**9


class Enough(Exception): "Enough steps have been seen"


class Meter(Callback):
    "The arithmetic of the first step, the seconds of the others"
    order = 30                                                 # after all phases of a step, before samples and checkpoints
    def __init__(self, steps): self.left, self.flop, self.seconds = steps, None, []
    def clock(self):
        "On a CPU this process's own seconds, so that nothing else on the machine counts"
        if CUDA: torch.cuda.synchronize()
        return time.perf_counter() if CUDA else time.process_time()
    def before_batch(self):
        if self.flop is None: self.count = FlopCounterMode(display=False); self.count.__enter__()
        self.begin = self.clock()
    def after_batch(self):
        if self.flop is None: self.count.__exit__(None, None, None); self.flop = self.count.get_total_flops()
        elif CUDA and self.left > STEPS: self.left -= 1        # warm-up
        else: self.seconds.append(self.clock()-self.begin)
        if len(self.seconds) == STEPS: raise Enough


def watch(train):
    "(FLOP of a step, seconds of each of the next ones): of a function that takes callbacks"
    m = Meter(STEPS+5)
    with tempfile.TemporaryDirectory() as d, patch('mfsr_nb.gan.Samples.after_batch', lambda self: None):
        try: train(dest=d, cbs=[m], device=A.device, every=BIG)
        except Enough: pass
    return m.flop, m.seconds


def calls(f):
    "The same for a function that is called"
    m = Meter(STEPS)
    with torch.inference_mode():
        for _ in range(1+STEPS):
            try: m.before_batch(); f(); m.after_batch()
            except Enough: pass
    return m.flop, m.seconds


class Some:
    "As many images as you like: a few, again and again"
    def __init__(self, n, size): self.n, self.x = n, torch.randint(0, 256, (16, size, size, 3), dtype=torch.uint8)
    def __len__(self): return self.n
    def __getitem__(self, rows): return self.x[torch.as_tensor(rows) % len(self.x)]


def people(p): return p.data.train_sets.casia.identities if p.world is None else p.world.casia['identities']


def cut(p, batch, least=1):
    "The batch that is measured: the whole one on a GPU and of small images, else a small one"
    return batch if CUDA or p.recognition.image_size <= 64 else max(least, min(batch, A.most))


def recogniser(p, loss):
    "A step of a recogniser: (FLOP, seconds, images measured, images in a step)"
    n, r, k = people(p), p.recognition, p.recognition.batch.images_per_identity; ids = cut(p, r.batch.identities*k, 2*k)//k
    p = load_preset(p.name, recognition=dict(init='random', workers=0, batch=dict(identities=ids))); t = pd.DataFrame(dict(label=np.arange(n), domain=0)); px = Some(n, r.image_size); how = dict(seed=0, desc=loss)
    if loss in ('interpret_fr', 'dfm'): name, start = loss, 1.
    elif loss == 'dfm, matching': name, start = 'dfm', 0.
    else: return *watch(lambda **kw: train_recognizer(t, px, r=p.recognition, schedule=schedule_of(p, 3000), loss=loss, options=loss_settings(p, loss)[1], **how, **kw)), ids*k, r.batch.identities*k
    p = load_preset(p.name, recognition=dict(init='random', workers=0, batch=dict(identities=ids)), **({'losses': dict(dfm=dict(sliding=dict(start=start)))} if name == 'dfm' else {}))
    return *watch(lambda **kw: train_partial(name, t, px, preset=p, schedule=schedule_of(p, 3000), **how, **kw)), ids*k, r.batch.identities*k


def schedule_of(p, steps): return freeze(settings(p.recognition.schedule.casia) | dict(steps=steps, milestones=[]))


def segmenter(p):
    s = p.segmentation; bs = cut(p, s.batch_size)
    with tempfile.TemporaryDirectory() as d:
        for i in range(bs):
            for k, a in (('images', np.random.default_rng(i).integers(0, 256, (s.image_size, s.image_size, 3), np.uint8)), ('labels', np.uint8(255)*(np.indices((s.image_size,)*2)[0] > s.image_size//2))): (Path(d)/k).mkdir(exist_ok=True); Image.fromarray(np.uint8(a)).save(f'{d}/{k}/{i}.png')
        s = load_preset(p.name, segmentation=dict(batch_size=bs, epochs=3000)).segmentation
        return *watch(lambda **kw: train_unet(d, s=s, **kw)), bs, p.segmentation.batch_size


def generator(p, name):
    o = variant(p, name); bs = cut(p, o.batch_size); from_ = o.batch_size
    key = dict(generators={name: dict(batch_size=bs)}) if name in EDITORS else dict(iamgan=dict(batch_size=bs))
    o = with_steps(variant(load_preset(p.name, **key), name), 3000); f, m, labels = Some(16, o.image_size), Some(16, o.image_size), np.arange(16)
    if name in EDITORS: return *watch(lambda **kw: train_editor(f, m, labels, o=o, **kw)), bs, from_
    r = p.recognition; C = Classifier(Recognizer(people(p), r.backbone, r.neck.linear, o.image_size, r.neck.pool, r.normalize_input)) if name == 'iamgan' else None
    return *watch(lambda **kw: train_iamgan(f, m, labels, o=o, S=UNet(p.segmentation.widths, o.image_size), C=C, **kw)), bs, from_


def inference(p, what):
    "One image: embedding, finding its mask, putting one on"
    n = 32 if CUDA else 1 if p.recognition.image_size > 64 else 32; dev = A.device; r, o = p.recognition, p.iamgan
    if what == 'embed': net = Recognizer(people(p), r.backbone, r.neck.linear, r.image_size, r.neck.pool, r.normalize_input).to(dev).eval(); x = torch.zeros(n, r.image_size, r.image_size, 3, dtype=torch.uint8, device=dev); f = lambda: net.phi(x)
    elif what == 'find': net = UNet(p.segmentation.widths, o.image_size).to(dev).eval(); x = torch.zeros(n, 3, o.image_size, o.image_size, device=dev); f = lambda: net(x)
    else:
        g = variant(p, what); net = make_translator(what, size=g.image_size, **settings(g.generator)).to(dev).eval(); x = torch.zeros(n, 3, g.image_size, g.image_size, device=dev).to(memory_format=torch.channels_last); f = lambda: net.translate(x)
    return *calls(f), n, 1


def decoding(p):
    "Seconds of one core for an image on its way to a batch: a JPEG of 112 pixels, decoded and resized"
    import io
    b = io.BytesIO(); Image.fromarray(np.random.default_rng(0).integers(0, 256, (14, 14, 3), np.uint8)).resize((112, 112)).save(b, 'JPEG', quality=95); b = b.getvalue(); out = []
    for _ in range(5):
        t = time.process_time()
        for _ in range(100): to_square(decode(b), p.recognition.image_size)
        out.append((time.process_time()-t)/100)
    return out


def unit(flop, seconds, batch, full, power=1):
    "What is kept of a measurement, scaled to the whole batch"
    k = (full/batch)**power; s = np.median(seconds)*k
    return dict(batch=full, measured_batch=batch, tflop=flop*k/1e12, seconds=round(s, 6), seconds_least=round(min(seconds)*k, 6), seconds_most=round(max(seconds)*k, 6), tflop_per_second=round(flop*k/1e12/s, 4))


def units(p):
    "name -> `unit`"
    out = {}
    def add(name, *m, **kw): out[name] = unit(*m, **kw); print(f"{p.name}: {name}: {out[name]['tflop']:.4f} TFLOP, {out[name]['seconds']:.3f} s ({out[name]['measured_batch']} of {out[name]['batch']}), {1e3*out[name]['tflop_per_second']:.0f} GFLOP/s", flush=True)
    for l in ('softmax', 'dcr', 'interpret_fr', 'dfm'): add(f'step {l}', *recogniser(p, l))
    m = recogniser(p, 'dfm, matching'); plain = recogniser(p, 'dfm')                                                  # the matching goes with the square of a batch
    b, full = m[2], m[3]; d = unit(m[0]-plain[0], np.maximum(1e-9, np.median(m[1])-np.array(plain[1])), b, full, 2); s = out['step dfm']
    out['step dfm, matching'] = s | dict(tflop=s['tflop']+d['tflop'], **{k: round(s[k]+d[k], 6) for k in ('seconds', 'seconds_least', 'seconds_most')}); out['step dfm, matching']['tflop_per_second'] = round(out['step dfm, matching']['tflop']/out['step dfm, matching']['seconds'], 4)
    add('step S', *segmenter(p))
    for g in ('cyclegan', 'iamgan', *EDITORS): add(f'step {g}', *generator(p, g))
    for w in ('embed', 'find', 'iamgan', *EDITORS): add(w if w in ('embed', 'find') else f'mask by {w}', *inference(p, w))
    return out


def counts_of(p):
    "(training world -> images, test images, labelled images for S)"
    w, d = p.world, p.data
    if w is None: return {k: getattr(d.train_sets, k).images for k in ('casia', 'vggface2')}, d.mfsr_rec.images, d.mfsr_seg.images
    return {k: getattr(w, k)['identities']*getattr(w, k)['images'] for k in ('casia', 'vggface2')}, w.rec['identities']*(w.rec['full']+w.rec['masked']), w.seg['images']


def parts(p, kind, row):
    "unit -> how many of them a task of a kind takes"
    train, test, seg = counts_of(p); what, *rest = kind.split(' '); steps = lambda w: getattr(p.recognition.schedule, w).steps
    if what == 'run':
        loss, n = loss_settings(p, row.loss)[0] if row.loss not in ('interpret_fr', 'dfm') else row.loss, steps(row.train); late = n-round(n*p.losses.dfm.sliding.start) if loss == 'dfm' else 0
        return {f"step {loss if loss in ('dcr', 'interpret_fr', 'dfm') else 'softmax'}": n-late, **({'step dfm, matching': late} if late else {}), 'embed': test}
    if what == 'softmax': return {'step softmax': steps(rest[0])}
    if what == 'segmenter': s = p.segmentation; return {'step S': round(s.epochs*.9*(seg+s.full_faces)/s.batch_size)}                                # a tenth is held out
    if what == 'masks' and rest[0] in VARIANTS:
        g, n = variant(p, rest[0]), train[rest[1]]; name = rest[0] if rest[0] in EDITORS else 'cyclegan' if rest[0] == 'cyclegan' else 'iamgan'
        return {f'step {name}': g.steps, f"mask by {'iamgan' if name == 'cyclegan' else name}": n, 'find': n}
    if what == 'card': return dict(embed=1000, find=500)
    return {}                                                                                                           # masks by rules, drawing, records: a CPU's


def tasks_of(p):
    "Tasks of the whole plan with one seed: name -> kind, what it is made of, rows that need it"
    study = SimpleNamespace(drawn=p.world is not None, preset=p, kind='paper', card_name=lambda row, seed: Study.card_name(study, row, seed), has_card=lambda row: row.masks not in ('', 'true'))
    todo = plan(study, rows()); runs = {n: {n} for n, t in todo.items() if t.what == 'run'}; need = {n: set() for n in todo}
    for n in runs:
        seen, stack = set(), [n]
        while stack: k = stack.pop(); seen.add(k); stack += [o for o in todo[k].needs if o not in seen]
        for k in seen: need[k].add(todo[n].args[0].name)
    return {n: dict(kind=t.kind, what=t.what, parts=parts(p, t.kind, t.args[0] if t.what == 'run' else None), rows=sorted(need[n])) for n, t in todo.items()}


def main():
    f = ROOT/'results'/'projection.json'; out = json.loads(f.read_text(encoding='utf-8')) if f.is_file() else dict(presets={})
    for name in A.presets:
        p = load_preset(name); us = out['presets'].get(name, {}).get('units') if A.keep else None
        dec = decoding(p); d = dict(hardware=torch.cuda.get_device_name() if CUDA else hardware(), device=A.device, threads=torch.get_num_threads(), bf16=has_bf16(A.device), decoding=dict(seconds=float(np.median(dec)), seconds_least=min(dec), seconds_most=max(dec)))
        d = (out['presets'][name] if us else d) | dict(units=us or units(p), images=dict(train=counts_of(p)[0], test=counts_of(p)[1], labelled=counts_of(p)[2]), tasks=tasks_of(p)); out['presets'][name] = d
        out['rates'] = list(RATES)
        with write_beside(f) as t: t.write_text(json.dumps(out, indent=1)+'\n', encoding='utf-8')
        if A.times:
            g = ROOT/'results'/'times.json'; o = json.loads(g.read_text(encoding='utf-8')) if g.is_file() else {}; per = {k: (u['seconds'] if CUDA else u['tflop']/A.times) for k, u in d['units'].items()}
            o[name] = dict(hardware=f"{d['hardware']}, projected from measured steps" if CUDA else f'no machine: projected for a GPU that sustains {A.times:g} TFLOP/s', seconds=dict(sorted({t['kind']: round(sum(per[k]*n for k, n in t['parts'].items()), 1) for t in d['tasks'].values() if t['parts']}.items())))
            with write_beside(g) as t: t.write_text(json.dumps(o, indent=1)+'\n', encoding='utf-8')


if __name__ == '__main__':
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument('presets', nargs='*', default=['mini', 'gpu', 'paper'])
    a.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    a.add_argument('--steps', type=int, default=2, help='steps timed, after the first')
    a.add_argument('--most', type=int, default=2, help='images of a batch on a CPU (recognisers: two people)')
    a.add_argument('--keep', action='store_true', help='measure nothing: count tasks again with the units in the file')
    a.add_argument('--times', type=float, default=0, help='write results/times.json for a GPU of so many TFLOP/s')
    A = a.parse_args(); CUDA, STEPS = A.device.startswith('cuda'), A.steps
    if not CUDA: torch.set_num_threads(1)
    main()
