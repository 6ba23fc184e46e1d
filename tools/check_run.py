"Notebooks as tests: nbdev's own test function on several notebooks at once."

import io
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import (
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from contextlib import redirect_stderr
from pathlib import Path
from typing import NamedTuple

from nbdev.test import test_nb

from common import ROOT, get_config, short_name

ENVIRONMENT = dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='passive', MPLBACKEND='agg')


class Verdict(NamedTuple):
    "The result of one notebook"

    state: str
    seconds: float
    errors: str


def test_notebook(
    path: str,
    flags: list[str],  # flags whose cells run too
) -> Verdict:
    "One notebook by nbdev's test function; in this module, as IPython takes the name `__main__`"
    start = time.time()
    errors = io.StringIO()
    with redirect_stderr(errors):
        passed, ran = test_nb(
            Path(path),
            skip_flags=get_config().tst_flags.split(),
            force_flags=flags,
            basepath=ROOT,
        )
    state = 'ok' if passed else 'FAIL'
    if passed and not ran:
        state = 'skip'
    return Verdict(state, time.time() - start, errors.getvalue())


def forget_start_method() -> None:
    "Data loaders in this process start their workers in the platform's own way"
    multiprocessing.set_start_method(None, force=True)


def process_pool(workers: int) -> ProcessPoolExecutor:
    "Processes that start from nothing"
    return ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context('spawn'),
        initializer=forget_start_method,
    )


def test_alone(path: str, flags: list[str]) -> Verdict:
    "One notebook in a process of its own"
    with process_pool(1) as pool:
        return pool.submit(test_notebook, path, flags).result()


def verdict_of(job: Future) -> Verdict:
    "The result of a job; a process that died counts as a failure"
    try:
        return job.result()
    except Exception as error:
        reason = f'{type(error).__name__}: {error} (out of memory, if the process died)\n'
        return Verdict('FAIL', 0, reason)


def results(
    paths: list[Path], flags: list[str], pool: Executor, fresh: bool
) -> Iterator[tuple[Path, Verdict]]:
    "Each notebook and its verdict, in the order in which they finish"
    function = test_alone if fresh else test_notebook
    jobs = {pool.submit(function, str(path), flags): path for path in paths}
    for job in as_completed(jobs):
        yield jobs[job], verdict_of(job)


def run_tests(
    paths: list[Path],
    flags: list[str],  # flags whose cells run too
    workers: int,  # processes
    fresh: bool,  # a new process for every notebook
) -> bool:
    "Run notebooks as tests and print what passed; True if there were some and none failed"
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    count = dict(ok=0, FAIL=0, skip=0)
    pool = ThreadPoolExecutor(workers) if fresh else process_pool(workers)
    with pool:
        for path, verdict in results(paths, flags, pool, fresh):
            count[verdict.state] += 1
            print(f'{verdict.state:<5}{short_name(path):<40}{verdict.seconds:7.1f} s', flush=True)
            if verdict.state == 'FAIL':
                print(verdict.errors, flush=True)
    print(f'{count["ok"]} passed, {count["FAIL"]} failed, {count["skip"]} skipped')
    return bool(paths) and not count['FAIL']
