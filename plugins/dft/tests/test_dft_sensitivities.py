"""Derivatives by the basis set and by nuclear charges, against whole calculations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pyscf import gto
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.gradients.sensitivities import sensitivities
from sfm_dft.scf.diis import finish, iterate, start_state
from sfm_dft.scf.system import KohnShamSystem
from sfm_dft.simulators.kohn_sham import KohnSham

from sfm.data.sample import Sample
from sfm.errors import InputError

POSITIONS = np.array([[0.0, 0.0, 0.0], [0.1, 0.2, 1.6]])
BASIS = {symbol: gto.basis.load("sto-3g", symbol) for symbol in ("Li", "H", "Be")}


def simulator(basis, functional, **options):
    return KohnSham(
        functional=functional, basis=basis, grid_level=0, tolerance=1e-11, field_x=0.3, **options
    )


def sample(numbers, spin):
    return Sample(
        id="x", domain="dft", types=numbers, positions=POSITIONS, conditions={"spin": spin}
    )


def moved(symbol, shell, primitive, column, change):
    """The basis with one exponent (column 0) or contraction coefficient (column 1) changed."""
    basis = {name: [[s[0], *map(list, s[1:])] for s in shells] for name, shells in BASIS.items()}
    basis[symbol][shell][1 + primitive][column] += change
    return basis


@pytest.mark.parametrize(
    ("functional", "numbers", "spin"),
    [("LDA", [3, 1], 0), ("PBE", [4, 1], 1), ("r2SCAN", [3, 1], 0), ("PBE0", [3, 1], 0)],
)
def test_exponents_and_coefficients(functional, numbers, spin):
    """Central differences of converged energies: relative 1e-5, as the engine claims.

    The grid is the same for all bases; steps of 2e-4 of the value leave 1e-6 of truncation.
    """
    engine = simulator(BASIS, functional)
    state = engine.solve(sample(numbers, spin))
    slopes = sensitivities(engine.energy_functional(state), finish_of(engine, state))
    symbol = {3: "Li", 4: "Be"}[numbers[0]]
    molecule = build_molecule(np.array(numbers), POSITIONS, BASIS, spin=spin)
    for shell, primitive, column in ((0, 1, 0), (1, 0, 0), (1, 1, 1), (2, 2, 0)):
        degree, size = BASIS[symbol][shell][0], BASIS[symbol][shell][1 + primitive][column]
        step = 2e-4 * abs(size)
        energies = []
        for sign in (1, -1):
            other = simulator(moved(symbol, shell, primitive, column, sign * step), functional)
            with torch.no_grad():
                solved = other.solve(sample(numbers, spin))
                energies.append(
                    float(other.energy_functional(solved).total(solved.scf.density_matrix)[0])
                )
        difference = (energies[0] - energies[1]) / (2.0 * step)
        block = [b.degree for b in slopes.shells.blocks].index(degree)
        same = [i for i in range(molecule.nbas) if molecule.bas_angular(i) == degree]
        at = 3 * same.index(shell) + primitive  # three primitives a shell, the first atom first
        kind = (slopes.exponents, slopes.coefficients)[column]
        scale = 1.0 if column == 0 else unscale(molecule, shell, primitive, slopes, block, at)
        assert float(kind[block][at]) * scale == pytest.approx(difference, rel=1e-5, abs=1e-8)


def unscale(molecule, shell, primitive, slopes, block, at):
    """PySCF normalises contractions; ours are its normalised ones, in which direction the energy
    does not depend on their common scale, so that only the ratio of the two matters."""
    name = molecule.atom_symbol(molecule.bas_atom(shell))
    given = BASIS[name][shell][1 + primitive][1]
    return float(slopes.shells.blocks[block].coefficients[at]) / given


def finish_of(engine, state):
    return finish(engine.energy_functional(state), state.scf)


@pytest.mark.parametrize("coulomb", ["fitted", "exact"])
def test_nuclear_charges(coulomb):
    engine = simulator(BASIS, "PBE", coulomb=coulomb)
    state = engine.solve(sample([3, 1], 0))
    slopes = sensitivities(engine.energy_functional(state), finish_of(engine, state)).charges
    molecule, built = state.molecule, state.molecule.pyscf()
    attraction = []
    for position in built.atom_coords():
        with built.with_rinv_origin(position):
            attraction.append(torch.tensor(-built.intor("int1e_rinv")))
    distance = float(np.linalg.norm(POSITIONS[1] - POSITIONS[0])) / 0.52917721092
    charges = [3.0, 1.0]
    for atom in (0, 1):
        energies = []
        for step in (1e-3, -1e-3):
            change = step * charges[1 - atom] / distance
            other = replace(
                molecule,
                core=molecule.core + step * attraction[atom],
                nuclear=molecule.nuclear + change,
            )
            functional = replace(engine.energy_functional(state), system=KohnShamSystem((other,)))
            with torch.no_grad():
                solved = iterate(functional, start_state(functional.system), 60, tolerance=1e-11)
                assert solved.done()
                energy = float(functional.total(solved.density_matrix)[0])
                # the field acts on the nucleus too
                field = float(functional.field @ molecule.positions[atom])
                energies.append(energy - step * field)
        difference = (energies[0] - energies[1]) / 2e-3
        assert float(slopes[atom]) == pytest.approx(difference, rel=1e-6)


def test_several_molecules_are_refused():
    engine = simulator(BASIS, "LDA")
    state = engine.solve([sample([3, 1], 0), sample([3, 1], 0)])
    with pytest.raises(InputError, match="one molecule at a time"):
        sensitivities(engine.energy_functional(state), finish_of(engine, state))
