"""Units and signs of forces and stress, from the data alone.

Between two geometries a and b of one system that lie close together the energy follows the
trapezoidal rule,

    E_b - E_a = -1/2 (F_a + F_b) . dx  +  1/2 (V_a s_a + V_b s_b) : de,

with dx the displacements that are not strain and de the strain. Least squares over all such pairs
for one factor per term gives 1 and 1 if forces F and stress s are in units of the energy and have
the right signs; -1 tells a sign, 27.2 a hartree in the energy, 0.0062 a stress in gigapascal. Where
strains are small, shear stresses are held against those that follow from the forces
(`sfm.data.force_matching`), which tells their order, too. The rule is derived here from
F = -dE/dx and V s = dE/de; the trapezoidal rule errs by the third power of the step.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfm.data.force_matching import stress_from_forces
from sfm.data.sample import Sample
from sfm.data.unit_factors import as_if, explained_by
from sfm.data.voigt import VOIGT_AXES, wrong_order

NEAR = 0.6  # angstrom, root mean square displacement within a pair
STRAIN = 0.1
PAIRS = 400
SURE = 8.0  # standard errors
FITTED = 40  # systems for the pair potential
ALIKE = 0.6  # correlation of shear stresses that tells something


@dataclass(frozen=True)
class _Work:
    """Terms of the trapezoidal rule for one pair: E_b - E_a, work of forces, work of stress."""

    change: float
    forces: float
    stress: float


def consistency(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    """(quantity, what is wrong) for forces and stress that do not fit the energies."""
    faults = _against_energies(samples)
    shear = _shear_against_forces(samples)
    if shear is None:
        return faults
    return [f for f in faults if f[0] != "stress"] + ([("stress", shear)] if shear else [])


def _against_energies(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    pairs = (_work(a, b) for a, b in _near_pairs(samples))
    works = [w for w in pairs if w is not None]
    if len(works) < 8:
        return []
    y = np.array([w.change for w in works])
    terms = {name: np.array([getattr(w, name) for w in works]) for name in ("forces", "stress")}
    used = {k: v for k, v in terms.items() if np.abs(v).max() > 1e-9}
    if not used:
        return []
    factors, errors = _robust_factors(np.stack(list(used.values()), axis=1), y)
    findings = []
    for name, factor, error in zip(used, factors, errors, strict=True):
        # the trapezoidal rule is good to some ten per cent
        if abs(factor - 1) > SURE * error and not 0.5 < factor < 2:
            message = _message(name, float(factor), float(error))
            findings.append((name, f"{message}; from {len(y)} pairs of near geometries"))
    return findings


def _message(name: str, factor: float, error: float) -> str:
    unit = "eV/angstrom" if name == "forces" else "eV/angstrom**3"
    size, text = abs(factor), []
    if factor < 0:
        text.append(f"the sign of '{name}' is wrong")
    if 0.5 < size < 2:
        return f"{text[0]} (--unit {name}=-{unit})"
    said = f"'{name}' must be multiplied by {size:.4g} to fit the energies"
    if (other := explained_by(1 / size, unit, 0.3)) and error < 0.3 * size:
        said += f", {as_if(name, other, unit, negative=factor < 0)}"
    if energy := explained_by(size, "eV", 0.1):
        said += f", or {as_if('energy', energy, 'eV')}"
    return " and ".join([*text, said])


def _shear_against_forces(samples: Sequence[Sample]) -> str | None:
    """What is wrong with the shear stresses; empty if nothing, None if the forces do not tell."""
    have = [
        s
        for s in samples
        if s.pbc.all()
        and {"forces", "stress"} <= set(s.labels)
        and np.shape(s.labels["stress"]) == (3, 3)
        and np.shape(s.labels["forces"]) == (len(s.types), 3)
        and all(np.isfinite(s.labels[k]).all() for k in ("forces", "stress"))
    ]
    have = have[:: max(1, len(have) // FITTED)][:FITTED]
    fitted = stress_from_forces(have) if len(have) >= 6 else None
    if fitted is None:
        return None
    i, j = np.array(VOIGT_AXES[3:]).T  # the shears
    expected = fitted[:, i, j]
    stored = np.array([s.labels["stress"] for s in have], dtype=np.float64)[:, i, j]
    norms = [float(np.linalg.norm(x)) for x in (expected, stored)]
    if min(norms) < 1e-9:
        return None
    orders = list(itertools.permutations(range(3)))
    alike = {o: float((expected[:, o] * stored).sum()) / (norms[0] * norms[1]) for o in orders}
    best = max(orders, key=lambda o: abs(alike[o]))
    if abs(alike[best]) < ALIKE:
        return None
    text = []
    if best != (0, 1, 2) and abs(alike[best]) > abs(alike[0, 1, 2]) + 0.3:
        text.append(wrong_order(best))
    else:
        best = (0, 1, 2)
    negative = alike[best] < -ALIKE
    ratio, unit = norms[1] / norms[0], "eV/angstrom**3"
    if negative:
        text.append("the sign of 'stress' is wrong")
    if not 0.4 < ratio < 2.5:
        said = f"'stress' is {ratio:.3g} times what the forces say"
        other = explained_by(ratio, unit, 0.8)
        text.append(f"{said}, {as_if('stress', other, unit, negative=negative)}" if other else said)
    elif negative:
        text[-1] += f" (--unit stress=-{unit})"
    if not text:
        return ""
    return f"{' and '.join(text)}; from the forces of {len(have)} systems"


def _robust_factors(a: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares without the pairs that fit badly: factors and their standard errors."""
    keep = np.ones(len(y), dtype=bool)
    factors, residual = np.zeros(a.shape[1]), np.abs(y)
    for _ in range(5):
        factors, *_ = np.linalg.lstsq(a[keep], y[keep], rcond=None)
        residual = np.abs(y - a @ factors)
        keep = residual <= max(4 * np.median(residual), 1e-12)
    variance = (residual[keep] ** 2).mean()
    inverse = np.linalg.pinv(a[keep].T @ a[keep])
    return factors, np.sqrt(variance * np.diag(inverse).clip(0))


def _near_pairs(samples: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    groups: dict[bytes, list[Sample]] = {}
    for s in samples:
        if "energy" in s.labels and "forces" in s.labels and len(s.types) > 1:
            key = s.types.tobytes() + str(sorted(s.conditions.items())).encode()
            groups.setdefault(key, []).append(s)
    pairs: list[tuple[Sample, Sample]] = []
    for same in groups.values():
        for i in range(len(same)):
            pairs += [(same[i], same[j]) for j in range(i + 1, min(i + 4, len(same)))]
    step = max(1, len(pairs) // (4 * PAIRS))
    return pairs[::step][: 4 * PAIRS]


def _work(a: Sample, b: Sample) -> _Work | None:  # noqa: PLR0911
    """None if the pair is not near."""
    if (a.cell is None) != (b.cell is None):
        return None
    deformation = np.eye(3)
    if a.cell is not None and b.cell is not None:
        if min(abs(np.linalg.det(c)) for c in (a.cell, b.cell)) < 1e-6:
            return None
        deformation = np.linalg.solve(a.cell, b.cell)
    strain = 0.5 * (deformation + deformation.T) - np.eye(3)
    if np.abs(strain).max() > STRAIN:
        return None
    dx = b.positions - a.positions @ deformation
    dx = dx - dx.mean(0)
    if np.sqrt((dx**2).sum(1).mean()) > NEAR:
        return None
    forces = 0.5 * (a.labels["forces"] + b.labels["forces"]).astype(np.float64)
    strain_work = 0.0
    if a.cell is not None and b.cell is not None and np.abs(strain).max() > 1e-6:
        if "stress" not in a.labels or "stress" not in b.labels:
            return None
        stress = [np.asarray(s.labels["stress"], dtype=np.float64) for s in (a, b)]
        if any(s.shape != (3, 3) for s in stress):
            return None
        volumes = [abs(float(np.linalg.det(s.cell))) for s in (a, b)]  # type: ignore[arg-type]
        mean = 0.5 * (volumes[0] * stress[0] + volumes[1] * stress[1])
        strain_work = float((mean * strain).sum())
    change = float(np.asarray(b.labels["energy"])) - float(np.asarray(a.labels["energy"]))
    work = _Work(change, -float((forces * dx).sum()), strain_work)
    return work if np.isfinite([work.change, work.forces, work.stress]).all() else None
