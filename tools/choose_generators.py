"Compare settings of generators on people of the training world that are held out: trains each candidate, masks with it, trains a Softmax recogniser, and writes results/gan_settings.json.  Goes on where it stopped, several at a time may fill one study; never looks at the test identities."

import argparse
import json
import os
from functools import partial

os.environ.setdefault('TQDM_DISABLE', '1')
from choose import held_out
from common import ROOT
from mfsr_nb.core import InputError, environment, git_commit
from mfsr_nb.data.loading import load_pixels
from mfsr_nb.engine.files import atomic_write, exclusive_lock
from mfsr_nb.generators.attribute_gans import ATTRIBUTE_GANS
from mfsr_nb.generators.pipeline import (
    VARIANTS,
    generator_settings,
    make_generator,
    match_framing,
    unpaired_masked_images,
)
from mfsr_nb.masks.generated_folder import translate_folder
from mfsr_nb.masks.generator_report import report_folder
from mfsr_nb.masks.unet import load_unet, mask_probability
from mfsr_nb.presets import config_hash, load_preset, settings
from mfsr_nb.protocol.metrics import retrieval
from mfsr_nb.recognition.recognizer import (
    embed_pixels,
    fingerprint,
    load_recognizer,
    loss_settings,
    training_set,
)
from mfsr_nb.recognition.train import train_recognizer
from mfsr_nb.recognition.validation import hold_out_identities
from mfsr_nb.study.rows import Row
from mfsr_nb.study.study import Study

P = load_preset('paper').iamgan
D2, L12, plain = (
    dict(discriminator=dict(layers=2)),
    dict(lambda1=dict(start=1.0, end=2.0, ramp_steps=450)),
    dict(generator=dict(output='plain')),
)
# (what a line is called, method, what it changes in the preset); the first of a method is the preset itself
CANDIDATES = [
    ('mini', 'iamgan', {}),
    ('discriminator.layers: 2', 'iamgan', D2),
    ('lambda1: 1 to 2', 'iamgan', L12),
    ('layers: 2, lambda1: 1 to 2', 'iamgan', D2 | L12),
    ('lambda1: 0.5', 'iamgan', dict(lambda1=dict(start=0.5, end=0.5))),
    ('terms.rec: 4', 'iamgan', dict(terms=dict(rec=4.0))),
    ('terms.cls: 0.3', 'iamgan', dict(terms=dict(cls=0.3))),
    (
        "the paper's weights",
        'iamgan',
        dict(lambda1=settings(P.lambda1), terms=settings(P.terms), lambda2=dict(ramp_steps=180)),
    ),
    ('output: residual', 'iamgan', dict(generator=dict(output='residual'))),
    ('output: plain', 'iamgan', plain),
    ('gate_gain: 8', 'iamgan', dict(generator=dict(gate_gain=8.0))),
    ('gate_gain: 1', 'iamgan', dict(generator=dict(gate_gain=1.0))),
    ('zoom_M: null', 'iamgan', dict(augment=dict(zoom_M=None))),
    ('ema: 0', 'iamgan', dict(ema=0.0)),
    ('d_lr_scale: 1', 'iamgan', dict(d_lr_scale=1.0)),
    ('mini', 'cyclegan', {}),
    ('layers: 2, lambda1: 1 to 2', 'cyclegan', D2 | L12),
    ('mini', 'stargan', {}),
    ('output: plain', 'stargan', plain),
    ('mini', 'attgan', {}),
    ('output: plain', 'attgan', plain),
    ('mini', 'sagan', {}),
    ('mini', 'de', {}),
    ('mini', 'kp_cvx', {}),
    ('mini', 'kp_syn', {}),
    ('mini', 'true', {}),
]


def changed(preset, method, change):
    return load_preset(
        preset,
        **({'generators': {method: change}} if method in ATTRIBUTE_GANS else {'iamgan': change}),
    )


def compare(study, at, preset, method, change, seed, held_seed=0, share=0.2):
    "Everything about one candidate, JSON-able"
    p, src = changed(preset, method, change), study.data('casia')
    about, faces = (
        {},
        study.data('casia_true')
        if method == 'true'
        else study.masked(Row('', (), 'casia', 'softmax', method))
        if method not in VARIANTS
        else at / 'faces',
    )
    if method in VARIANTS:
        G, about = make_generator(
            src,
            study.data('mfsr_seg'),
            at / 'generator',
            p,
            method,
            study.segmenter(),
            study.softmax('casia', seed) if method.startswith('iamgan') else None,
            seed,
        )
        if not (faces / 'recipe.jsonl').is_file():
            translate_folder(
                src,
                faces,
                G.config['method'],
                at / 'generator' / 'weights.safetensors',
                study.segmenter(),
                seed,
            )
    t, held = hold_out_identities(training_set(src, faces), share, held_seed)
    t, px, _ = load_pixels(t, p.recognition.image_size)
    masked, _, gallery = held_out(study, set(held.identity))
    model, _ = train_recognizer(
        t,
        px,
        at / 'recogniser',
        p.recognition,
        p.recognition.schedule.casia,
        *loss_settings(p, 'softmax'),
        seed,
        method,
    )
    found = retrieval(
        embed_pixels(model, masked[0]), masked[1], embed_pixels(model, gallery[0]), gallery[1]
    )
    m = match_framing(
        unpaired_masked_images(study.data('mfsr_seg'), p.iamgan.image_size)[0][:500], p.iamgan
    )
    judge = load_recognizer(study.softmax('casia', seed + 1))
    card = (
        {}
        if method == 'true'
        else report_folder(
            src,
            faces,
            partial(embed_pixels, judge),
            m,
            mask_probability(load_unet(study.segmenter()), m) < 0.5,
            most=500,
        )['metrics']
    )
    return dict(
        seconds=about.get('seconds'),
        steps=about.get('steps'),
        rank1=round(found.rank(1), 4),
        map=round(found.map, 4),
        card={k: round(v['value'], 5) for k, v in card.items() if v},
    )


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument('study', help='folder of a study of the preset, as mfsr_reproduce leaves it')
    a.add_argument(
        'only',
        nargs='*',
        help='METHOD or METHOD/LINE, such as iamgan "attgan/output: plain" (default: all)',
    )
    a.add_argument('--preset', default='mini')
    a.add_argument('--seeds', type=int, default=1)
    a = a.parse_args()
    study, out = Study(a.preset, a.study), ROOT / 'results' / 'gan_settings.json'
    data = fingerprint(training_set(study.data('casia')))
    todo = {(m, json.dumps(c), s): w for s in range(a.seeds) for w, m, c in CANDIDATES}

    def folder(method, change, seed):
        p = changed(a.preset, method, json.loads(change))
        return (
            study.dest
            / 'choose'
            / f'gan-{method}-{seed}-{config_hash(generator_settings(p, method) if method in VARIANTS else method, p.recognition, p.segmentation, data)[:6]}'
        )

    def write():
        "All lines there are, under their present names"
        lines = [
            json.loads(f.read_text()) | dict(what=w, method=k[0], change=json.loads(k[1]))
            for k, w in todo.items()
            if (f := folder(*k) / 'line.json').is_file()
        ]
        lines.sort(
            key=lambda o: (
                [(m, c) for _, m, c in CANDIDATES].index((o['method'], o['change'])),
                o['seed'],
            )
        )
        with atomic_write(out) as f:
            f.write_text(
                json.dumps(dict(environment=environment(), preset=a.preset, lines=lines), indent=1)
                + '\n'
            )

    write()
    for (method, change, seed), what in todo.items():
        if a.only and method not in a.only and f'{method}/{what}' not in a.only:
            continue
        at = folder(method, change, seed)
        try:
            with exclusive_lock(at):
                if (at / 'line.json').is_file():
                    continue
                line = dict(seed=seed, commit=git_commit()) | compare(
                    study, at, a.preset, method, json.loads(change), seed
                )
                with atomic_write(at / 'line.json') as f:
                    f.write_text(json.dumps(line))
        except InputError as e:
            if 'another process' in str(e):
                continue  # it is being computed
            raise
        print(method, what, json.dumps(line), flush=True)
        write()


if __name__ == '__main__':
    main()
