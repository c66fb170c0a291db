"""Finding mistakes in data: wrong units and signs, outliers, duplicates, impossible geometries.

Units and signs are found from the data alone. Between two geometries a and b of one system that lie
close together the energy follows the trapezoidal rule,

    E_b - E_a = -1/2 (F_a + F_b) . dx  +  1/2 (V_a s_a + V_b s_b) : de,

with dx the displacements that are not strain and de the strain. Least squares over all such pairs
for one factor per term gives 1 and 1 if forces F and stress s are in units of the energy and have
the right signs; -1 tells a sign, 27.2 a hartree, 160.2 a gigapascal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfm.data.neighbours import neighbour_list
from sfm.data.sample import Sample

TOO_CLOSE = 0.5  # angstrom; the shortest bond there is, H-H, has 0.74
NET_FORCE = 0.05  # of the root mean square force
OUTLIER = 12.0  # robust standard deviations
NEAR = 0.6  # angstrom, root mean square displacement within a pair
PAIRS = 400

_FACTORS = {
    27.211386: "hartree instead of eV",
    0.0367493: "eV where hartree was meant",
    51.422067: "hartree/bohr instead of eV/angstrom",
    0.0194469: "eV/angstrom where hartree/bohr was meant",
    0.0433641: "kcal/mol instead of eV",
    23.060548: "eV where kcal/mol was meant",
    0.0103643: "kJ/mol instead of eV",
    96.485332: "eV where kJ/mol was meant",
    0.529177: "bohr instead of angstrom",
    1.889726: "angstrom where bohr was meant",
    160.21766: "GPa instead of eV/angstrom^3",
    0.00624151: "eV/angstrom^3 where GPa was meant",
}


@dataclass(frozen=True)
class Finding:
    """One suspicion. `severity` is `error` (certainly wrong) or `warning`."""

    severity: str
    check: str
    where: str
    message: str


def check_samples(samples: Sequence[Sample], *, limit: int = 20) -> list[Finding]:
    """All findings, at most `limit` per check."""
    findings: list[Finding] = []
    levels = dict.fromkeys(s.level for s in samples)
    for check in (not_finite, too_close, net_force):
        findings += _limited([f for s in samples for f in check(s)], limit)
    findings += _limited(duplicates(samples), limit)
    for level in levels:
        same = [s for s in samples if s.level == level]
        findings += _limited(energy_outliers(same), limit)
        findings += consistency(same)
    return findings


def _limited(findings: list[Finding], limit: int) -> list[Finding]:
    if len(findings) <= limit:
        return findings
    first = findings[0]
    rest = Finding(first.severity, first.check, "", f"{len(findings) - limit} more of these")
    return [*findings[:limit], rest]


def not_finite(sample: Sample) -> list[Finding]:
    """Labels that are NaN or infinite."""
    return [
        Finding("error", "finite", sample.id, f"label '{name}' is not a finite number")
        for name, value in sample.labels.items()
        if np.asarray(value).dtype.kind == "f" and not np.isfinite(value).all()
    ]


def too_close(sample: Sample) -> list[Finding]:
    """Atoms closer than half an angstrom: usually wrong units, or a duplicated atom."""
    if not len(sample.positions) or not sample.types.any():
        return []
    edges, _ = neighbour_list(sample.positions, TOO_CLOSE, sample.cell, sample.pbc)
    if not edges.size:
        return []
    i, j = edges[:, 0] + 1
    message = (
        f"atoms {i} and {j} are closer than {TOO_CLOSE} angstrom "
        f"({edges.shape[1] // 2} such pairs): are positions in bohr or nanometres?"
    )
    return [Finding("error", "distance", sample.id, message)]


def net_force(sample: Sample) -> list[Finding]:
    """Forces of an isolated or periodic system add up to zero."""
    forces = sample.labels.get("forces")
    if forces is None or len(forces) < 2 or not np.isfinite(forces).all():
        return []
    rms = float(np.sqrt((np.asarray(forces, dtype=np.float64) ** 2).sum(1).mean()))
    net = float(np.linalg.norm(np.asarray(forces, dtype=np.float64).sum(0))) / np.sqrt(len(forces))
    if net <= max(NET_FORCE * rms, 1e-3):
        return []
    message = (
        f"forces add up to {net:.3g} per sqrt(atom) (rms {rms:.3g}): atoms are missing or mixed up"
    )
    return [Finding("warning", "net-force", sample.id, message)]


def duplicates(samples: Sequence[Sample]) -> list[Finding]:
    """Systems that occur twice at one level, up to translation and the order of atoms."""
    seen: dict[bytes, Sample] = {}
    findings = []
    for sample in samples:
        key = _fingerprint(sample)
        first = seen.setdefault(key, sample)
        if first is not sample:
            a, b = (s.labels.get("energy") for s in (first, sample))
            same = a is None or b is None or bool(abs(float(a) - float(b)) < 1e-3)
            message = f"is the same system as '{first.id}'" + (
                "" if same else ", with another energy"
            )
            severity = "warning" if same else "error"
            findings.append(Finding(severity, "duplicate", sample.id, message))
    return findings


def _fingerprint(sample: Sample) -> bytes:
    parts = [str(sample.level), str(dict(sample.conditions))]
    if len(sample.positions):
        x = sample.positions - sample.positions.mean(0)
        rows = np.column_stack([sample.types, np.round(x, 2) + 0.0])
        parts.append(str(sorted(map(tuple, rows.tolist()))))
    if sample.cell is not None:
        parts.append(str((np.round(sample.cell, 2) + 0.0).tolist()))
    parts += [f"{k}{np.asarray(v).tobytes()!r}" for k, v in sample.fields.items()]
    return "|".join(parts).encode()


def energy_outliers(samples: Sequence[Sample]) -> list[Finding]:
    """Energies per atom far from a least-squares sum over elements, by the median deviation."""
    have = [s for s in samples if "energy" in s.labels and len(s.types)]
    have = [s for s in have if np.isfinite(s.labels["energy"]).all()]
    if len(have) < 20:
        return []
    counts = np.stack([np.bincount(s.types, minlength=119) for s in have]).astype(np.float64)
    counts = counts[:, counts.any(0)]
    energies = np.array([float(np.asarray(s.labels["energy"])) for s in have])
    n = counts.sum(1)
    residual = _robust_residual(counts / n[:, None], energies / n)
    spread = 1.4826 * np.median(np.abs(residual - np.median(residual)))
    # rounding and equal systems give a spread of zero
    spread = max(spread, 1e-3)
    score = np.abs(residual - np.median(residual)) / spread
    return [
        Finding(
            "warning",
            "energy-outlier",
            s.id,
            f"energy {e:.6g} is {r:+.3g} per atom off its composition ({z:.0f} deviations)",
        )
        for s, e, r, z in zip(have, energies, residual, score, strict=True)
        if z > OUTLIER
    ]


def _robust_residual(a: np.ndarray, y: np.ndarray, rounds: int = 20) -> np.ndarray:
    """Residual of a least-absolute-deviation fit (iteratively reweighted least squares)."""
    weights = np.ones(len(y))
    residual = y
    for _ in range(rounds):
        solution, *_ = np.linalg.lstsq(a * weights[:, None], y * weights, rcond=1e-10)
        residual = y - a @ solution
        weights = 1 / np.sqrt(np.maximum(np.abs(residual), 1e-4))
    return residual


def consistency(samples: Sequence[Sample]) -> list[Finding]:
    """Units and signs of forces and stress against energies; see the module's docstring."""
    change, work, strain_work = [], [], []
    for a, b in _near_pairs(samples):
        terms = _trapezoid(a, b)
        if terms is not None:
            change.append(terms[0])
            work.append(terms[1])
            strain_work.append(terms[2])
    findings: list[Finding] = []
    if len(change) < 8:
        return findings
    y = np.array(change)
    terms_by_name = {"forces": np.array(work), "stress": np.array(strain_work)}
    used = {k: v for k, v in terms_by_name.items() if np.abs(v).max() > 1e-9}
    if not used:
        return findings
    factors, errors = _robust_factors(np.stack(list(used.values()), axis=1), y)
    for name, factor, error in zip(used, factors, errors, strict=True):
        unclear = 8 * error > abs(factor)
        if unclear or 0.5 < factor < 2:  # the trapezoidal rule is good to some ten per cent
            continue
        known = min(_FACTORS, key=lambda k: abs(np.log(abs(factor) / k)))
        near = abs(np.log(abs(factor) / known)) < 0.3
        text = []
        if factor < 0:
            text.append(f"the sign of '{name}' is wrong")
        if not 0.5 < abs(factor) < 2:
            text.append(
                f"'{name}' must be multiplied by {abs(factor):.4g} to fit the energies"
                + (f" (as if stored in {_FACTORS[known]})" if near else "")
            )
        message = " and ".join(text) + f"; from {len(y)} pairs of near geometries"
        findings.append(Finding("error", "consistency", name, message))
    return findings


def _robust_factors(a: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares without the pairs that fit badly: factors and their standard errors."""
    keep = np.ones(len(y), dtype=bool)
    factors = np.zeros(a.shape[1])
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


def _trapezoid(a: Sample, b: Sample) -> tuple[float, float, float] | None:
    """(E_b - E_a, work of the forces, work of the stress), None if the pair is not near."""
    if (a.cell is None) != (b.cell is None):
        return None
    deformation = np.eye(3)
    if a.cell is not None and b.cell is not None:
        deformation = np.linalg.solve(a.cell, b.cell)
    strain = 0.5 * (deformation + deformation.T) - np.eye(3)
    if np.abs(strain).max() > 0.1:
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
        volumes = [abs(np.linalg.det(s.cell)) for s in (a, b)]  # type: ignore[arg-type]
        mean = 0.5 * (volumes[0] * stress[0] + volumes[1] * stress[1])
        strain_work = float((mean * strain).sum())
    change = float(np.asarray(b.labels["energy"])) - float(np.asarray(a.labels["energy"]))
    values = (change, -float((forces * dx).sum()), strain_work)
    return values if np.isfinite(values).all() else None
