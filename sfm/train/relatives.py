"""Folds that keep relatives together, as far as a model's features tell them.

Of labels held out at random, many have a close relative among those that are left, and whatever
remembers relatives looks better than it is for systems that are new. So systems with like features
are held out together.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from sfm.data.mixing import divide
from sfm.nn.kernel import Standard

# systems on average: close relatives only. With five, molecules that were drawn at random from
# others of their kind were judged by clusters too unlike the rest
PER_CLUSTER = 2


def folds_of_relatives(rows: Float[Tensor, "n D"], count: int) -> Int[np.ndarray, " n"]:
    """The fold of each system, (n,) of 0 to count - 1; folds are about equally large.

    Clusters are Ward's (J. Am. Stat. Assoc. 58, 236 (1963)), of standardised features; the largest
    one that is left goes to the smallest fold.

    Args:
        rows: (n, D) features of any unit, at least `count`.
        count: number of folds.
    """
    n = len(rows)
    standard = Standard.of(rows)(rows, tame=False).numpy()
    if n <= count or not standard.shape[1]:
        return np.arange(n) % count
    cluster = fcluster(linkage(standard, "ward"), max(count, n // PER_CLUSTER), "maxclust")
    fold = np.zeros(n, dtype=int)
    for number, clusters in enumerate(divide(np.bincount(cluster).tolist(), count)):
        fold[np.isin(cluster, clusters)] = number
    return fold
