"Evaluate embeddings of any network: here random directions, one for each of 200 identities"

import numpy as np

from mfsr_nb import evaluate

rng = np.random.default_rng(0)
identity = np.repeat(np.arange(200), 6)
masked = np.tile([False, False, False, True, True, True], 200)
embedding = rng.normal(size=(200, 64))[identity] + 2 * rng.normal(size=(1200, 64))
metrics = evaluate(embedding, identity, masked, bootstrap=200)
for name in ('accuracy', 'rank1', 'map'):
    low, high = metrics['intervals'][name]
    print(f'{name:8} {metrics[name]:.3f}  [{low:.3f}, {high:.3f}]')
print(*metrics['notes'], sep='\n')
