"AdaFace as a plugin: `--plugin adaface.py`."

import torch
import torch.nn.functional as F
from torch import nn

from mfsr_nb import register_loss


@register_loss('adaface')
class AdaFace(nn.Module):
    "ArcFace with a margin that follows the quality of the image"

    head = 'cosine'

    def __init__(
        self,
        margin: float = 0.4,  # m
        scale: float = 64.0,  # s, > 0
        h: float = 0.333,  # How fast the margin changes with the norm
        momentum: float = 0.01,  # Of the moving averages, 0 to 1
    ):
        super().__init__()
        self.margin = margin
        self.scale = scale
        self.h = h
        self.momentum = momentum
        self.register_buffer('moments', torch.tensor([20.0, 100.0]))

    def forward(self, out, ids, dom):
        phi, cos = out
        norm = phi.detach().norm(dim=1)
        if self.training:
            self.moments.lerp_(torch.stack([norm.mean(), norm.std()]), self.momentum)
        mean, deviation = self.moments
        mz = self.margin * ((norm - mean) / deviation * self.h).clamp(-1, 1)
        theta = cos.gather(1, ids[:, None]).squeeze(1).clamp(-0.999, 0.999).acos()
        own = (theta - mz).clamp(0, torch.pi).cos() - mz - self.margin
        return F.cross_entropy(self.scale * cos.scatter(1, ids[:, None], own[:, None]), ids)
