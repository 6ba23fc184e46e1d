"Choose what the paper leaves open, on people of the training world that are held out: trains each candidate and writes results/choices.json.  Goes on where it stopped; never looks at the test identities."

import argparse
import json
import os

os.environ.setdefault('TQDM_DISABLE', '1')
from common import ROOT
from mfsr_nb.data.dataset import read
from mfsr_nb.data.loading import load_pixels
from mfsr_nb.engine.files import atomic_write
from mfsr_nb.presets import config_hash, load_preset, settings
from mfsr_nb.protocol.metrics import retrieval
from mfsr_nb.recognition.recognizer import embed_pixels, fingerprint, loss_settings, training_set
from mfsr_nb.recognition.train import train_recognizer
from mfsr_nb.recognition.validation import hold_out_identities
from mfsr_nb.study.rows import Row
from mfsr_nb.study.study import Study

# loss -> candidates; the first of each is what the method's authors (or the paper) say
GRID = dict(
    softmax=[dict(), dict(lr=2e-3), dict(lr=8e-3), dict(steps=260), dict(backbone='small')],
    triplet=[
        dict(margin='soft', weight=1.0),
        dict(margin='soft', weight=0.3),
        dict(margin=0.3, weight=1.0),
    ],
    center=[dict(weight=0.003), dict(weight=0.001), dict(weight=0.01)],
    sphereface=[
        dict(lambda_gamma=0.12, lambda_min=5.0),
        dict(lambda_gamma=1.0, lambda_min=5.0),
        dict(lambda_gamma=8.0, lambda_min=5.0),
    ],
    cosface=[
        dict(scale=64.0, margin=0.35),
        dict(scale=32.0, margin=0.35),
        dict(scale=32.0, margin=0.2),
        dict(scale=16.0, margin=0.2),
    ],
    arcface=[
        dict(scale=64.0, margin=0.5),
        dict(scale=32.0, margin=0.5),
        dict(scale=32.0, margin=0.3),
        dict(scale=16.0, margin=0.3),
    ],
    dcr=[
        dict(dcr_weight=1.0),
        dict(dcr_weight=0.5),
        dict(dcr_weight=2.0),
        dict(squared=True),
        dict(normalize=False),
        dict(cross_positive='center'),
        dict(update='before'),
        dict(renormalize=True),
    ],
)


def held_out(study, names):
    "(pixels, identities) of masked and of full photographs of people who are not trained on: the world's own masks, first half of the views, against the full faces of the other half"

    def part(t, first):
        t = t[t.identity.isin(names)]
        v = (
            t.groupby('identity').key.rank(method='first')
            <= t.groupby('identity').key.transform('count') / 2
        )
        t, px, _ = load_pixels(
            t[v == first].reset_index(drop=True), study.preset.recognition.image_size
        )
        return px, t.identity.to_numpy()

    true, full = read(study.data('casia_true')), read(study.data('casia'))
    return part(true, True), part(full, True), part(full, False)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('study', help='folder of a study of the preset, as mfsr_reproduce leaves it')
    p.add_argument('losses', nargs='*', help=f'of: {", ".join(GRID)} (default: all)')
    p.add_argument('--preset', default='mini')
    p.add_argument('--seeds', type=int, default=1)
    p.add_argument('--share', type=float, default=0.2, help='of the people, held out')
    a = p.parse_args()
    study, out = Study(a.preset, a.study), ROOT / 'results' / 'choices.json'
    t = training_set(
        study.data('casia'), study.masked(Row('', (), 'casia', 'softmax', 'iamgan'), 0)
    )
    t, held = hold_out_identities(t, a.share, seed=0)
    t, px, _ = load_pixels(t, study.preset.recognition.image_size)
    masked, full, gallery = held_out(study, set(held.identity))
    for seed, loss in ((s, l) for s in range(a.seeds) for l in a.losses or GRID):
        for change in GRID[loss]:
            s = settings(study.preset.recognition)
            s['optimizer']['lr'], s['backbone'] = (
                change.get('lr', s['optimizer']['lr']),
                change.get('backbone', s['backbone']),
            )
            if 'steps' in change:
                o = s['schedule']['casia']
                k = change['steps'] / o['steps']
                o |= dict(
                    steps=change['steps'],
                    milestones=[round(k * m) for m in o['milestones']],
                    warmup=round(k * o['warmup']),
                )
            options = loss_settings(load_preset('paper'), loss)[1] | {
                k: v for k, v in change.items() if k not in ('lr', 'steps', 'backbone')
            }
            r = load_preset(a.preset, recognition=s).recognition
            name = config_hash(r, loss, options, seed, a.share, fingerprint(t))
            if (study.dest / 'choose' / name / 'line.json').is_file():
                continue
            m, about = train_recognizer(
                t,
                px,
                study.dest / 'choose' / name,
                r,
                r.schedule.casia,
                loss,
                options,
                seed,
                f'{loss} {change}',
            )
            g, rank = embed_pixels(m, gallery[0]), {}
            for k, (x, ids) in dict(masked=masked, full=full).items():
                found = retrieval(embed_pixels(m, x), ids, g, gallery[1])
                rank[k] = dict(rank1=round(found.rank(1), 4), map=round(found.map, 4))
            line = dict(
                id=name,
                data=fingerprint(t),
                preset=study.preset.name,
                loss=loss,
                change=change,
                seed=seed,
                **rank,
                loss_end=about['final_loss'],
                seconds=about['seconds'],
            )
            print(json.dumps(line), flush=True)
            with atomic_write(study.dest / 'choose' / name / 'line.json') as f:
                f.write_text(json.dumps(line))
            lines = [
                json.loads(o.read_text())
                for o in sorted(study.dest.glob('choose/*/line.json'), key=os.path.getmtime)
                if not o.parent.name.startswith('gan-')
            ]  # also of another process that tries other losses
            newest = {
                o['loss']: o.get('data') for o in lines
            }  # candidates of one loss are compared on the same faces
            lines = [o for o in lines if o.get('data') == newest[o['loss']]]
            order = [(l, c) for l in GRID for c in GRID[l]]
            lines.sort(
                key=lambda o: (
                    o['seed'],
                    order.index((o['loss'], o['change']))
                    if (o['loss'], o['change']) in order
                    else len(order),
                )
            )
            with atomic_write(out) as f:
                f.write_text(json.dumps(lines, indent=1) + '\n')


if __name__ == '__main__':
    main()
