"""What every run of tools/faults.py loads with --plugin: many checkpoints, and faults by request.

The variables MFSR_FAULT_* of the environment ask for a fault.
"""

import fcntl
import os
import sys
from pathlib import Path

from mfsr_nb.engine.checkpoints import Checkpoint
from mfsr_nb.world import write


def checkpoint_after_each_step() -> None:
    "Kills shall meet checkpoints in trainings of a few seconds, too"
    before_fit = Checkpoint.before_fit

    def often(self: Checkpoint) -> None:
        self.every = 0
        before_fit(self)

    Checkpoint.before_fit = often


def refuse_flock(number: int) -> None:
    "A file system without `flock`: every call fails with this error number"

    def refuse(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    fcntl.flock = refuse


def remove_when_read(first: str, victim: str) -> None:
    "Remove a file as soon as another one is opened"

    def watch(event: str, args: tuple) -> None:
        if event == 'open' and str(args[0]).endswith(first):
            Path(victim).unlink(missing_ok=True)

    sys.addaudithook(watch)


checkpoint_after_each_step()
# a small world is drawn in several processes, as a large one is
write.MIN_IMAGES_FOR_PROCESSES = 0
if number := os.environ.get('MFSR_FAULT_FLOCK'):
    refuse_flock(int(number))
if victim := os.environ.get('MFSR_FAULT_VICTIM'):
    remove_when_read(os.environ['MFSR_FAULT_FIRST'], victim)
