"The icon and the social card of the site, in nbs/images: faces of the face world."

import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from common import NBS, get_config, write
from mfsr_nb import FaceWorld

# a card of 1200 x 630 pixels is what social networks show
CARD = (12, 6.3)
DPI = 100
IDENTITIES = (0, 1, 2, 3, 4, 5)
MASKS = (None, 'surgical')


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    "The bytes of an image file"
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def icon(world: FaceWorld) -> Image.Image:
    "One face with a mask, the head filling the icon"
    face = Image.fromarray(world.face(identity=3, view=0, mask='surgical').image)
    return face.resize((64, 64), Image.Resampling.LANCZOS)


def card(world: FaceWorld) -> Image.Image:
    "The name of the project above full and masked faces"
    rows = []
    for mask in MASKS:
        rows.append(np.hstack([world.face(i, view=0, mask=mask).image for i in IDENTITIES]))
    fig = plt.figure(figsize=CARD, dpi=DPI)
    ax = fig.add_axes((0.05, 0.06, 0.9, 0.6))
    ax.imshow(np.vstack(rows), interpolation='lanczos')
    ax.set_axis_off()
    fig.text(0.05, 0.83, get_config().title, size=54, weight='bold')
    fig.text(0.05, 0.73, 'Masked face recognition, as a paper you can run', size=26)
    fig.canvas.draw()
    return Image.fromarray(np.asarray(fig.canvas.buffer_rgba())[..., :3])


def main() -> None:
    "Draw both"
    mpl.use('agg')
    world = FaceWorld(seed=0, size=224)
    write(NBS / 'images' / 'favicon.png', encoded(icon(world), 'PNG', optimize=True))
    write(NBS / 'images' / 'card.jpg', encoded(card(world), 'JPEG', quality=85))


if __name__ == '__main__':
    main()
