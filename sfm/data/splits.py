"""Deterministic splits: relatives (conformers, rattled copies, snapshots of one trajectory) stay
together, because the split is a hash of the name of the group that they belong to."""

from __future__ import annotations

import hashlib

SPLITS = ("train", "validation", "test")


def assign(group: str, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)) -> str:
    """The split of `group`: the same on every machine, in every run, in every order.

    Args:
        group: what must not be split: canonical SMILES, parent crystal, trajectory.
        fractions: expected shares of train, validation and test; they add up to 1.

    >>> assign("CCO") == assign("CCO")
    True
    """
    if abs(sum(fractions) - 1) > 1e-9 or min(fractions) < 0:
        raise ValueError(f"fractions {fractions} are not non-negative numbers that add up to 1")
    digest = hashlib.sha256(group.encode()).digest()
    u = int.from_bytes(digest[:8], "big") / 2**64
    if u < fractions[0]:
        return "train"
    return "validation" if u < fractions[0] + fractions[1] else "test"
