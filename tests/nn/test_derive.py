"""Forces and stress of a potential whose derivatives are known: Lennard-Jones in ase."""

from __future__ import annotations

import numpy as np
import torch

from sfm.data.neighbours import neighbour_list
from sfm.data.tokens import Tokens
from sfm.nn.derive import attach, derive

EPSILON, SIGMA, CUTOFF = 0.0104, 3.4, 7.5


def argon():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ase.build import bulk
        from ase.calculators.lj import LennardJones

    atoms = bulk("Ar", "fcc", 5.1, cubic=True)
    atoms.set_cell(
        atoms.cell @ (np.eye(3) + 0.03 * np.array([[1, 0.5, 0], [0, -1, 0.2], [0, 0, 2]])), True
    )
    atoms.positions += 0.1 * np.random.default_rng(0).normal(size=atoms.positions.shape)
    atoms.calc = LennardJones(epsilon=EPSILON, sigma=SIGMA, rc=CUTOFF, smooth=False)
    return atoms


def test_forces_and_stress_equal_those_of_ase():
    atoms = argon()
    edges, shifts = neighbour_list(atoms.positions, CUTOFF, atoms.cell.array, True)
    tokens = Tokens.make(
        positions=torch.tensor(atoms.positions),
        types=torch.tensor(atoms.numbers),
        edges=torch.tensor(edges),
        shifts=torch.tensor(shifts).double(),
        cell=torch.tensor(atoms.cell.array),
        cutoff=CUTOFF,
    )
    moved, handle = attach(tokens, stress=True)
    r2 = moved.edge_vectors().square().sum(1)
    s6 = (SIGMA**2 / r2) ** 3
    shift = 4 * EPSILON * ((SIGMA / CUTOFF) ** 12 - (SIGMA / CUTOFF) ** 6)
    energy = 0.5 * (4 * EPSILON * (s6**2 - s6) - shift).sum()
    (out,) = derive([energy], [handle], create_graph=False)
    assert abs(energy.item() - atoms.get_potential_energy()) < 1e-10
    np.testing.assert_allclose(out["forces"], atoms.get_forces(), atol=1e-12)
    stress = atoms.get_stress(voigt=False)  # tensile positive, eV/angstrom^3
    np.testing.assert_allclose(out["stress"][0], stress, atol=1e-12)


def test_two_batches_need_one_backward_pass_and_an_open_system_has_no_stress():
    x = torch.tensor([[0.0, 0, 0], [1.0, 0, 0]], dtype=torch.float64)
    edges = torch.tensor([[0, 1], [1, 0]])
    tokens = Tokens.make(
        positions=x, types=torch.ones(2, dtype=torch.long), edges=edges, cutoff=2.0
    )
    pairs = [attach(tokens, stress=s) for s in (True, False)]
    energies = [0.25 * t.edge_vectors().square().sum() for t, _ in pairs]
    a, b = derive(energies, [h for _, h in pairs], create_graph=False)
    torch.testing.assert_close(a["forces"], torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]]).double())
    torch.testing.assert_close(a["forces"], b["forces"])
    assert a["stress"].abs().max() == 0
    assert "stress" not in b
