"A DataLoader that draws its faces: every second view wears a mask"

import torch
from torch.utils.data import DataLoader, Dataset

from mfsr_nb import FULL, MASKED, FaceWorld


class DrawnFaces(Dataset):
    "Faces (3, 64, 64) in 0 to 1, number of the identity, domain"

    def __init__(self, people=20, views=4):
        self.world = FaceWorld(seed=0, size=64)
        self.people = people
        self.views = views

    def __len__(self):
        return self.people * self.views

    def __getitem__(self, row):
        identity, view = divmod(row, self.views)
        masked = view % 2 == 1
        face = self.world.face(identity, view, mask='surgical' if masked else None)
        image = torch.from_numpy(face.image).permute(2, 0, 1) / 255
        return image, identity, MASKED if masked else FULL


if __name__ == '__main__':
    loader = DataLoader(DrawnFaces(), batch_size=16, shuffle=True, num_workers=2)
    images, identities, domains = next(iter(loader))
    print(tuple(images.shape), tuple(identities.shape), domains.unique().tolist())
