"""Charge and spin of a system, whatever a file or an object calls them.

Two conditions come out: `charge`, the total charge in e, and `spin`, the number of unpaired
electrons; each only where it is stated. Where two readings of a word are possible (`spin=2`: two
unpaired electrons, or a doublet?) the parity of the electron count decides, since 2S and 2S + 1
have different parities. Impossible and contradictory statements are refused.
"""

from __future__ import annotations

import difflib
import math
import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int, Num

from sfm.errors import InputError, InputWarning

# spellings without case, blanks, hyphens and underscores
_SPELLINGS = {
    "charge": "charge totalcharge netcharge molecularcharge molcharge systemcharge formalcharge "
    "initialcharge chrg q qtot",
    "unpaired electrons": "unpaired unpairedelectrons numunpaired numunpairedelectrons nunpaired "
    "uhf nopen 2s",
    "moment": "magmom totalmagmom initialmagmom magneticmoment totalmagneticmoment "
    "magnetization totalmagnetization totmagnetization "
    "magnetisation totalmagnetisation totmagnetisation",
    "multiplicity": "multiplicity mult multip spinmultiplicity spinmult 2s+1",
    "spin": "spin totalspin",  # unpaired electrons, or a multiplicity
    "length": "units unit lengthunit lengthunits positionunit positionunits",
}
_KINDS = {word: kind for kind, words in _SPELLINGS.items() for word in words.split()}
_NEAR = ("charge", "totalcharge", "spin", "multiplicity", "spinmultiplicity", "unpairedelectrons")
_SPINS = ("unpaired electrons", "moment", "multiplicity", "spin")

ANGSTROM = ("angstrom", "angstroms", "ang", "a", "\u00e5", "metal", "real")
BOHR = ("bohr", "bohrs", "a0", "au", "a.u.", "atomic")
BOHR_RADIUS = 0.529177210903  # angstrom, CODATA 2018
MOMENT_ERROR = 0.05  # a moment of an unrestricted calculation is a whole number only nearly


def meaning(key: str) -> str | None:
    """`charge`, `spin` or `length` if the key states one of these, whatever its spelling.

    >>> meaning("Spin_Multiplicity"), meaning("total-charge"), meaning("energy")
    ('spin', 'charge', None)
    """
    kind = _KINDS.get(bare(key))
    return "spin" if kind in _SPINS else kind


def is_moment(key: str) -> bool:
    """Whether the key states a total magnetic moment."""
    return _KINDS.get(bare(key)) == "moment"


def read_conditions(
    stated: Mapping[str, Any],
    types: Int[np.ndarray, " n"],
    name: str,
    *,
    charges: Num[np.ndarray, " n"] | None = None,
    moments: Num[np.ndarray, " m"] | None = None,
) -> dict[str, float]:
    """`charge` and `spin` (number of unpaired electrons) of a system, each if it is stated.

    Args:
        stated: keys and values of a comment line, of `Atoms.info`, of a JSON object; other keys
            are passed over.
        types: (n,) atomic numbers.
        name: the system, for messages.
        charges: (n,) initial charges of the atoms in e; their sum is the charge. All zero counts
            as not stated.
        moments: (n,) initial magnetic moments of the atoms in Bohr magnetons, or (1,) their sum;
            its size is the number of unpaired electrons. All zero counts as not stated.

    Raises:
        InputError: no whole number, an impossible charge or spin, or two statements that differ.
    """
    _say_misspelt(stated, name)
    conditions: dict[str, float] = {}
    charge = _agreed(_charges(stated, charges, name), "charge", name)
    if charge is not None:
        conditions["charge"] = float(charge)
    electrons = int(np.sum(types)) - (charge or 0)
    if electrons < 0:
        raise InputError(
            f"{name}: charge {charge:+d} takes more electrons than the {int(np.sum(types))} "
            "that its atoms have"
        )
    spin = _agreed(_spins(stated, moments, electrons, charge, name), "unpaired electrons", name)
    if spin is not None:
        conditions["spin"] = float(spin)
    return conditions


def unpaired(conditions: Mapping[str, float], types: Int[np.ndarray, " N"]) -> float:
    """Unpaired electrons of a system: as stated, else the fewest that its electrons allow.

    >>> unpaired({"charge": 1.0}, np.array([8, 1, 1])), unpaired({"spin": 2.0}, np.array([8, 8]))
    (1.0, 2.0)

    Args:
        conditions: `charge` in e and `spin`, where stated; of an odd number of electrons one is
            unpaired whatever else was left out.
        types: (N,) atomic numbers.
    """
    electrons = int(np.sum(types)) - round(conditions.get("charge", 0.0))
    return float(conditions.get("spin", 0.0)) or float(electrons % 2)


def length_factor(stated: Mapping[str, Any], name: str) -> float:
    """Angstrom in one unit of length that a `units=` states; 1 without one.

    Raises:
        InputError: an unknown unit.
    """
    factors = {}
    for key, value in stated.items():
        if meaning(key) != "length":
            continue
        unit = str(value).strip().lower()
        if unit in BOHR:
            factors[key] = BOHR_RADIUS
        elif unit in ANGSTROM:
            factors[key] = 1.0
        else:
            from sfm.units import factor

            try:
                factors[key] = factor(str(value).strip(), "angstrom")
            except InputError:
                raise InputError(
                    f"{name}: {key}={value} is no unit of length; use angstrom, bohr or nm"
                ) from None
    if len(set(factors.values())) > 1:
        said = ", ".join(f"{k}={stated[k]}" for k in factors)
        raise InputError(f"{name}: {said} contradict each other")
    return next(iter(factors.values()), 1.0)


def check_conditions(
    conditions: Mapping[str, float], types: Int[np.ndarray, " N"], name: str
) -> None:
    """Refuse a charge and a number of unpaired electrons that no such system can have.

    Args:
        conditions: `charge` in e and `spin`, the number of unpaired electrons.
        types: (N,) atomic numbers.
        name: of the system, for messages.

    Raises:
        InputError: as `read_conditions`.
    """
    stated = {"charge": conditions.get("charge", 0.0)}
    if "spin" in conditions:
        stated["unpaired_electrons"] = conditions["spin"]
    read_conditions(stated, types, name)


def _say_misspelt(stated: Mapping[str, Any], name: str) -> None:
    """One line on numbers whose keys nearly state a condition."""
    for key, value in stated.items():
        plain = bare(key)
        if plain in _KINDS or len(plain) < 4 or not isinstance(value, (int, float, np.number)):
            continue
        close = difflib.get_close_matches(plain, _NEAR, n=1, cutoff=0.8)
        if close and plain != close[0] + "s":
            warnings.warn(
                f"{name}: {key}={_shown(value)} is not used; is {_KINDS[close[0]]} meant?",
                InputWarning,
                stacklevel=3,
            )


def bare(key: str) -> str:
    """The key without case, blanks, hyphens and underscores."""
    return re.sub(r"[^a-z0-9+]", "", str(key).lower())


def _charges(stated: Mapping[str, Any], charges: np.ndarray | None, name: str) -> dict[str, int]:
    statements = {}
    for key, value in stated.items():
        if meaning(key) == "charge":
            statements[f"{key}={_shown(value)}"] = _whole(key, value, name)
    if charges is not None and np.any(charges):
        total = float(np.sum(charges))
        if not math.isfinite(total) or abs(total - round(total)) > 1e-3:
            raise InputError(
                f"{name}: the initial charges of its atoms sum to {total:g}, which is no whole "
                "number; state charge=..."
            )
        statements[f"initial charges that sum to {round(total)}"] = round(total)
    return statements


def _spins(
    stated: Mapping[str, Any],
    moments: np.ndarray | None,
    electrons: int,
    charge: int | None,
    name: str,
) -> dict[str, int]:
    statements = {}
    for key, value in stated.items():
        kind, said = _KINDS.get(bare(key)), f"{key}={_shown(value)}"
        if kind not in _SPINS:
            continue
        number = _whole(key, value, name, MOMENT_ERROR if kind == "moment" else 0.0)
        if kind == "moment":  # its sign says which way it points
            number = abs(number)
        readings = {}
        if kind != "multiplicity":
            readings[number] = "unpaired electrons"
        if kind in ("multiplicity", "spin"):
            readings[number - 1] = "a multiplicity"
        statements[said] = _possible(readings, said, electrons, charge, name)
    if moments is not None and np.any(moments):
        total = abs(float(np.sum(moments)))
        if not math.isfinite(total) or abs(total - round(total)) > MOMENT_ERROR:
            raise InputError(
                f"{name}: the initial magnetic moments of its atoms sum to {total:g}, which is no "
                "number of unpaired electrons; state spin=..."
            )
        said = f"initial magnetic moments that sum to {round(total)}"
        readings = {round(total): "unpaired electrons"}
        statements[said] = _possible(readings, said, electrons, charge, name)
    return statements


def _possible(
    readings: Mapping[int, str], said: str, electrons: int, charge: int | None, name: str
) -> int:
    """The one reading (unpaired electrons: what it is called) that the electrons allow."""
    allowed = [n for n in readings if 0 <= n <= electrons and (electrons - n) % 2 == 0]
    if len(allowed) == 1:
        return allowed[0]
    words = [f"as {word}, {n} unpaired" for n, word in readings.items()]
    both = f" ({'; '.join(words)})" if len(words) > 1 else ""
    if allowed:
        raise InputError(
            f"{name}: {said} has two readings{both}; state unpaired_electrons=... or "
            "multiplicity=..."
        )
    about = f"charge {charge:+d}" if charge else "charge 0"
    hint = "" if charge is not None else "; is charge=... missing?"
    raise InputError(
        f"{name}: {said}{both} is impossible with {electrons} electrons ({about}){hint}"
    )


def _agreed(statements: Mapping[str, int], what: str, name: str) -> int | None:
    if len(set(statements.values())) > 1:
        said = ", ".join(f"{key} ({what} {value})" for key, value in statements.items())
        raise InputError(f"{name}: {said} contradict each other")
    return next(iter(statements.values()), None)


def _whole(key: str, value: Any, name: str, error: float = 0.0) -> int:
    """The whole number that a value is, within `error`."""
    if isinstance(value, str):
        text = value.strip().replace("\u2212", "-")
        text = re.sub(r"^(\d+)([+-])$", r"\2\1", text)  # 2+ and 1-, as chemists write charges
        try:
            number = float(text)
        except ValueError:
            number = math.nan
    else:
        array = np.asarray(value)
        numeric = array.size == 1 and array.dtype.kind in "iuf"
        number = float(array.reshape(())) if numeric else math.nan
    if not math.isfinite(number) or abs(number - round(number)) > max(error, 1e-6):
        raise InputError(
            f"{name}: {key}={_shown(value)} is not a whole number; write charge=1 for the total "
            "charge and spin=1 for the number of unpaired electrons, separated by a space"
        )
    return round(number)


def _shown(value: Any) -> str:
    text = np.array2string(value) if isinstance(value, np.ndarray) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= 30 else text[:27] + "..."
