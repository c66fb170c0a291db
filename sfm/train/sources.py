"""What a user hands over as data: a dataset's name, a folder, a file, samples or objects."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sfm.data.label_names import LabelNames, for_files, no_labels, unused, with_tensors
from sfm.data.readers import read_object
from sfm.data.sample import Sample
from sfm.data.splits import SPLITS, assign
from sfm.data.storage import open_dataset
from sfm.errors import InputError, InputWarning, PluginError
from sfm.quantity import Quantity
from sfm.recipe import Goal
from sfm.registry import find, quantities
from sfm.train.tasks import Chain, TaskData, labelled, revision, split_chain

UNNAMED = "user"
DISTINCT = 20


class Relabelled(Sequence[Any]):
    """Samples whose level of theory is called something else."""

    def __init__(self, source: Sequence[Sample], names: Mapping[str, str]) -> None:
        self.source, self.names = source, names

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, item: Any) -> Any:
        sample = self.source[item]
        return sample.replace(level=self.names.get(str(sample.level), sample.level))


@dataclass(frozen=True)
class Source:
    """Labelled samples that are not yet bound to an encoder.

    Attributes:
        name: for logs and messages.
        domain: of the samples.
        present: (level, quantity) pairs that have labels.
        splits: samples by split.
        facts: licence, origin, hashes, how it was split.
        typed: whether the levels are known, not made up for a file that names none.
    """

    name: str
    domain: str
    present: tuple[tuple[str, str], ...]
    splits: Mapping[str, Sequence[Sample]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    typed: bool = True

    @property
    def quantities(self) -> tuple[str, ...]:
        """Label quantities."""
        return tuple(dict.fromkeys(q for _, q in self.present))

    def task(
        self,
        encoder: str,
        present: Sequence[tuple[str, str]],
        *,
        goals: Mapping[str, Goal] | None = None,
        relabel: Mapping[str, str] | None = None,
    ) -> TaskData:
        """A task that learns the `present` pairs through `encoder`, from samples of their levels.

        Args:
            encoder: part name.
            present: (level, quantity) pairs out of the source's own.
            goals: loss weight and form by quantity; weight 1 if None.
            relabel: what the task calls a level, by the source's own name.
        """
        names = relabel or {}
        levels = {v for v, _ in present}
        pairs = tuple((names.get(v, v), q) for v, q in present)
        weights = goals or {q: Goal() for _, q in pairs}
        table: Mapping[str, Quantity] = quantities()
        splits = {k: _of_levels(v, levels) for k, v in self.splits.items()}
        renamed = {k: Relabelled(v, names) if names else v for k, v in splits.items()}
        return TaskData(
            name=self.name,
            domain=self.domain,
            encoder=encoder,
            levels=tuple(dict.fromkeys(v for v, _ in pairs)),
            goals={q: g for q, g in weights.items() if q in {name for _, name in pairs}},
            present=pairs,
            train=renamed["train"],
            validation=renamed["validation"],
            test=renamed["test"],
            definitions={q: table[q] for _, q in pairs},
            facts=self.facts,
        )


def open_source(data: Any, *, whole: bool = True, names: LabelNames | None = None) -> Source:
    """The data, split.

    Args:
        data: name of a dataset part, a dataset folder, a file, samples, or objects that an
            installed plugin reads.
        whole: put all of a file's samples into validation and into test, and none into training
            (for evaluation), instead of splitting it.
        names: what a file calls its labels, and their units there.

    Raises:
        InputError: unreadable, several domains at once, no labels, or `names` for a dataset, whose
            columns have names and units.
    """
    if isinstance(data, (str, Path)):
        path = Path(data)
        if path.is_dir():
            _refuse(names, path)
            return _folder(path, path.name)
        if not path.is_file():
            try:
                part = find("datasets", str(data))
            except PluginError as error:
                raise InputError(f"{data}: no such file, folder or dataset ({error})") from None
            spec = part.load()
            _refuse(names, data)
            facts = {"licence": spec.licence, "origin": spec.origin}
            return _folder(spec.folder, part.full_name, facts, length_unit=spec.length_unit)
    return _loose(data, whole, names)


def _refuse(names: LabelNames | None, data: str | Path) -> None:
    if names:
        raise for_files(data)


def _of_levels(samples: Sequence[Sample], levels: Collection[str]) -> Sequence[Sample]:
    if isinstance(samples, Chain):
        return samples.of_levels(levels)
    return [s for s in samples if s.level in levels]


def _folder(
    folder: Path, name: str, facts: Mapping[str, Any] | None = None, **options: Any
) -> Source:
    whole = open_dataset(folder, **options)
    table = quantities()
    names = [c.quantity for c in whole.columns if c.role == "label" and c.quantity in table]
    present = labelled(whole, list(dict.fromkeys(names)))
    levels = dict.fromkeys(v for v, _ in present)
    return Source(
        name=name,
        domain=whole.domain,
        present=present,
        splits={split: split_chain(folder, split, levels, **options) for split in SPLITS},
        facts={
            "revision": revision(folder),
            "split": "column 'split' of the dataset",
            **(facts or {}),
        },
    )


def _loose(data: Any, whole: bool, names: LabelNames | None) -> Source:
    samples = read_object(data)
    name = str(data) if isinstance(data, (str, Path)) else "the given samples"
    domains = sorted({s.domain for s in samples})
    if len(domains) > 1:
        raise InputError(f"{name}: systems of several domains ({', '.join(domains)}); split them")
    level = Path(name).stem if isinstance(data, (str, Path)) else UNNAMED
    samples = [with_tensors(s) for s in samples]
    if names:
        samples = names.apply(samples, name)
    if isinstance(data, (str, Path)) and Path(data).suffix != ".npz":  # ours says units
        (names or LabelNames()).check_elastic(samples, name)
    if left := unused(samples):
        warnings.warn(f"{name}: {left}", InputWarning, stacklevel=3)
    typed = all(s.level for s in samples)
    samples = [s if s.level else s.replace(level=level) for s in samples]
    table = quantities()
    pairs = {(str(s.level), q) for s in samples for q in s.labels if q in table}
    if not pairs:
        raise no_labels(samples, name)
    facts: dict[str, Any] = {"labels": names.to_dict()} if names else {}
    if isinstance(data, (str, Path)):
        digest = hashlib.sha256(Path(data).read_bytes()).hexdigest()[:16]
        facts["revision"] = {Path(data).name: digest}
    if whole:
        splits = dict.fromkeys(SPLITS, samples)
        splits["train"] = []
    else:
        how, splits = split_samples(samples)
        facts["split"] = how
    return Source(name, domains[0], tuple(sorted(pairs)), splits, facts, typed)


def split_samples(samples: Sequence[Sample]) -> tuple[str, dict[str, list[Sample]]]:
    """80 : 10 : 10, so that relatives stay together as far as one can know.

    With at least 20 different compositions, a composition is never divided. Otherwise the file is
    taken as a trajectory, whose neighbours are alike: the first 80 % train, the last 10 % test.

    Raises:
        InputError: fewer than three systems.
    """
    if len(samples) < 3:
        raise InputError(f"{len(samples)} systems cannot be split into training and test sets")
    groups = [_formula(s) for s in samples]
    splits: dict[str, list[Sample]] = {name: [] for name in SPLITS}
    if len(set(groups)) >= DISTINCT:
        for sample, group in zip(samples, groups, strict=True):
            splits[assign(group)].append(sample)
        if all(splits.values()):
            return "by composition (a composition is never divided), 80:10:10", splits
    n = len(samples)
    tenth = max(n // 10, 1)
    train, last = n - 2 * tenth, n - tenth
    splits = {
        "train": list(samples[:train]),
        "validation": list(samples[train:last]),
        "test": list(samples[last:]),
    }
    return "in the order of the file: first 80 % train, last 10 % test", splits


def _formula(sample: Sample) -> str:
    if not len(sample.types):
        return sample.id
    kinds, counts = np.unique(sample.types, return_counts=True)
    return ",".join(f"{z}:{n}" for z, n in zip(kinds.tolist(), counts.tolist(), strict=True))
