"""What a file calls a quantity, and in which unit it is there.

`--key energy=REF_energy --unit energy=kcal/mol`: the label `energy` is the file's `REF_energy`, in
kcal/mol. A unit may have a sign, `stress=-kbar`, as VASP prints the pressure tensor; `--voigt
xx,yy,zz,xy,yz,zx`: the six numbers of its stress stand in that order, VASP's too. A key that says
`virial` is one: the stress is minus the virial over the volume (the convention of GAP, MACE and
NequIP).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sfm.data.headers import split_header
from sfm.data.isotropy import ELASTIC, SHAPES, elastic_reordered, symmetric
from sfm.data.sample import Sample
from sfm.data.voigt import parse_order, reordered
from sfm.errors import InputError, InputWarning, did_you_mean
from sfm.quantity import Quantity
from sfm.units import check_unit

# other spellings that leave no doubt
_SPELLINGS = {"force": "forces", "virial": "stress", "virials": "stress"}
_WORDS = {
    "energy": r"energ|e_?tot|(^|_)e(_|$)",
    "forces": r"forc|grad",
    "stress": r"stress|virial",
    "dipole": r"dipole|(^|_)mu(_|$)",
    "charges": r"charges",
}


@dataclass(frozen=True)
class LabelNames:
    """Keys and units by quantity.

    Attributes:
        keys: name in the file by quantity.
        units: unit in the file by quantity, as `pint` reads it, a minus sign in front for the
            opposite sign; the canonical one where it is not named.
        voigt: what the six numbers of a stress or virial in the file are, in their order there;
            empty for Voigt's own.
        extensive: whether each of the user's own quantities is, by name; one that no plugin
            declares is defined (`sfm.registry.define`) in the unit that `units` says, or a header
            of the file (`name[unit]`).

    Raises:
        InputError: an unknown quantity, or a unit of something else.
    """

    keys: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    voigt: tuple[str, ...] = ()
    extensive: Mapping[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        table = _quantities()
        for name, grows in self.extensive.items():
            if name in table and table[name].extensive != grows:
                kinds = ("intensive", "extensive")
                raise InputError(
                    f"'{name}' is {kinds[not grows]}, not {kinds[grows]}: it is a quantity that is "
                    "known"
                )
        for name in (*self.keys, *self.units):
            name in self.extensive or table[name]
        for name, unit in self.units.items():
            if name in table:
                virial = "virial" in self.keys.get(name, "").lower()
                _factor(unit, "eV" if virial else table[name].unit)
            else:
                check_unit(unit)

    def __bool__(self) -> bool:
        return bool(self.keys or self.units or self.voigt or self.extensive)

    @classmethod
    def parse(
        cls,
        keys: Iterable[str],
        units: Iterable[str],
        voigt: str | None = None,
        extensive: Mapping[str, bool] | None = None,
    ) -> LabelNames:
        """From `energy=REF_energy`, `energy=kcal/mol`, `xx,yy,zz,xy,yz,zx`; the rest as above.

        Raises:
            InputError: no `=`, a quantity named twice, or an order that is none.
        """
        return cls(
            _pairs(keys, "--key", "REF_energy"),
            _pairs(units, "--unit", "kcal/mol"),
            parse_order(voigt) if voigt is not None else (),
            extensive or {},
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        said: dict[str, Any] = {"keys": dict(self.keys), "units": dict(self.units)}
        said |= {"voigt": list(self.voigt)} if self.voigt else {}
        return said | ({"extensive": dict(self.extensive)} if self.extensive else {})

    def apply(self, samples: Sequence[Sample], source: str) -> list[Sample]:
        """The samples with their labels under our names and in our units.

        Args:
            samples: as read.
            source: named in messages.

        Raises:
            InputError: no sample has the key, or its shape is not the quantity's.
        """
        keys = {**self.keys, **self._defined(samples, source)}
        for key in keys.values():
            if not any(key in s.extras or key in s.labels for s in samples):
                there = sorted({k for s in samples for k in (*s.extras, *s.labels)})
                raise InputError(
                    f"{source}: no '{key}' (it has {', '.join(there) or 'no numbers besides'})."
                    f"{did_you_mean(key, there)}"
                )
        for name in self.units:
            if name not in keys and not any(name in s.labels for s in samples):
                raise InputError(f"{source}: --unit {name}=..., but it has no label '{name}'")
        changed = [self._one(s, keys) for s in samples]
        ordered = {"stress", *_elastic_of(changed)}
        if self.voigt and not any(ordered & set(s.labels) for s in changed):
            raise InputError(
                f"{source}: --voigt, but it has no stress or elastic constants to reorder"
            )
        return changed

    def check_elastic(self, samples: Sequence[Sample], source: str) -> None:
        """Elastic constants of a file need their order and their unit said: neither can be seen.

        Raises:
            InputError: one of them is not.
        """
        for name in _elastic_of(samples):
            missing = []
            if not self.voigt:
                missing.append("--voigt xx,yy,zz,yz,xz,xy (or the order of its six rows)")
            if name not in self.units:
                missing.append(f"--unit {name}=GPa")
            if missing:
                raise InputError(
                    f"{source}: '{name}' is six by six in an order and a unit that the file does "
                    f"not say: give {' and '.join(missing)}"
                )

    def _defined(self, samples: Sequence[Sample], source: str) -> dict[str, str]:
        """Names in the file of the user's own quantities, which are defined on the way.

        Raises:
            InputError: nobody says the unit of one, or two say different ones.
        """
        from sfm.registry import define

        keys: dict[str, str] = {}
        there = {key for s in samples for key in s.extras}
        for name, grows in self.extensive.items():
            if name in _quantities():
                continue
            bare_name = split_header(self.keys.get(name, name))[0]
            # a name without unit, and with: a file may state both, and then the plain one counts
            fitting = sorted((k for k in there if split_header(k)[0] == bare_name), key=len)
            keys[name] = fitting[0] if fitting else bare_name
            stated, given = split_header(keys[name])[1], self.units.get(name)
            unit = given or stated
            if unit is None:
                raise InputError(f"--target {name}: say its unit, --unit {name}=UNIT (1 for none)")
            if stated is not None and _factor(unit, check_unit(stated)) != 1.0:
                raise InputError(
                    f"{source}: its header says '{keys[name]}', not --unit {name}={unit}"
                )
            define(Quantity(name, unit, extensive=grows, summary="user's own"))
        return keys

    def _one(self, sample: Sample, keys: Mapping[str, str]) -> Sample:
        table = _quantities()
        labels, extras = dict(sample.labels), dict(sample.extras)
        for name, key in keys.items():
            if key in extras:
                labels[name] = shaped(table[name], key, extras.pop(key), sample)
            elif key in sample.labels and key != name:
                labels[name] = shaped(table[name], key, labels.pop(key), sample)
            elif key != name:
                labels.pop(name, None)
        for name, unit in self.units.items():
            if name in labels:
                virial = "virial" in self.keys.get(name, "").lower()
                labels[name] = labels[name] * _factor(unit, "eV" if virial else table[name].unit)
        for name in _elastic_of([sample.replace(labels=labels)]) if self.voigt else ():
            labels[name] = elastic_reordered(np.asarray(labels[name]), self.voigt)
        if self.voigt and "stress" in labels:
            labels["stress"] = reordered(np.asarray(labels["stress"]), self.voigt, sample.id)
        return sample.replace(labels=labels, extras=extras)


def _elastic_of(samples: Sequence[Sample]) -> list[str]:
    """Labels of the samples that are elastic constants."""
    table = _quantities()
    names = dict.fromkeys(name for s in samples for name in s.labels if name in table)
    return [name for name in names if table[name].irreps == ELASTIC]


def _speaks_for_itself(quantity: Quantity) -> bool:
    """Whether it is a system's tensor without unit, or one whose unit has to be said."""
    if quantity.per != "system" or quantity.irreps not in SHAPES:
        return False
    return quantity.irreps == ELASTIC or quantity.unit == "1"


def with_tensors(sample: Sample) -> Sample:
    """The sample with labels of the extras that a tensor quantity's name calls what they are.

    Nobody states a (3, 3) `dielectric` or (6, 6) `elastic_constants` of a system by chance. One
    number of such a name, an average, stays an extra.

    Raises:
        InputError: another shape, or not symmetric.
    """
    table = _quantities()
    names = [
        name
        for name, value in sample.extras.items()
        if name in table and name not in sample.labels
        if _speaks_for_itself(table[name]) and np.size(value) > 1
    ]
    if not names:
        return sample
    extras = dict(sample.extras)
    read = {name: shaped(table[name], name, extras.pop(name), sample) for name in names}
    return sample.replace(labels={**sample.labels, **read}, extras=extras)


def recognised(extras: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, str]:
    """Keys that are a quantity in another spelling (`Energy`, `force`, `virial`), by quantity.

    Only quantities that `labels` lacks.
    """
    keys: dict[str, str] = {}
    for key in extras:
        name = _SPELLINGS.get(key.lower(), key.lower())
        if name in ("energy", "forces", "stress") and name not in labels:
            keys.setdefault(name, key)
    if "energy" not in labels and "energy" not in keys and "free_energy" in extras:
        keys["energy"] = "free_energy"
    return keys


def with_recognised(sample: Sample, names: Collection[str]) -> Sample:
    """The sample with labels made of extras in another spelling, among the quantities `names`.

    A free energy stands in for a missing energy; that is said in a warning.

    Raises:
        InputError: another shape than the quantity's.
    """
    labels, extras = dict(sample.labels), dict(sample.extras)
    for name, key in recognised(extras, labels).items():
        if name not in names:
            continue
        labels[name] = shaped(_quantities()[name], key, extras.pop(key), sample)
        if key == "free_energy":
            warnings.warn("free_energy is taken as the energy", InputWarning, stacklevel=2)
    return sample.replace(labels=labels, extras=extras) if labels else sample


def shaped(quantity: Quantity, key: str, value: Any, sample: Sample) -> Float[np.ndarray, " ..."]:
    """The file's numbers in the quantity's shape, a stress (3, 3); a virial becomes a stress.

    Raises:
        InputError: another shape, no number, or a virial without a cell.
    """
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{sample.id}: {key}={value} is not a number") from None
    if not np.isfinite(array).all():
        raise InputError(f"{sample.id}: {key} holds a value that is not a finite number")
    if quantity.name == "stress":
        array = _stress(key, array, sample)
    tails = {"0e": (), "1o": (3,), **SHAPES}
    tail = tails.get(quantity.irreps)
    if tail is None:
        return array
    shape = (len(sample.types), *tail) if quantity.per == "token" else tail
    if array.size == int(np.prod(shape)):
        array = array.reshape(shape)
    if quantity.per != "grid" and array.shape != shape:
        count = "one number" if shape == () else f"shape {shape}"
        raise InputError(
            f"{sample.id}: {key} has shape {array.shape}; '{quantity.name}' needs {count}"
        )
    if quantity.per == "system" and quantity.irreps in SHAPES and quantity.name != "stress":
        array = symmetric(array, f"{sample.id}: {key}")
    return array


def _stress(key: str, array: np.ndarray, sample: Sample) -> np.ndarray:
    """(3, 3) of six or nine numbers; a virial becomes a stress."""
    if array.shape == (6,):
        xx, yy, zz, yz, xz, xy = array
        array = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    array = array.reshape(3, 3) if array.size == 9 else array
    if "virial" in key.lower():
        if sample.cell is None:
            raise InputError(f"{sample.id}: {key} without a cell is no stress")
        array = -array / abs(np.linalg.det(sample.cell))
    return array


def flags_for(samples: Sequence[Sample]) -> list[str]:
    """`--key energy=REF_energy` for each key in the files that may be a label."""
    keys: dict[str, str] = {}
    labels = {k for s in samples for k in s.labels}
    for sample in samples:
        for key in sample.extras:
            name = _likely(key, sample)
            if name and name not in labels:
                keys.setdefault(name, key)
    return [f"--key {name}={key}" for name, key in keys.items()]


# numbers that tell frames and rows apart
BOOKKEEPING = ("time", "step", "index", "id", "uid", "system", "frame")


def not_used(samples: Sequence[Sample]) -> list[str]:
    """One line on the numbers that samples state and nothing has read; empty if there are none."""
    keys = {name: None for s in samples for name in s.extras}
    names = [name for name in keys if name.lower() not in BOOKKEEPING]
    return [f"stated, but not used: {', '.join(names)}"] if names else []


def unused(samples: Sequence[Sample]) -> str:
    """One line on the numbers that the files state and no label takes; empty if there are none."""
    names = list(dict.fromkeys(k for s in samples for k in s.extras))
    if not names:
        return ""
    flags = flags_for(samples)
    advice = f" ({' '.join(flags)} would take them as labels)" if flags else ""
    return f"not used: {', '.join(names)}{advice}"


def for_files(source: str | Path) -> InputError:
    """The refusal of names for a dataset."""
    return InputError(
        f"{source}: --key, --unit, --voigt, --intensive and --extensive are for files; a dataset's "
        "columns have names and units"
    )


def no_labels(samples: Sequence[Sample], source: str) -> InputError:
    """The refusal of data without labels: what is there, and the flags that would use it."""
    names = list(dict.fromkeys(k for s in samples for k in s.extras))
    if not names:
        return InputError(
            f"{source}: no labels. A label is an energy or forces in an extended xyz file, or a "
            "column `quantity[unit]` in a csv file"
        )
    flags = " ".join(flags_for(samples)) or "--key energy=NAME"
    name = split_header(names[0])[0]
    return InputError(
        f"{source}: no labels, but it has {', '.join(names)}; say which: {flags}, or for a "
        f"quantity of your own --target {name} with --intensive or --extensive, and --unit UNIT "
        "where its header has none"
    )


def _likely(key: str, sample: Sample) -> str | None:
    """The quantity that a key may stand for, by its name and shape."""
    size, n = np.asarray(sample.extras[key]).size, len(sample.types)
    sizes = {"energy": (1,), "forces": (3 * n,), "stress": (6, 9), "dipole": (3,), "charges": (n,)}
    for name, pattern in _WORDS.items():
        if re.search(pattern, key.lower()) and size in sizes[name] and "weight" not in key.lower():
            return name
    return None


def _factor(unit: str, to: str) -> float:
    from sfm.units import factor

    return -factor(unit[1:].strip(), to) if unit.startswith("-") else factor(unit, to)


def _pairs(texts: Iterable[str], flag: str, example: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise InputError(f"{flag} '{text}': write it as {flag} energy={example}")
        if name in pairs:
            raise InputError(f"{flag} {name}: given twice")
        pairs[name] = value
    return pairs


def _quantities() -> Mapping[str, Quantity]:
    from sfm.registry import quantities

    return quantities()
