"""`sfm dataset check` finds mistakes that were put into good data, and none in good data."""

from __future__ import annotations

import numpy as np
import pytest

from sfm.data.checking import check_samples
from sfm.data.sample import Sample

EPSILON, SIGMA = 0.0104, 3.4


def lennard_jones(x: np.ndarray, cell: np.ndarray):
    """Energy, forces and stress of argon, minimum image in a large cell."""
    d = x[:, None] - x[None]
    d = d - np.round(d @ np.linalg.inv(cell)) @ cell
    r2 = (d**2).sum(-1) + 1e30 * np.eye(len(x))
    s6 = (SIGMA**2 / r2) ** 3
    energy = 2 * EPSILON * (s6**2 - s6).sum()
    pair = (24 * EPSILON * (2 * s6**2 - s6) / r2)[..., None] * d
    virial = -0.5 * np.einsum("ijk,ijl->kl", pair, d)
    return energy, pair.sum(1), virial / abs(np.linalg.det(cell))


def argon(n: int = 60) -> list[Sample]:
    """Rattled and strained copies of a 4 x 4 x 4 cubic box."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    samples = []
    for i in range(n):
        strain = np.eye(3) + 0.006 * (lambda e: e + e.T)(rng.normal(size=(3, 3)))
        cell = 15.2 * strain
        x = (grid / 4) @ cell + 0.06 * rng.normal(size=(64, 3))
        energy, forces, stress = lennard_jones(x, cell)
        samples.append(
            Sample(
                id=f"argon-{i}",
                domain="crystals",
                level="LJ",
                positions=x,
                types=np.full(64, 18),
                cell=cell,
                pbc=True,
                labels={"energy": np.array(energy), "forces": forces, "stress": stress},
            )
        )
    return samples


def relabelled(samples, function):
    return [s.replace(labels={**s.labels, **function(s.labels)}) for s in samples]


def test_good_data_have_no_findings():
    assert check_samples(argon()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: {"forces": -v["forces"]}, "the sign of 'forces' is wrong"),
        (lambda v: {"stress": -v["stress"]}, "the sign of 'stress' is wrong"),
        (lambda v: {"stress": 160.2 * v["stress"]}, "'stress' must be multiplied by 0.006"),
        (lambda v: {"forces": v["forces"] / 51.422}, "hartree/bohr instead of eV/angstrom"),
        (lambda v: {"energy": v["energy"] * 23.0605}, "'forces' must be multiplied by"),
    ],
)
def test_units_and_signs_are_found_from_the_data_alone(change, said):
    findings = check_samples(relabelled(argon(), change))
    assert any(f.severity == "error" and said in f.message for f in findings), findings


def test_a_single_bad_sample_is_named():
    samples = argon(30)
    x = samples[7].positions.copy()
    x[1] = x[0] + [0.2, 0, 0]
    samples[7] = samples[7].replace(positions=x)
    labels = samples[9].labels
    samples[9] = samples[9].replace(labels={**labels, "energy": labels["energy"] + 200.0})
    samples[11] = samples[11].replace(
        labels={**labels, "forces": samples[11].labels["forces"] + 0.1}
    )
    samples[13] = samples[13].replace(labels={**labels, "energy": np.array(np.nan)})
    samples.append(samples[3].replace(id="copy"))
    found = {(f.check, f.where) for f in check_samples(samples)}
    assert {
        ("distance", "argon-7"),
        ("energy-outlier", "argon-9"),
        ("net-force", "argon-11"),
        ("finite", "argon-13"),
        ("duplicate", "copy"),
    } <= found


def test_a_duplicate_with_another_energy_is_an_error():
    a = argon(1)[0]
    b = a.replace(id="b", labels={**a.labels, "energy": a.labels["energy"] + 1})
    (finding,) = [f for f in check_samples([a, b]) if f.check == "duplicate"]
    assert finding.severity == "error"


def test_many_findings_are_cut_short():
    samples = [s.replace(labels={"energy": np.array(np.inf)}) for s in argon(12)]
    findings = [f for f in check_samples(samples, limit=5) if f.check == "finite"]
    assert len(findings) == 6
    assert findings[-1].message == "7 more of these"
