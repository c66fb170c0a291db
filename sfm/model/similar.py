"""The structures of a dataset that are nearest to one, by the model's features.

The distance of structures a and b is the root mean square over the C features of their difference,
each in standard deviations sigma of that feature over the data:

    d(a, b)^2 = 1/C sum_c ((a_c - b_c) / sigma_c)^2

It is scipy's standardised Euclidean distance (https://docs.scipy.org/doc/scipy/reference/generated/
scipy.spatial.distance.seuclidean.html) over the root of C, which makes it a number of deviations.
Features are means over the tokens, so that size counts less than what the tokens are and how they
lie to each other.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfm.data.readers import read_object
from sfm.data.sample import Sample
from sfm.data.storage import Dataset, open_dataset
from sfm.errors import InputError
from sfm.model.embed import embedded
from sfm.model.indexed import Indexed, indexed
from sfm.model.inputs import is_many, read_samples
from sfm.quantity import Quantity
from sfm.registry import find, quantities

if TYPE_CHECKING:
    from sfm.model.foundation import FoundationModel

USUAL = 500  # structures from which the usual distance is taken
FLOOR = 1e-3  # of the largest deviation: what varies less is rounding
BLOCK = 64  # structures that are compared with all others at a time


@dataclass(frozen=True)
class Label:
    """What the data say of a structure.

    Attributes:
        quantity: its name.
        level: level of theory.
        value: number or array, in `unit`.
        unit: its unit.
    """

    quantity: str
    level: str
    value: np.ndarray
    unit: str


@dataclass(frozen=True)
class Neighbour:
    """One structure of the data.

    Attributes:
        id: its name there.
        distance: from the structure that was asked about, in standard deviations of the data.
        sample: the structure, with the labels of its first level.
        labels: at all levels.
    """

    id: str
    distance: float
    sample: Sample
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class Neighbourhood:
    """The nearest structures of one input.

    Attributes:
        id: the input's name.
        sample: the input.
        data: name of the data.
        encoder, level: what made the features.
        searched: number of structures that were compared.
        usual: median distance of the data's own structures to their nearest one, over at most 500
            of them: an input that is much farther is new to the data. None of a single structure.
        neighbours: nearest first.
        left_out: one line for each structure of the data that the encoder cannot read.
    """

    id: str
    sample: Sample
    data: str
    encoder: str
    level: str
    searched: int
    usual: float | None
    neighbours: tuple[Neighbour, ...]
    left_out: tuple[str, ...] = ()


def neighbours(
    model: FoundationModel,
    inputs: Any,
    data: Any,
    *,
    count: int = 5,
    split: str | None = None,
    domain: str | None = None,
    level: str | None = None,
    extrapolate: bool = False,
) -> Neighbourhood | list[Neighbourhood]:
    """The structures of `data` whose features are nearest to those of each input.

    Args:
        model: gives the features.
        inputs: as for `predict`.
        data: name of a dataset, a dataset's folder, an open dataset, a file, or samples.
        count: how many neighbours.
        split: only this split of a dataset.
        domain: treat the inputs as this domain's; the data's own if None.
        level: level of theory that routes the experts; the encoder's first one if None.
        extrapolate: warn of an input outside the training data instead of refusing it.

    Raises:
        InputError: unreadable input or data, data of another domain, `count` below one, or a split
            of what has none.
        OutsideError: an input lies outside the training data.
    """
    if count < 1:
        raise InputError(f"count {count}: give 1 or more")
    name, opened = open_data(data, split)
    searched = opened[0].domain
    samples = read_samples(model, inputs, domain or searched)
    for sample in samples:
        if sample.domain != searched:
            raise InputError(
                f"{sample.id} is of domain '{sample.domain}', the data '{name}' of '{searched}'"
            )
    results = []
    tables: dict[tuple[str, str], tuple[Indexed, np.ndarray, float | None]] = {}
    for sample, here in embedded(model, samples, level=level, extrapolate=extrapolate):
        place = here.encoder, here.level
        if place not in tables:
            tables[place] = _table(indexed(model, opened, *place))
        table, sigma, usual = tables[place]
        distances = _distances(here.invariant[None], table.features, sigma)[0]
        nearest = np.argsort(distances, kind="stable")[:count]
        hits = tuple(_neighbour(opened, int(table.samples[i]), distances[i]) for i in nearest)
        results.append(
            Neighbourhood(
                sample.id, sample, name, *place, len(distances), usual, hits, table.left_out
            )
        )  # fmt: skip
    return results if is_many(inputs, samples) else results[0]


def open_data(data: Any, split: str | None = None) -> tuple[str, Dataset | Sequence[Sample]]:
    """Name and samples of a dataset, a folder, a file or samples.

    Raises:
        InputError: unreadable or empty, samples of several domains, a split of what has none.
        PluginError: no dataset of this name.
    """
    if isinstance(data, (str, Path)) and not Path(data).is_file():
        if Path(data).is_dir():
            data = open_dataset(data, split=split)
        else:
            spec = find("datasets", str(data)).load()
            data = open_dataset(spec.folder, split=split, length_unit=spec.length_unit)
    elif split is not None:
        raise InputError(f"split '{split}': only a dataset's name or folder takes one")
    if isinstance(data, Dataset):
        if not len(data):
            raise InputError(f"dataset '{data.name}' holds no sample of split '{data.split}'")
        return data.name, data
    samples = read_object(data)
    if len({s.domain for s in samples}) != 1:
        raise InputError("the data are of several domains, or none: give those of one")
    return (Path(data).name if isinstance(data, (str, Path)) else "samples"), samples


def _table(table: Indexed) -> tuple[Indexed, np.ndarray, float | None]:
    """Features, their deviations, and the usual distance to the nearest."""
    sigma = table.features.std(0, dtype=np.float64)
    largest = float(sigma.max())
    sigma = np.maximum(sigma, FLOOR * largest) if largest > 0 else np.ones_like(sigma)
    n = len(table.features)
    if n < 2:
        return table, sigma, None
    chosen = np.unique(np.linspace(0, n - 1, USUAL).astype(int))
    nearest = []
    for start in range(0, len(chosen), BLOCK):
        rows = chosen[start : start + BLOCK]
        distances = _distances(table.features[rows], table.features, sigma)
        distances[np.arange(len(rows)), rows] = np.inf
        nearest.append(distances.min(1))
    return table, sigma, float(np.median(np.concatenate(nearest)))


def _distances(a: np.ndarray, b: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """(A, B) distances of rows; see the module. By differences, so that a copy is at zero."""
    from scipy.spatial.distance import cdist  # a tenth of the start-up of every prediction

    distances: np.ndarray = cdist(a, b, "seuclidean", V=sigma**2) / math.sqrt(len(sigma))
    return distances


def _neighbour(data: Dataset | Sequence[Sample], number: int, distance: float) -> Neighbour:
    first = data[number]
    samples, name = [first], first.id
    if isinstance(data, Dataset):
        same = np.flatnonzero(data.rows == data.rows[number])
        samples = [data[int(i)] for i in same]
        name = name.removesuffix(f"@{first.level}") if len(data.levels) > 1 else name
    labels = tuple(label for sample in samples for label in _labels(data, sample))
    return Neighbour(name, float(distance), dataclasses.replace(first, id=name), labels)


def _labels(data: Dataset | Sequence[Sample], sample: Sample) -> list[Label]:
    known: dict[str, Quantity] = dict(quantities())
    columns = data.columns if isinstance(data, Dataset) else ()
    stored = {c.quantity: c.unit for c in columns if c.role == "label"}
    return [
        Label(
            name,
            sample.level or "",
            np.asarray(value),
            known[name].unit if name in known else stored.get(name, "1"),
        )
        for name, value in sample.labels.items()
    ]
