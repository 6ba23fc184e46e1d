"How the benchmarks measure: two functions in turns, and one row for the table."

import io
import time
from collections.abc import Callable

import numpy as np
from PIL import Image


def seconds_of(function: Callable) -> float:
    "Seconds of one call"
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def in_turns(ours: Callable, theirs: Callable, rounds: int = 5) -> np.ndarray:
    "Seconds (rounds, 2) of both, in turns after a warm-up, so that other load affects both"
    ours()
    theirs()
    return np.array([(seconds_of(ours), seconds_of(theirs)) for _ in range(rounds)])


def row(
    what: str,  # our side
    against: str,  # the other side
    seconds: np.ndarray,  # (rounds, 2) from `in_turns`
    count: int,  # units of work in a call
    unit: str,  # such as images/s
    note: str = '',
) -> dict:
    "A row of the table: both speeds, and the ratio with its median and range"
    ratio = seconds[:, 1] / seconds[:, 0]
    return dict(
        what=what,
        against=against,
        unit=unit,
        ours=count / np.median(seconds[:, 0]),
        theirs=count / np.median(seconds[:, 1]),
        ratio=np.median(ratio),
        ratio_min=ratio.min(),
        ratio_max=ratio.max(),
        pairs=len(seconds),
        note=note,
    )


def jpeg(image: np.ndarray | Image.Image, quality: int = 95) -> bytes:
    "An image as JPEG"
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, 'JPEG', quality=quality)
    return file.getvalue()


def decode_pillow(data: bytes) -> np.ndarray:
    "An image decoded by Pillow"
    return np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))
