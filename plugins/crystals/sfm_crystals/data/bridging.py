"""A bridging set: cells of one dataset, with the labels of a second teacher beside the first's.

What one level's labels are worth at another can be measured only on structures that carry both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np
from jaxtyping import Float

from sfm.data.sample import Sample
from sfm.data.storage import Column
from sfm_crystals.data.perturbation import generator

SHARES = {"train": 0.6, "validation": 0.1, "test": 0.3}  # more to test on than the splits have


class Grouped(Protocol):
    """What has a group of relatives that are not split."""

    @property
    def group(self) -> str | None: ...


G = TypeVar("G", bound=Grouped)


def evenly(samples: Sequence[G], seed: int) -> list[G]:
    """All samples, in an order in which each group comes once before any comes again.

    Groups are in an order drawn from the seed, samples of one in an order of seed and group.
    """
    groups: dict[str, list[G]] = defaultdict(list)
    for sample in samples:
        groups[str(sample.group)].append(sample)
    order = generator(seed, "groups").permutation(len(groups))
    names = sorted(groups)
    shuffled = [
        [groups[name][i] for i in generator(seed, name).permutation(len(groups[name]))]
        for name in (names[i] for i in order)
    ]
    rounds = range(max(map(len, shuffled), default=0))
    return [group[turn] for turn in rounds for group in shuffled if turn < len(group)]


def rows(
    samples: Sequence[Sample],
    split: str,
    answers: Mapping[str, Mapping[str, Any]],
    second: Sequence[Column],
) -> Iterator[dict[str, Any]]:
    """Rows with the labels that samples have and, in the columns of `second`, a teacher's answers.

    The answers are by identifier and quantity, in the columns' units, which are those of the
    samples' labels too.
    """
    for sample in samples:
        answer = answers[sample.id]
        yield {
            "id": sample.id,
            "split": split,
            "group": sample.group,
            "positions[angstrom]": sample.positions,
            "types[1]": sample.types,
            "cell[angstrom]": sample.cell,
            **{replace(c, level=sample.level).name: sample.labels[c.quantity] for c in second},
            **{c.name: np.array(answer[c.quantity]) for c in second},
        }


def element_shifts(
    samples: Sequence[Sample], differences: Float[np.ndarray, " samples"]
) -> dict[int, float]:
    """The energy per atom of each element that fits differences of total energies best.

    Least squares of the differences per atom, in whose unit the shifts are; of all that fit alike,
    the smallest.
    """
    elements = sorted({int(z) for s in samples for z in s.types})
    shares = np.array([[np.mean(s.types == z) for z in elements] for s in samples])
    atoms = np.array([len(s.types) for s in samples])
    shifts = np.linalg.lstsq(shares, differences / atoms, rcond=None)[0]
    return dict(zip(elements, shifts.tolist(), strict=True))
