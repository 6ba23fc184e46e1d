"Train a recognizer with a backbone of one's own, and search masked faces of other people"

import tempfile
from pathlib import Path

from torch import nn

from mfsr_nb import evaluate, load_preset, register_backbone, train_recognizer
from mfsr_nb.data.loading import load_pixels
from mfsr_nb.recognition.recognizer import embed_dataset, training_set
from mfsr_nb.world.write import write_world


@register_backbone('three_layers')
def three_layers(width: int = 64) -> nn.Sequential:
    "(B, 3, S, S) -> (B, width, S/8, S/8)"
    return nn.Sequential(
        *(nn.Conv2d(3, width // 4, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(width // 4, width // 2, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(width // 2, width, 3, stride=2, padding=1), nn.ReLU()),
    )


if __name__ == '__main__':
    preset = load_preset('smoke', ['recognition.backbone=three_layers'])
    recognition = preset.recognition
    folder = Path(tempfile.mkdtemp())
    write_world(folder, preset.world, ['casia', 'mfsr_rec'])
    table, pixels, _ = load_pixels(training_set(folder / 'casia'), recognition.image_size)
    schedule = recognition.schedule.casia
    network, _ = train_recognizer(table, pixels, folder / 'run', recognition, schedule)
    test = embed_dataset(folder / 'mfsr_rec', network)
    metrics = evaluate(test.embedding, test.table.identity, test.table.domain, bootstrap=0)
    print(f'Rank-1 {metrics["rank1"]:.3f}, guessing {1 / test.table.identity.nunique():.3f}')
