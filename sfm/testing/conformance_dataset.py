"""Checks of datasets: they open offline and are what their spec says."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np

from sfm.data.composition import wrong_energy_unit
from sfm.data.consistency import consistency
from sfm.data.sample import Sample
from sfm.data.spec import DatasetSpec
from sfm.data.splits import SPLITS
from sfm.data.storage import Dataset, open_dataset
from sfm.plugin import Plugin
from sfm.registry import find, quantities
from sfm.testing.checks import Check, CheckFailed, ensure
from sfm.units import factor

LOOKED_AT = 400  # samples


@contextlib.contextmanager
def no_network() -> Iterator[None]:
    """Any connection raises inside the block."""

    def refuse(*_: object, **__: object) -> None:
        raise CheckFailed("it opens a network connection")

    saved = socket.socket.connect
    socket.socket.connect = refuse  # type: ignore[method-assign,method-assign]
    try:
        yield
    finally:
        socket.socket.connect = saved  # type: ignore[method-assign]


def checks(plugin: Plugin) -> list[Check]:
    """Checks of all the plugin's datasets."""
    checklist = []
    for part in plugin.datasets:
        name = f"{plugin.name}/{part}"
        for what, function in (
            ("opens-offline", opens_offline),
            ("spec", spec_is_complete),
            ("columns", columns),
            ("finite-labels", finite_labels),
            ("splits-disjoint", splits_disjoint),
            ("splits-stable", splits_stable),
            ("items-stable", items_stable),
            ("labels-consistent", labels_consistent),
            ("card", card),
        ):
            checklist.append(Check(name, what, partial(function, name)))
    return checklist


def _spec(name: str) -> DatasetSpec:
    spec: DatasetSpec = find("datasets", name).load()
    return spec


@cache
def _open(name: str) -> Dataset:
    spec = _spec(name)
    return open_dataset(spec.folder, length_unit=spec.length_unit)


def opens_offline(name: str) -> str:
    """The first and last sample of each split load without a network."""
    with no_network():
        spec = _spec(name)
        total = 0
        for split in SPLITS:
            data = open_dataset(spec.folder, split=split, length_unit=spec.length_unit)
            total += len(data)
            for i in [0, len(data) - 1] if len(data) else []:
                sample = data[i]
                ensure(sample.domain == spec.domain, f"{sample.id}: domain '{sample.domain}'")
                ensure(bool(sample.labels), f"{sample.id}: has no label")
    ensure(total > 0, "holds no sample")
    return f"{total} samples"


def spec_is_complete(name: str) -> None:
    """Summary, licence, origin and citation are there."""
    spec = _spec(name)
    for field in ("summary", "licence", "origin", "citation", "quantities", "levels"):
        ensure(bool(getattr(spec, field)), f"its spec has no {field}")
    ensure(spec.name == name.rpartition("/")[2], f"its spec is called '{spec.name}'")


def columns(name: str) -> str:
    """Labels are the declared quantities at the declared levels, in convertible units."""
    spec, data, known = _spec(name), _open(name), quantities()
    labels = [c for c in data.columns if c.role == "label"]
    stored, said = {c.quantity for c in labels}, set(spec.quantities)
    ensure(said <= stored, f"declares {sorted(said - stored)}, which no column holds")
    levels = {c.level for c in labels}
    ensure(levels == set(spec.levels), f"has levels {sorted(map(str, levels))}, says {spec.levels}")
    for column in labels:
        if column.quantity in known:
            factor(column.unit, known[column.quantity].unit)
        else:
            ensure(column.quantity not in said, f"quantity '{column.quantity}' is declared nowhere")
    return f"{len(labels)} label columns"


def finite_labels(name: str) -> str:
    """Every number of every column is finite."""
    data, count = _open(name), 0
    for column in data.columns:
        if column.dtype.startswith("float"):
            values = data._table.column(column.name).combine_chunks()
            while hasattr(values, "flatten") and hasattr(values, "values"):
                values = values.flatten()
            array = values.drop_null().to_numpy(zero_copy_only=False)
            ensure(bool(np.isfinite(array).all()), f"column '{column.name}' holds NaN or infinity")
            count += array.size
    return f"{count} numbers"


def splits_disjoint(name: str) -> str:
    """No group (molecule, parent crystal, trajectory) and no id is in two splits."""
    data = _open(name)
    split = data._table.column("split").to_pylist()
    names = set(data._table.column_names)
    keys = [key for key in ("group", "id") if key in names]
    for key in keys:
        owner: dict[str, str] = {}
        for value, where in zip(data._table.column(key).to_pylist(), split, strict=True):
            ensure(
                owner.setdefault(value, where) == where,
                f"{key} '{value}' is in {owner[value]} and in {where}",
            )
    ensure(set(split) <= set(SPLITS), f"has splits {sorted(set(split))}")
    groups = len(set(data._table.column(keys[0]).to_pylist()))
    return f"{groups} {keys[0]}s" + ("" if "group" in keys else ", no group column")


def splits_stable(name: str) -> None:
    """Opening it again gives the same samples in the same order."""
    spec = _spec(name)
    for split in SPLITS:
        options = {"split": split, "length_unit": spec.length_unit}
        a, b = (open_dataset(spec.folder, **options) for _ in range(2))
        picks = range(0, len(a), max(1, len(a) // 20))
        ensure(
            len(a) == len(b) and [a[i].id for i in picks] == [b[i].id for i in picks],
            f"split '{split}' changes",
        )


def items_stable(name: str) -> None:
    """The same item twice has the same numbers."""
    data = _open(name)
    for i in range(0, len(data), max(1, len(data) // 10)):
        a, b = data[i], data[i]
        for what in ("positions", "types", "cell"):
            same = np.array_equal(getattr(a, what), getattr(b, what))
            ensure(same, f"{what} of {a.id} differ from one reading to the next")
        for first, other in ((a.labels, b.labels), (a.fields, b.fields)):
            for key, value in first.items():
                ensure(
                    np.array_equal(value, other[key]),
                    f"{key} of {a.id} differs from one reading to the next",
                )


def labels_consistent(name: str) -> str:
    """Energies, forces and stress fit each other and free atoms: units and signs are right."""
    data = _open(name)
    samples = [data[i] for i in range(min(len(data), LOOKED_AT))]
    levels = dict.fromkeys(s.level for s in samples)
    for level in levels:
        same = [s for s in samples if s.level == level]
        faults = [message for _, message in consistency(same)]
        faults += [message] if (message := wrong_energy_unit(same)) else []
        ensure(not faults, "; ".join(faults))
    return f"{len(samples)} samples"


def card(name: str) -> None:
    """README.md starts with a YAML head that names the licence."""
    path = _spec(name).folder / "README.md"
    if not path.is_file():
        raise CheckFailed(f"{path.name} is missing in {path.parent.name}/")
    text = path.read_text(encoding="utf-8")
    ensure(text.startswith("---"), "its card has no YAML head")
    import yaml

    head = yaml.safe_load(text.split("---")[1])
    ensure(bool(head.get("license")), "its card names no licence")
    ensure("sfm" in (head.get("tags") or []), "its card has no tag 'sfm'")


def few_samples(
    plugin: Plugin, accepts: Callable[[Sample], bool], count: int = 3, largest: int = 16
) -> list[Sample]:
    """A few small samples of the plugin's datasets that `accepts` takes.

    Raises:
        CheckFailed: there are none.
    """
    samples: list[Sample] = []
    for part in plugin.datasets:
        try:
            spec = _spec(f"{plugin.name}/{part}")
            data = open_dataset(spec.folder, split="test", length_unit=spec.length_unit)
        except Exception:  # its own check says so
            continue
        sizes = data.sizes()
        order = np.flatnonzero((sizes <= largest) & (sizes != 1))
        for i in order[: 50 * count]:
            sample = data[int(i)]
            same = any(len(s.types) == len(sample.types) for s in samples)
            if accepts(sample) and not (same and len(sample.types)):
                samples.append(sample)
            if len(samples) == count:
                return samples
    if not samples:
        raise CheckFailed(
            "the plugin's datasets hold no small sample that this encoder takes: "
            "build them, or override Encoder.examples"
        )
    return samples
