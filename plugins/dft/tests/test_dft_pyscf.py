"""Our functionals inside PySCF: the same numbers as PySCF's own, and as our engine's."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import sfm_dft
import torch
from pyscf import dft, gto
from pyscf.pbc import gto as periodic
from sfm_dft.neural.functional import NeuralGGA
from sfm_dft.neural.saving import save
from sfm_dft.xc import functional as named
from sfm_dft.xc.contract import Functional

import sfm
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.units import factor

LIH = np.array([[0.0, 0.0, 0.0], [0.1, 0.2, 1.6]])
BEH = np.array([[0.0, 0.0, 0.0], [0.1, 0.2, 1.34]])
SAME = {"LDA": "lda_x,lda_c_pw", "PBE": "pbe,pbe", "r2SCAN": "r2scan", "B3LYP": "b3lyp"}


def molecule(kind: str, basis: str = "sto-3g", shift: float = 0.0) -> gto.Mole:
    symbols, positions = {"LiH": (["Li", "H"], LIH), "BeH": (["Be", "H"], BEH)}[kind]
    moved = positions.copy()
    moved[-1, 2] += shift
    atoms = list(zip(symbols, moved.tolist(), strict=True))
    return gto.M(atom=atoms, basis=basis, spin=int(kind == "BeH"), verbose=0)


def converged(mf: object, start: np.ndarray | None = None) -> object:
    mf.grids.level = 0
    mf.conv_tol = 1e-11
    mf.kernel(start)
    assert mf.converged
    return mf


def gradients(mf: object) -> tuple[np.ndarray, np.ndarray]:
    slopes = []
    for response in (False, True):
        gradient = mf.nuc_grad_method()
        gradient.grid_response = response
        slopes.append(gradient.kernel())
    return slopes[0], slopes[1]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("LDA", "BeH"),
        ("PBE", "LiH"),
        ("r2SCAN", "BeH"),
        ("B3LYP", "LiH"),
        pytest.param("LDA", "LiH", marks=pytest.mark.slow),
        pytest.param("PBE", "BeH", marks=pytest.mark.slow),
        pytest.param("r2SCAN", "LiH", marks=pytest.mark.slow),
        pytest.param("B3LYP", "BeH", marks=pytest.mark.slow),
    ],
)
def test_energy_gradient_and_second_derivatives_are_those_of_pyscf(name, kind):
    mol = molecule(kind)
    theirs = converged((dft.UKS if mol.spin else dft.RKS)(mol, xc=SAME[name]))
    ours = sfm_dft.pyscf(mol, name)
    assert type(ours) is type(theirs)
    converged(ours, theirs.make_rdm1())
    assert abs(ours.e_tot - theirs.e_tot) < 1e-9  # hartree
    for mine, other in zip(gradients(ours), gradients(theirs), strict=True):
        assert np.abs(mine - other).max() < 1e-7  # hartree per bohr
    mine, other = (mf.TDA().run(nstates=2).e for mf in (ours, theirs))
    # both stop at 1e-5 in the eigenvector, which enters squared
    assert np.abs(mine - other).max() < 1e-7
    second = ours.newton()
    second.conv_tol = 1e-11
    assert abs(second.kernel() - theirs.e_tot) < 1e-9


def test_triplets_and_hessian_of_a_closed_shell_are_those_of_pyscf():
    mol = gto.M(atom="H 0 0 0; H 0.1 0 0.74", basis="6-31g", verbose=0)
    theirs = converged(dft.RKS(mol, xc="pbe"))
    ours = converged(sfm_dft.pyscf(mol, "PBE"), theirs.make_rdm1())
    mine, other = (mf.TDA().set(singlet=False).run(nstates=2).e for mf in (ours, theirs))
    assert np.abs(mine - other).max() < 1e-7
    mine, other = (mf.Hessian().kernel() for mf in (ours, theirs))
    assert np.abs(mine - other).max() < 1e-6  # the responses' own tolerance


def random_functional() -> NeuralGGA:
    return NeuralGGA(exact_exchange=0.1, hidden=8, seed=1).with_random_weights(2, 0.3)


def test_a_learned_hybrid_has_the_energy_and_forces_of_our_engine():
    chosen = random_functional()
    mf = sfm_dft.pyscf(molecule("BeH"), chosen, density_fit="def2-universal-jkfit")
    converged(mf)
    _, gradient = gradients(mf)
    simulator = sfm.simulator(
        "dft/kohn-sham", functional="none", closure=chosen, basis="sto-3g", grid_level=0,
        tolerance=1e-9, forces=True,
    )  # fmt: skip
    sample = Sample(
        id="BeH", domain="dft", types=np.array([4, 1]), positions=BEH, conditions={"spin": 1}
    )
    observed = simulator.observe(simulator.solve(sample))
    assert abs(float(observed["energy"].detach()) * factor("eV", "hartree") - mf.e_tot) < 1e-8
    forces = observed["forces"].detach().numpy() * factor("eV/angstrom", "hartree/bohr")
    # hartree per bohr; both stop iterating at a residual, which enters forces to first order
    assert np.abs(forces + gradient).max() < 1e-6


def test_the_gradient_with_grid_response_is_the_energys_slope():
    chosen, step = random_functional(), 1e-3  # angstrom
    plus, minus = (
        converged(sfm_dft.pyscf(molecule("BeH", shift=s), chosen)).e_tot for s in (step, -step)
    )
    slope = (plus - minus) / (2 * step * factor("angstrom", "bohr"))
    _, gradient = gradients(converged(sfm_dft.pyscf(molecule("BeH"), chosen)))
    assert abs(gradient[-1, 2] - slope) < 2e-6  # the difference's own error


def test_a_folder_is_a_functional_and_weights_may_change(tmp_path):
    folder = save([NeuralGGA(hidden=4, seed=3).with_random_weights(3, 0.2)], tmp_path / "mine")
    mf = converged(sfm_dft.pyscf(molecule("LiH"), folder))
    functional = NeuralGGA(hidden=4).with_random_weights(3, 0.2)
    again = converged(sfm_dft.pyscf(molecule("LiH"), functional))
    assert abs(mf.e_tot - again.e_tot) < 1e-10
    with torch.no_grad():
        for weight in functional.parameters():
            weight.zero_()
    again.kernel()
    assert abs(again.e_tot - converged(sfm_dft.pyscf(molecule("LiH"), "PBE")).e_tot) < 1e-9


def test_unrestricted_and_converted_closed_shells_agree():
    restricted = converged(sfm_dft.pyscf(molecule("LiH"), "PBE"))
    unrestricted = converged(sfm_dft.pyscf(molecule("LiH"), "PBE", unrestricted=True))
    assert isinstance(unrestricted, dft.uks.UKS)
    assert abs(unrestricted.e_tot - restricted.e_tot) < 1e-9
    assert abs(converged(restricted.to_uks()).e_tot - restricted.e_tot) < 1e-9


def test_what_cannot_work_says_so_in_one_line():
    class FarSighted(Functional):
        pointwise = False

    mol = molecule("LiH")
    with pytest.raises(InputError, match="not pointwise"):
        sfm_dft.pyscf(mol, FarSighted())
    with pytest.raises(InputError, match=r"no sfm_dft\.xc\.Functional"):
        sfm_dft.pyscf(mol, torch.nn.Linear(1, 1))
    with pytest.raises(InputError):
        sfm_dft.pyscf(mol, "no-such-functional")
    with pytest.raises(InputError, match="double"):
        sfm_dft.pyscf(mol, NeuralGGA().float())
    with pytest.raises(InputError, match="periodic"):
        sfm_dft.pyscf(periodic.Cell(), "PBE")
    mf = sfm_dft.pyscf(mol, named("PBE"))
    mf.xc = "b3lyp"
    with pytest.raises(InputError, match=r"mf\.xc"):
        mf.kernel()
    mf = sfm_dft.pyscf(mol, "PBE")
    rho = np.ones((4, 3))
    with pytest.raises(InputError, match="two derivatives"):
        mf._numint.eval_xc_eff("", rho, deriv=3)
    with pytest.raises(InputError, match="omega"):
        mf._numint.eval_xc_eff("", rho, omega=0.3)
    with pytest.raises(InputError, match="eval_xc"):
        mf._numint.eval_xc("", rho)


def test_the_plugin_stays_light():
    code = "import sys, sfm_dft; assert not {'torch', 'pyscf'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="pyscff"):
        _ = sfm_dft.pyscff
