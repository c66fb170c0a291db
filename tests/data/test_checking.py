"""`sfm dataset check` finds mistakes that were put into good data, and none in good data."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sfm.data.checking import check_samples
from sfm.data.composition import wrong_energy_unit
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
        (lambda v: {"stress": 160.2 * v["stress"]}, "--unit stress=GPa"),
        (lambda v: {"forces": v["forces"] / 51.422}, "hartree/bohr instead of eV/angstrom"),
        (lambda v: {"energy": v["energy"] * 23.0605}, "'forces' must be multiplied by"),
    ],
)
def test_units_and_signs_are_found_from_the_data_alone(change, said):
    findings = check_samples(relabelled(argon(), change))
    assert any(f.severity == "error" and said in f.message for f in findings), findings


def small_strains(n: int = 24) -> list[Sample]:
    """Copies with 1 % of strain, where the stress does hardly any work."""
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    samples = []
    for i in range(n):
        strain = np.eye(3) + 0.004 * (lambda e: e + e.T)(rng.normal(size=(3, 3)))
        cell = 11.2 * strain
        x = (grid / 3) @ cell + 0.08 * rng.normal(size=(27, 3))
        energy, forces, stress = lennard_jones(x, cell)
        samples.append(
            Sample(
                id=f"small-{i}",
                domain="crystals",
                level="LJ",
                positions=x,
                types=np.full(27, 18),
                cell=cell,
                pbc=True,
                labels={"energy": np.array(energy), "forces": forces, "stress": stress},
            )
        )
    return samples


def other_order(s: np.ndarray) -> np.ndarray:
    """xx yy zz xy yz zx, as VASP prints them, read as xx yy zz yz xz xy."""
    xx, yy, zz, xy, yz, zx = s[0, 0], s[1, 1], s[2, 2], s[0, 1], s[1, 2], s[2, 0]
    return np.array([[xx, zx, yz], [zx, yy, xy], [yz, xy, zz]])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s, ""),
        (lambda s: -s, "the sign of 'stress' is wrong"),
        (lambda s: 160.2 * s, "--unit stress=GPa"),
        (lambda s: -1602.2 * s, "sign of 'stress' is wrong and .*--unit stress=-kbar"),
        (other_order, "stand in the order xy yz xz, not yz xz xy"),
    ],
)
def test_stress_is_checked_at_small_strains(change, said):
    findings = check_samples(relabelled(small_strains(), lambda v: {"stress": change(v["stress"])}))
    messages = [f.message for f in findings if f.where == "stress"]
    assert bool(messages) == bool(said)
    assert not said or re.search(said, messages[0])


@pytest.mark.parametrize(
    ("factor", "said"),
    [(1.0, ""), (1 / 27.2114, "hartree"), (23.0605, "kcal/mol"), (96.485, "kJ/mol")],
)
def test_total_energies_tell_their_unit(factor, said):
    """PBE0/def2-TZVP energies of PySCF: water -76.3768, methane -40.4794, methanol -115.6392."""
    systems = {"HHO": -76.3768, "HHHHC": -40.4794, "HHHHOC": -115.6392}
    number = {"H": 1, "C": 6, "O": 8}
    samples = [
        Sample(
            id=name,
            domain="molecules",
            types=np.array([number[s] for s in name]),
            positions=3.0 * np.arange(3 * len(name)).reshape(-1, 3),
            labels={"energy": np.array(energy * 27.2114 * factor)},
        )
        for name, energy in systems.items()
    ]
    text = wrong_energy_unit(samples)
    assert text == "" if not said else f"--unit energy={said}" in text


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
    findings = {(f.check, f.where) for f in check_samples(samples)}
    assert {
        ("distance", "argon-7"),
        ("energy-outlier", "argon-9"),
        ("net-force", "argon-11"),
        ("finite", "argon-13"),
        ("duplicate", "copy"),
    } <= findings


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
