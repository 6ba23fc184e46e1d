"Choose what the paper leaves open, on people of the training world that are held out: trains each candidate and writes results/choices.json.  Goes on where it stopped; never looks at the test identities."
import argparse, json, os
from pathlib import Path

os.environ.setdefault('TQDM_DISABLE', '1')
import numpy as np
from common import ROOT
from mfsr_nb.core import FULL, MASKED, config_hash, load_preset, settings, write_beside
from mfsr_nb.dataset import read
from mfsr_nb.experiments import Row, Study
from mfsr_nb.loading import load_pixels
from mfsr_nb.protocol import retrieval
from mfsr_nb.recognizer import embed_pixels, fingerprint, hold_out, loss_settings, train_recognizer, training_set

# loss -> candidates; the first of each is what the method's authors (or the paper) say
GRID = dict(
    softmax=[dict(), dict(lr=2e-3), dict(lr=8e-3), dict(steps=260), dict(backbone='small')],
    triplet=[dict(margin='soft', weight=1.), dict(margin='soft', weight=.3), dict(margin=.3, weight=1.)],
    center=[dict(weight=.003), dict(weight=.001), dict(weight=.01)],
    sphereface=[dict(lambda_gamma=.12, lambda_min=5.), dict(lambda_gamma=1., lambda_min=5.), dict(lambda_gamma=8., lambda_min=5.)],
    cosface=[dict(scale=64., margin=.35), dict(scale=32., margin=.35), dict(scale=32., margin=.2), dict(scale=16., margin=.2)],
    arcface=[dict(scale=64., margin=.5), dict(scale=32., margin=.5), dict(scale=32., margin=.3), dict(scale=16., margin=.3)],
    dcr=[dict(dcr_weight=1.), dict(dcr_weight=.5), dict(dcr_weight=2.), dict(squared=True), dict(normalize=False), dict(cross_positive='center'), dict(update='before'), dict(renormalize=True)],
)


def held_out(study, names):
    "(pixels, identities) of masked and of full photographs of people who are not trained on: the world's own masks, first half of the views, against the full faces of the other half"
    def part(t, first):
        t = t[t.identity.isin(names)]
        v = t.groupby('identity').key.rank(method='first') <= t.groupby('identity').key.transform('count') / 2
        t, px, _ = load_pixels(t[v == first].reset_index(drop=True), study.preset.recognition.image_size)
        return px, t.identity.to_numpy()
    true, full = read(study.data('casia_true')), read(study.data('casia'))
    return part(true, True), part(full, True), part(full, False)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('study', help='folder of a study of the preset, as mfsr_reproduce leaves it')
    p.add_argument('losses', nargs='*', help=f"of: {', '.join(GRID)} (default: all)")
    p.add_argument('--preset', default='mini')
    p.add_argument('--seeds', type=int, default=1)
    p.add_argument('--share', type=float, default=.2, help='of the people, held out')
    a = p.parse_args()
    study, out = Study(a.preset, a.study), ROOT / 'results' / 'choices.json'
    t = training_set(study.data('casia'), study.masked(Row('', (), 'casia', 'softmax', 'iamgan'), 0))
    t, held = hold_out(t, a.share, seed=0)
    t, px, _ = load_pixels(t, study.preset.recognition.image_size)
    masked, full, gallery = held_out(study, set(held.identity))
    for seed, loss in ((s, l) for s in range(a.seeds) for l in a.losses or GRID):
        for change in GRID[loss]:
            s = settings(study.preset.recognition)
            s['optimizer']['lr'], s['backbone'] = change.get('lr', s['optimizer']['lr']), change.get('backbone', s['backbone'])
            if 'steps' in change:
                o = s['schedule']['casia']
                k = change['steps'] / o['steps']
                o |= dict(steps=change['steps'], milestones=[round(k * m) for m in o['milestones']], warmup=round(k * o['warmup']))
            options = loss_settings(load_preset('paper'), loss)[1] | {k: v for k, v in change.items() if k not in ('lr', 'steps', 'backbone')}
            r = load_preset(a.preset, recognition=s).recognition
            name = config_hash(r, loss, options, seed, a.share, fingerprint(t))
            if (study.dest / 'choose' / name / 'line.json').is_file(): continue
            m, about = train_recognizer(t, px, study.dest / 'choose' / name, r, r.schedule.casia, loss, options, seed, f'{loss} {change}')
            g, rank = embed_pixels(m, gallery[0]), {}
            for k, (x, ids) in dict(masked=masked, full=full).items():
                found = retrieval(embed_pixels(m, x), ids, g, gallery[1])
                rank[k] = dict(rank1=round(found.rank(1), 4), map=round(found.map, 4))
            line = dict(id=name, data=fingerprint(t), preset=study.preset.name, loss=loss, change=change, seed=seed, **rank, loss_end=about['final_loss'], seconds=about['seconds'])
            print(json.dumps(line), flush=True)
            with write_beside(study.dest / 'choose' / name / 'line.json') as f: f.write_text(json.dumps(line))
            lines = [json.loads(o.read_text()) for o in sorted(study.dest.glob('choose/*/line.json'), key=os.path.getmtime) if not o.parent.name.startswith('gan-')]     # also of another process that tries other losses
            newest = {o['loss']: o.get('data') for o in lines}                                               # candidates of one loss are compared on the same faces
            lines = [o for o in lines if o.get('data') == newest[o['loss']]]
            order = [(l, c) for l in GRID for c in GRID[l]]
            lines.sort(key=lambda o: (o['seed'], order.index((o['loss'], o['change'])) if (o['loss'], o['change']) in order else len(order)))
            with write_beside(out) as f: f.write_text(json.dumps(lines, indent=1) + '\n')


if __name__ == '__main__': main()
