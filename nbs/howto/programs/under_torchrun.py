"Train with DCR in several processes; start it with torchrun --nproc_per_node 2"

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mfsr_nb import DCRLoss

dist.init_process_group('gloo')
rank = dist.get_rank()
world = dist.get_world_size()
torch.manual_seed(0)
people = torch.randn(8, 32)
net = DistributedDataParallel(nn.Linear(32, 16))
dcr = DCRLoss(n_ids=8, dim=16)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
ids = torch.arange(8).repeat_interleave(4)
dom = torch.tensor([0, 0, 1, 1]).repeat(8)
mine = slice(rank * 32 // world, (rank + 1) * 32 // world)
for _ in range(60):
    x = people[ids] + 0.3 * torch.randn(32, 32)
    x[dom == 1, :16] = 0
    loss = dcr(net(x[mine]), ids[mine], dom[mine])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
# every process has the same centers
total = dcr.bank.c.double().sum()
sums = [torch.zeros_like(total) for _ in range(world)]
dist.all_gather(sums, total)
if rank == 0:
    print(f'{world} processes: loss {loss.item():.3f}, sums of centers {[*map(float, sums)]}')
dist.destroy_process_group()
