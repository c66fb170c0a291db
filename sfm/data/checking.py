"""Finding mistakes in data: wrong units and signs, outliers, duplicates, impossible geometries.

Units and signs are found from the data alone: forces and stress against energies
(`sfm.data.consistency`), energies against those of free atoms (`sfm.data.composition`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfm.data.composition import wrong_energy_unit
from sfm.data.conditions import check_conditions
from sfm.data.consistency import consistency
from sfm.data.neighbours import neighbour_list
from sfm.data.sample import Sample
from sfm.errors import InputError

TOO_CLOSE = 0.5  # angstrom; the shortest bond there is, H-H, has 0.74
NET_FORCE = 0.05  # of the root mean square force
OUTLIER = 12.0  # robust standard deviations


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
    for check in (not_finite, possible_electrons, too_close, net_force):
        findings += _limited([f for s in samples for f in check(s)], limit)
    findings += _limited(duplicates(samples), limit)
    for level in levels:
        same = [s for s in samples if s.level == level]
        findings += _limited(energy_outliers(same), limit)
        findings += [
            Finding("error", "consistency", n, message) for n, message in consistency(same)
        ]
        if message := wrong_energy_unit(same):
            findings.append(Finding("error", "unit", "energy", message))
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


def possible_electrons(sample: Sample) -> list[Finding]:
    """Charge and spin that no such atoms can have."""
    stated = {k: v for k, v in sample.conditions.items() if k in ("charge", "spin")}
    if not stated or not len(sample.types) or not sample.types.all():
        return []
    try:
        check_conditions(stated, sample.types, sample.id)
    except InputError as error:
        message = str(error).removeprefix(f"{sample.id}: ")
        return [Finding("error", "electrons", sample.id, message)]
    return []


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
