"Run the preset `paper`, its steps cut, on a small set of drawn faces in the layouts of the paper's data: RecordIO, VGGFace2, MFSR.  Stops it half-way, goes on, and looks at what was trained."

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
import torchvision

from common import ROOT
from mfsr_nb.core import InputError
from mfsr_nb.data.dataset import read
from mfsr_nb.data.recordio import write_recordio
from mfsr_nb.engine.weights import open_tensors
from mfsr_nb.presets import load_preset, settings, to_dataclass
from mfsr_nb.study.registry import read_runs
from mfsr_nb.study.rows import rows
from mfsr_nb.world.write import write_world

ROWS = (
    'Softmax',
    'Interpret-FR',
    'DFM',
    'Softmax+KP-SYN',
    'Softmax+IAMGAN',
    'DCR+IAMGAN',
)  # every kind of part
EDITORS = ('StarGAN', 'AttGAN', 'SaGAN')


def write_sets(at, people, images):
    "casia (RecordIO of 112 pixels), vggface2 (its tree, larger crops), mfsr_rec, mfsr_seg; drawn once"
    each = dict(identities=people, images=images, spread=1.0)
    world = lambda size: (
        to_dataclass(
            dict(
                world=dict(
                    size=size,
                    seed=2020,
                    casia=each,
                    vggface2=each,
                    seg=dict(images=max(4, people)),
                    rec=dict(identities=people, full=2, masked=2),
                )
            )
        ).world
    )
    write_world(at / 'aligned', world(112), ['casia'], 0)
    write_world(at / 'raw', world(160), ['vggface2', 'mfsr_rec', 'mfsr_seg'], 0)
    if not (at / 'casia' / 'train.rec').is_file():
        t = read(at / 'aligned' / 'casia')
        number = dict(zip(sorted(set(t.identity)), range(people)))
        write_recordio(
            at / 'casia', [(Path(p).read_bytes(), number[i]) for p, i in zip(t.path, t.identity)]
        )
    return at / 'casia', at / 'raw' / 'vggface2', at / 'raw' / 'mfsr_rec', at / 'raw' / 'mfsr_seg'


def stand_in(home, backbone):
    "Random numbers where torchvision keeps its ImageNet weights, for machines without network"
    w = torchvision.models.get_model_weights(backbone).DEFAULT
    f = home / 'hub' / 'checkpoints' / Path(w.url).name
    if not f.is_file():
        f.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        torch.save(torchvision.models.get_model(backbone).state_dict(), f)


def command(*args, stop=None):
    "(exit status, seconds, what it said) of mfsr_reproduce; with `stop`, a function that says when, it is interrupted as by Ctrl-C"
    begin = time.time()
    with tempfile.TemporaryFile('w+') as out:
        p = subprocess.Popen(
            [Path(sys.executable).with_name('mfsr_reproduce'), *map(str, args)],
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=AT,
            env=ENV,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # a shell's background job is deaf to it
        while p.poll() is None:
            if stop and stop():
                p.send_signal(signal.SIGINT)
                stop = None
            time.sleep(0.2)
        out.seek(0)
        return p.returncode, time.time() - begin, out.read()


def must(ok, what):
    if not ok:
        sys.exit(f'paper_check: {what}')


def same_settings(p):
    "The paper's preset but for steps: what the command works with"
    from mfsr_nb.study.reproduce import shorten_training

    def differ(a, b, at=''):
        if not isinstance(a, dict):
            return [] if a == b else [at.strip('.')]
        return [o for k in a for o in differ(a[k], b[k], f'{at}.{k}')]

    return differ(settings(load_preset('paper')), settings(shorten_training(p, A.fraction)))


def trained(study, p, found):
    "Look into the files of all networks: (what, steps, settings) each; ends with a word where a network is not the paper's"
    r, out = p.recognition, []
    for f in sorted(study.rglob('weights.safetensors')):
        kind = next(
            k
            for k in ('recognizer', 'unet', 'generator', 'interpret_fr', 'dfm')
            if f'"kind": "{k}"' in json.dumps(head_of(f))
        )
        head = open_tensors(f, kind)[1]
        c = head['model']
        want = dict(
            recognizer=dict(
                name=r.backbone,
                size=r.image_size,
                dim=r.neck.linear,
                pool=r.neck.pool,
                normalize=r.normalize_input,
            ),
            interpret_fr=dict(name=r.backbone, size=r.image_size, maps=p.losses.interpret_fr.maps),
            dfm=dict(name=r.backbone, size=r.image_size, channels=p.losses.dfm.map_channels),
            unet=dict(widths=list(p.segmentation.widths), size=p.segmentation.image_size),
            generator=dict(size=p.iamgan.image_size)
            | (
                settings(p.iamgan.generator)
                if c.get('method') in ('iamgan', 'cyclegan')
                else settings(getattr(p.generators, c['method']).generator)
                if kind == 'generator'
                else {}
            ),
        )[kind]
        want = {k: v for k, v in want.items() if k in c or k not in ('init_std',)}
        must(
            all(c.get(k) == v for k, v in want.items()),
            f'{f}: {[(k, c.get(k), v) for k, v in want.items() if c.get(k) != v]}',
        )
        out.append(
            dict(
                part=f.parent.name,
                kind=kind,
                steps=head['steps'],
                seconds=head['seconds'],
                precision=head.get('precision', ''),
                **{k: c[k] for k in ('name', 'size', 'method') if k in c},
            )
        )
    return pd.DataFrame(out)


def head_of(f):
    "Header of a safetensors file of ours"
    from safetensors import safe_open

    with safe_open(f, 'pt') as o:
        return json.loads(o.metadata()['mfsr_nb'])


def journal(study):
    return (
        [json.loads(l) for l in (study / 'tasks.jsonl').read_text().splitlines()]
        if (study / 'tasks.jsonl').is_file()
        else []
    )


def main():
    casia, vgg, test, pile = write_sets(AT, A.people, A.images)
    study, results = AT / 'study', AT / 'results'
    common = [
        '--test',
        test,
        '--masked',
        pile,
        '--labelled',
        pile,
        '--kind',
        'paper',
        '--fraction',
        A.fraction,
        '--jobs',
        1,
        '--results',
        results,
    ]
    main_rows = [
        '--preset',
        'paper',
        '--train',
        casia,
        '--rows',
        ','.join(ROWS),
        '--dest',
        study,
        *common,
    ]
    must(
        set(o.split('.')[-1] for o in same_settings(load_preset('paper')))
        <= {
            'name',
            'steps',
            'milestones',
            'warmup',
            'epochs',
            'constant_until',
            'linear_to_zero_at',
            'ramp_steps',
        },
        f'--fraction changes {same_settings(load_preset("paper"))}',
    )
    code, _, said = command(*main_rows, '--dry_run')
    print(said)
    must(
        code == 0 and 'Softmax+KP-SYN' in said,
        'crops of 112 pixels have their landmarks in known places, KP-SYN should be planned',
    )
    begun = len(journal(study))
    code, took, said = (
        command(*main_rows, stop=lambda: len(journal(study)) >= begun + 2)
        if begun < 2
        else (1, 0, '')
    )
    had = {f: f.stat().st_mtime for f in study.rglob('weights.safetensors')}
    print(
        f'stopped after {took:.0f} s with {len(journal(study))} tasks done, exit status {code}\n{said[-500:]}'
    )
    must(code != 0 and had, f'it should have been stopped: {said[-2000:]}')
    code, took, said = command(*main_rows)
    print(said, f'went on for {took:.0f} s\n', sep='\n')
    must(code == 0, said[-2000:])
    must(
        all(f.stat().st_mtime == t for f, t in had.items()),
        'what was trained before the stop was trained again',
    )
    code, again, said = command(*main_rows)
    must(code == 0 and f'{len(ROWS)} of these runs were found' in said, said[-2000:])
    print(f'again: all found in {again:.0f} s\n')
    code, took, said = command(
        '--preset',
        'paper',
        '--train',
        vgg,
        '--rows',
        'table1/vggface2/Softmax',
        '--dest',
        AT / 'study-vggface2',
        *common,
    )
    print(said)
    must(code == 0, said[-2000:])
    if A.editors:
        f = AT / 'small_batches.yaml'
        f.write_text(
            json.dumps(
                dict(
                    base='paper',
                    generators={e.lower(): dict(batch_size=A.batch) for e in A.editors},
                )
            )
        )  # JSON is YAML
        code, took, said = command(
            '--preset',
            f,
            '--train',
            casia,
            '--rows',
            ','.join(f'Softmax+{e}' for e in A.editors),
            '--dest',
            study,
            *common,
        )
        print(said)
        must(code == 0, said[-2000:])
    runs, p = read_runs(results), load_preset('paper')
    cells = {
        c
        for r in rows()
        if r.name in {*ROWS, 'Softmax, vggface2', *(f'Softmax+{e}' for e in A.editors)}
        for c in r.cells
    }
    must(
        {c for r in runs for c in r['cells']} == cells and {r['kind'] for r in runs} == {'paper'},
        f'rows missing in the registry: {cells - {c for r in runs for c in r["cells"]}}',
    )
    pd.set_option('display.width', 200)
    t = pd.concat([trained(AT / s, p, runs) for s in ('study', 'study-vggface2')])
    print(t.to_string(index=False), '\n')
    parts = (
        pd.DataFrame([o for s in ('study', 'study-vggface2') for o in journal(AT / s)])
        .groupby('kind', sort=False)
        .seconds.agg(['count', 'median', 'sum'])
    )
    print(parts.to_string())
    print(
        f"\n{len(runs)} rows, {len(t)} networks, all with the paper's settings; {parts['sum'].sum():.0f} s of work, at most {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20:.1f} GiB"
    )


if __name__ == '__main__':
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument('--dest', help='folder to work in, kept (default: a temporary one)')
    a.add_argument(
        '--fraction',
        type=float,
        default=1e-5,
        help='of all steps; each training makes two at least',
    )
    a.add_argument(
        '--people',
        type=int,
        default=3,
        help='in each set: a batch has as many, up to 32, with six images each',
    )
    a.add_argument('--images', type=int, default=4, help='of each person')
    a.add_argument(
        '--editors', nargs='*', default=EDITORS, choices=EDITORS, help='the translators to train'
    )
    a.add_argument(
        '--batch', type=int, default=2, help="their batch, which the paper's authors had larger"
    )
    a.add_argument(
        '--imagenet',
        action='store_true',
        help="torchvision's own ImageNet weights, downloaded, instead of random numbers in their place",
    )
    A = a.parse_args()
    tmp = None if A.dest else tempfile.TemporaryDirectory()
    AT = Path(A.dest or tmp.name).resolve()
    AT.mkdir(parents=True, exist_ok=True)
    ENV = dict(os.environ, PYTHONPATH=str(ROOT))
    if not A.imagenet:
        ENV['TORCH_HOME'] = str(AT / 'torch')
        stand_in(AT / 'torch', load_preset('paper').recognition.backbone)
    try:
        main()
    except InputError as e:
        sys.exit(f'paper_check: {e}')
    finally:
        if tmp:
            tmp.cleanup()
