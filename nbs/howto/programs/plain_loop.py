"Train a network with DCR in a plain loop, on drawn faces with and without masks"

import torch
import torch.nn.functional as F
from torch import nn

from mfsr_nb import DCRLoss, FaceWorld

torch.manual_seed(0)
ids = torch.arange(16).repeat_interleave(6)
dom = torch.tensor([0, 0, 0, 1, 1, 1]).repeat(16)
masks = ['surgical' if masked else None for masked in dom]
faces = FaceWorld(seed=0, size=32).faces(ids.numpy(), list(range(6)) * 16, masks)
x = torch.from_numpy(faces.image).permute(0, 3, 1, 2) / 127.5 - 1

net = nn.Sequential(
    *(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
    *(nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU()),
    *(nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU()),
    *(nn.Flatten(), nn.Linear(1024, 32)),
)
head = nn.Linear(32, 16)
dcr = DCRLoss(n_ids=16, dim=32)
optimizer = torch.optim.Adam([*net.parameters(), *head.parameters()], 1e-3)
for step in range(1, 31):
    phi = net(x)
    loss = F.cross_entropy(head(phi), ids) + dcr(phi, ids, dom)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step in (1, 10, 20, 30):
        print(f'step {step}: loss {loss.item():.3f}')
