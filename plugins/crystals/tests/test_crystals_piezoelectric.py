"""Piezoelectric moduli: the formula, the archive's own column, and what lies bundled."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from sfm_crystals.data import specs
from sfm_crystals.data.materials_project import reduced_formula
from sfm_crystals.data.piezoelectricity import (
    LARGEST,
    full_tensor,
    longitudinal,
    read_piezoelectric,
)

from sfm.data.splits import assign
from sfm.data.storage import open_dataset
from sfm.data.voigt import VOIGT_AXES


def directions(count: int = 20_000) -> np.ndarray:
    n = np.random.default_rng(0).normal(size=(count, 3))
    return n / np.linalg.norm(n, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("shear", "expected"),
    [
        # J. F. Nye, Physical Properties of Crystals (1957): 43m has e14 alone, largest along [111]
        ({(0, 3): 0.158, (1, 4): 0.158, (2, 5): 0.158}, 2 * 0.158 / np.sqrt(3)),
        ({(2, 2): -1.3}, 1.3),
        ({(0, 0): 0.171, (0, 1): -0.171, (1, 5): -0.171}, 0.171),  # class 32, quartz: along x
        ({}, 0.0),
    ],
)
def test_longitudinal_moduli_of_simple_classes(shear, expected):
    tensor = np.zeros((3, 6))
    for place, value in shear.items():
        tensor[place] = value
    assert longitudinal(full_tensor(tensor)) == pytest.approx(expected, abs=1e-9)


def test_the_maximum_is_above_every_direction_and_does_not_turn():
    generator = np.random.default_rng(1)
    for _ in range(20):
        tensor = full_tensor(generator.normal(size=(3, 6)))
        modulus = longitudinal(tensor)
        n = directions()
        tried = np.abs(np.einsum("ijk,ai,aj,ak->a", tensor, n, n, n)).max()
        # 20,000 directions lie within about 0.02 of the best; the loss is of second order
        assert 0.998 * modulus < tried < modulus * (1 + 1e-9)
        turn = Rotation.random(random_state=2).as_matrix()
        turned = np.einsum("ai,bj,ck,ijk->abc", turn, turn, turn, tensor)
        assert longitudinal(turned) == pytest.approx(modulus, rel=1e-6)


POSCAR = """Ag1 I1
1.0
4.066724 0.000000 2.347924
1.355575 3.834144 2.347924
0.000000 0.000000 4.695849
Ag I
1 1
direct
0.000000 0.000000 0.000000 Ag
0.250000 0.250000 0.250000 I
"""
E14 = -0.15842


def test_the_archives_own_maximum_counts_shear_once():
    """A row of the archive, AgI: its column is the maximum of e_iJ n_i (n n)_J without the two."""
    row = "[[0.0,0.0,0.0,{0},0.0,0.0],[0.0,0.0,0.0,0.0,{0},0.0],[0.0,0.0,0.0,0.0,0.0,{0}]]"
    table = (
        "# ref\nidx,eij_max,piezoelectric_tensor,poscar,formula,material_id\n"
        f'0,0,0.091464,"{row.format(E14)}","{POSCAR}",AgI,mp-22925\n'
        f'1,1,9.9,"{row.format(2 * LARGEST)}","{POSCAR}",AgI,mp-0\n'
    )
    (silver_iodide,) = read_piezoelectric(table.encode())
    assert (silver_iodide.id, silver_iodide.formula) == ("mp-22925", "AgI")
    assert silver_iodide.modulus == pytest.approx(2 * abs(E14) / np.sqrt(3), rel=1e-9)
    n = directions()
    once = np.stack([n[:, j] * n[:, k] for j, k in VOIGT_AXES], axis=1)
    tensor = np.zeros((3, 6))
    tensor[0, 3] = tensor[1, 4] = tensor[2, 5] = E14
    theirs = np.abs(np.einsum("ai,iJ,aJ->a", n, tensor, once)).max()
    assert silver_iodide.published == pytest.approx(theirs, rel=1e-3)
    assert silver_iodide.published == pytest.approx(silver_iodide.modulus / 2, rel=1e-3)


def test_bundled_moduli_are_within_bounds_and_splits_are_those_of_the_compounds():
    spec = specs.CRYSTALS_PIEZOELECTRIC
    assert spec.held_out
    data = open_dataset(spec.folder)
    assert len(data) == 934
    values = np.array([float(sample.labels["piezoelectric_modulus"]) for sample in data])
    assert 0 <= values.min() < 0.01
    assert 9 < values.max() <= LARGEST
    (silver_iodide,) = (sample for sample in data if sample.id == "mp-22925")
    assert float(silver_iodide.labels["piezoelectric_modulus"]) == pytest.approx(0.18293, abs=1e-5)
    for split in ("train", "validation", "test"):
        for sample in list(open_dataset(spec.folder, split=split))[::20]:
            assert assign(reduced_formula(sample.types)) == split
