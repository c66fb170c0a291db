"""Everything on the device of the parameters: on a GPU where there is one, on a pretended one else;
and the engine without PySCF."""

import sys

import numpy as np
import pytest
import torch
from pyscf import gto, scf
from sfm_dft.basis import density_basis
from sfm_dft.basis import library as basis
from sfm_dft.basis.gaussians import Gaussians
from sfm_dft.gradients.sensitivities import sensitivities
from sfm_dft.integrals import Shells
from sfm_dft.scf.diis import finish
from sfm_dft.scf.minao import minimal_density
from sfm_dft.scf.preparation import prepare
from sfm_dft.simulators.dynamics import Surface, move, spectrum
from sfm_dft.simulators.kohn_sham import KohnSham
from torch import nn

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.testing.other_device import OtherTensor, other_device

HYDRIDE = Sample(id="LiH", domain="dft", types=[3, 1], positions=[[0, 0, 0], [0.2, 0.1, 1.5]])
PAIR = Sample(id="H2", domain="dft", types=[1, 1], positions=[[0, 0, 0], [0.1, 0.2, 0.7]])
ION = PAIR.replace(id="H2-", conditions={"charge": -1})
SMALL = {"basis": "sto-3g", "grid_level": 0, "tolerance": 1e-9}
CASES = {
    "forces": (PAIR, {"functional": "PBE", "basis": "def2-svp", "forces": True}),
    "open-shell r2SCAN": (
        ION,
        {"functional": "r2SCAN", "solver": "second-order"},
    ),
    "hybrid with D3 in a field": (
        PAIR,
        {"functional": "PBE0", "dispersion": "d3", "field_z": 0.3, "level_shift": 0.1},
    ),
    "smearing, two molecules": ([PAIR, HYDRIDE], {"smearing": 0.02}),
    "learned": (PAIR, {"functional": "sfm-xc-mgga"}),
    "second derivatives": (PAIR, {"vibrations": True, "polarizability": True}),
}


class Correction(nn.Module):
    """A closure that reads projections of the density and positions."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.01, dtype=torch.float64))

    def forward(self, features):
        reach = features.positions.square().sum()
        return self.weight * (features.projections.square().sum() + 0.1 * reach)


def calculate(sample, settings, device, closure=None):
    """Observables and the derivative of all of them by one parameter, as NumPy arrays."""
    simulator = KohnSham(**{**SMALL, **settings}, closure=closure).to(device)
    state = simulator.solve(sample)
    assert state.system.device == torch.device(device)
    observed = simulator.observe(state)
    # forces have derivatives too, which take longer: only those with a closure
    whole = [x for name, x in observed.items() if name != "forces" or closure is not None]
    sum(x.sum() for x in whole if x.requires_grad).backward()
    values = {name: x.detach().cpu().numpy() for name, x in observed.items()}
    values["derivative"] = simulator.exchange_scale.grad.cpu().numpy()
    if closure is not None:
        values["weight"] = closure.weight.grad.cpu().numpy()
    return values


def assert_equal(values, expected):
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        # an SCF to 1e-9 hartree; libcint's integrals against torch's
        scale = max(1.0, np.nanmax(np.abs(value)))
        np.testing.assert_allclose(values[name], value, atol=2e-7 * scale, err_msg=name)


SLOW = "second derivatives"


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=pytest.mark.slow) if c == SLOW else c for c in CASES]
)
def test_nothing_is_left_on_the_cpu(case):
    sample, settings = CASES[case]
    here = calculate(sample, settings, "cpu")
    with other_device() as device:
        there = calculate(sample, settings, device)
    assert_equal(there, here)


def test_nor_by_a_closure():
    settings = {"functional": "PBE", "forces": True}
    here = calculate(PAIR, settings, "cpu", Correction())
    with other_device() as device:
        there = calculate(PAIR, settings, device, Correction().to(device))
    assert_equal(there, here)


def travel(device):
    """A trajectory, its gradient, and sensitivities to basis and charges."""
    simulator = KohnSham(**{**SMALL, "tolerance": 1e-10}).to(device)
    start = torch.tensor(PAIR.positions, device=device)
    path = move(Surface(simulator, PAIR), start, dt=0.4, steps=2)
    bond = path.bond(0, 1).mean()
    bond.backward()
    state = simulator.solve(PAIR)
    functional = simulator.energy_functional(state)
    seen = sensitivities(functional, finish(functional, state.scf))
    results = [bond.detach(), simulator.exchange_scale.grad, *spectrum(path), seen.charges]
    return [x.detach().cpu() for x in (*results, *seen.exponents)]


@pytest.mark.slow
def test_nor_by_dynamics_and_sensitivities():
    here = travel("cpu")
    with other_device() as device:
        there = travel(device)
    for one, other in zip(there, here, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("case", CASES)
def test_whole_calculations_on_a_gpu(case):
    sample, settings = CASES[case]
    assert_equal(calculate(sample, settings, "cuda"), calculate(sample, settings, "cpu"))


def test_a_prepared_molecule_moves():
    simulator = KohnSham(**SMALL)
    state = simulator.solve(PAIR)
    energy = simulator.energy_functional(state).total(state.scf.density_matrix)
    with other_device() as device:
        system = state.system.to(device)
        moved = KohnSham(**SMALL).to(device)
        there = moved.solve(PAIR)
        for one, other in zip(system.molecules, there.system.molecules, strict=True):
            assert one.overlap.device == other.overlap.device == device
            blocks = zip(one.grid.blocks, other.grid.blocks, strict=False)
            assert all(a.orbitals.device == b.orbitals.device == device for a, b in blocks)
        functional = moved.energy_functional(there)
        moved_energy = functional.total(there.scf.density_matrix).cpu()
    torch.testing.assert_close(moved_energy, energy, rtol=0, atol=1e-9)


def test_the_pretended_device_tells():
    cpu = torch.ones(2, 2, dtype=torch.float64)
    with other_device() as device:
        there = cpu.to(device)
        assert isinstance(there, OtherTensor)
        assert isinstance(there + there, OtherTensor)
        assert isinstance(torch.zeros(3, device=device), OtherTensor)
        assert isinstance(torch.tensor([1.0, 2.0], device=device), OtherTensor)
        assert type(there.cpu()) is torch.Tensor
        assert there.sum().item() == 4.0
        assert (there @ there).tolist() == [[2.0, 2.0]] * 2
        with pytest.raises(RuntimeError, match="on the CPU among tensors elsewhere"):
            there + cpu
        with pytest.raises(RuntimeError, match="on the CPU among tensors elsewhere"):
            torch.linalg.solve(there, cpu)
        with pytest.raises(RuntimeError):
            there.numpy()


@pytest.fixture
def no_pyscf(monkeypatch):
    """PySCF cannot be imported, as if it were not installed; only its tables are still there."""
    names = ("sto-3g", "def2-universal-jfit", "ano")
    tables = {(name, number): basis.table(name, number) for name in names for number in (1, 3)}
    for name in [name for name in sys.modules if name.split(".")[0] == "pyscf"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyscf", None)
    monkeypatch.setattr(basis, "has_pyscf", lambda: False)
    monkeypatch.setattr(basis, "_by_exchange", lambda *key: tables[key])
    basis._named.cache_clear()
    yield
    basis._named.cache_clear()


PYSCF_FREE = {**SMALL, "functional": "PBE", "forces": True, "vibrations": True}


@pytest.fixture(scope="module")
def with_pyscf():
    simulator = KohnSham(**PYSCF_FREE)
    return simulator.observe(simulator.solve(PAIR))


def test_the_engine_needs_no_pyscf(with_pyscf, no_pyscf):
    simulator = KohnSham(**PYSCF_FREE)
    state = simulator.solve(PAIR)
    observed = simulator.observe(state)
    for name, value in with_pyscf.items():
        torch.testing.assert_close(observed[name], value, rtol=1e-7, atol=1e-6, msg=name)
    state.density_at(np.zeros((1, 3)))
    with pytest.raises(InputError, match="needs PySCF"):
        state.density_coefficients()
    with pytest.raises(ImportError):
        import pyscf  # noqa: F401


def test_what_needs_pyscf_says_so(no_pyscf):
    for settings, what in (
        ({"integrals": "libcint"}, "needs PySCF"),
        ({"coulomb": "exact"}, "set coulomb='fitted'"),
        ({"guess": "atoms"}, "guess 'atoms' needs PySCF"),
        ({"guess": "sfm-density"}, "^a predicted first density needs PySCF"),
    ):
        with pytest.raises(InputError, match=what):
            KohnSham(**{**SMALL, **settings}).state(PAIR)


def test_tables_of_the_basis_set_exchange_are_pyscfs(monkeypatch):
    pytest.importorskip("basis_set_exchange")
    for name in ("def2-svp", "def2-universal-jfit", "def2-universal-jkfit", "ano"):
        for number in (1, 8, 16):
            shells = Shells.of_tables(
                {number: basis._by_exchange(name, number)},
                torch.tensor([number]),
                torch.zeros(1, 3, dtype=torch.float64),
            )
            molecule = gto.M(atom=[(number, (0, 0, 0))], basis=name, spin=None, verbose=0)
            for ours, theirs in zip(shells.blocks, Shells.of(molecule).blocks, strict=True):
                torch.testing.assert_close(ours.exponents, theirs.exponents, rtol=1e-12, atol=0)
                torch.testing.assert_close(ours.weights(), theirs.weights(), rtol=1e-9, atol=0)
    for name, number, what in (("no-such", 1, "no basis"), ("def2-svp", 53, "pseudopotential")):
        with pytest.raises(InputError, match=what):
            basis._by_exchange(name, number)


@pytest.mark.parametrize(
    "name", ["def2-svp", "cc-pvdz", "ano", {"C": "6-31g", "H": [[1, [0.7, 1]], [0, [2, 1, 2]]]}]
)
def test_shells_of_tables_are_those_of_a_pyscf_molecule(name):
    molecule = gto.M(atom="C 0 0 0; H 0 0 1; H 0 1 0.2", basis=name, verbose=0)
    reference = Shells.of(molecule)
    shells = basis.shells(name, torch.tensor([6, 1, 1]), reference.positions)
    assert shells.size == reference.size == molecule.nao
    for ours, theirs in zip(shells.blocks, reference.blocks, strict=True):
        assert ours.degree == theirs.degree
        for key in ("atoms", "shell", "offsets", "exponents"):
            assert torch.equal(getattr(ours, key), getattr(theirs, key))
        torch.testing.assert_close(ours.weights(), theirs.weights(), rtol=1e-13, atol=0)


@pytest.mark.parametrize("symbol", ["H", "Li", "N", "Ne", "Mg", "Ti", "Cu", "Br", "Xe"])
def test_the_minimal_density_is_pyscfs(symbol):
    molecule = gto.M(atom=f"{symbol} 0 0 0; H 0.1 0.2 1.7", basis="3-21g", spin=None, verbose=0)
    shells, numbers = Shells.of(molecule), torch.tensor(molecule.atom_charges(), dtype=torch.int64)
    reference = scf.hf.init_guess_by_minao(molecule)
    density = minimal_density(shells, numbers).numpy()
    np.testing.assert_allclose(density, reference, atol=1e-9)


def test_the_density_basis_is_its_pyscf_molecules():
    molecule = prepare(PAIR.types, PAIR.positions, basis="sto-3g", grid_level=0)
    reference = Shells.of(density_basis.auxiliary_molecule(molecule.pyscf()))
    projectors = Gaussians.of(molecule).projectors
    for ours, theirs in zip(projectors.blocks, reference.blocks, strict=True):
        assert torch.equal(ours.exponents, theirs.exponents)
        torch.testing.assert_close(ours.weights(), theirs.weights(), rtol=1e-13, atol=0)
