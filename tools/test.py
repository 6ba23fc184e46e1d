"Run notebooks as tests, with nbdev's own test function, and count what passed."

import argparse, multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from functools import partial
from common import forget_spawn, get_config, name, notebooks, test

for k, v in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='passive', MPLBACKEND='agg').items():
    os.environ.setdefault(k, v)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('nbs', nargs='*', metavar='NB', help='notebooks (default: all)')
    p.add_argument(
        '--flags', default='', help=f'flags whose cells run too, of: {get_config().tst_flags}'
    )
    p.add_argument('--workers', type=int, default=2, help='processes (default: 2)')
    p.add_argument(
        '--fresh',
        action='store_true',
        help='a new process for every notebook: slower, and no state leaks from one to the next',
    )
    a = p.parse_args()
    paths, count = notebooks(a.nbs), dict(ok=0, FAIL=0, skip=0)
    spawn = partial(
        ProcessPoolExecutor,
        mp_context=multiprocessing.get_context('spawn'),
        initializer=forget_spawn,
    )

    def alone(*args):
        with spawn(1) as pool:
            return pool.submit(test, *args).result()

    pool = ThreadPoolExecutor(a.workers) if a.fresh else spawn(a.workers)
    jobs = {pool.submit(alone if a.fresh else test, str(o), a.flags.split()): o for o in paths}
    for job in as_completed(jobs):
        try:
            verdict, secs, err = job.result()
        except Exception as e:
            verdict, secs, err = (
                'FAIL',
                0,
                f'{type(e).__name__}: {e} (a process that dies is mostly one that ran out of memory)\n',
            )
        count[verdict] += 1
        print(f'{verdict:<5}{name(jobs[job]):<32}{secs:7.1f} s', flush=True)
        if verdict == 'FAIL':
            print(err, flush=True)
    print(f'{count["ok"]} passed, {count["FAIL"]} failed, {count["skip"]} skipped')
    sys.exit(count['FAIL'] > 0 or not paths)


if __name__ == '__main__':
    main()
