"""Molecular dynamics in periodic cells against ASE, conservation laws and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.md.verlet import VelocityVerlet
from ase.units import fs
from sfm_crystals.data.converters import from_ase
from sfm_crystals.data.prototypes import diamond, fcc, repeated
from sfm_crystals.simulators.dynamics import MolecularDynamics

from sfm.cli import main
from sfm.data.bundled import example
from sfm.data.rigid import with_rigid
from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning

ENSEMBLES = ("nve", "langevin", "nose-hoover", "velocity-rescaling", "npt", "npt-anisotropic")
ISOBARIC = ENSEMBLES[4:]


def rattled(a: float = 5.3, times: int = 1, seed: int = 0, size: float = 0.05) -> Sample:
    sample = repeated(fcc(18, a), times)
    noise = np.random.default_rng(seed).standard_normal(sample.positions.shape)
    return sample.replace(positions=sample.positions + size * noise)


def test_energy_forces_and_trajectory_are_those_of_ase():
    simulator = MolecularDynamics(switch="xplor", dt=5.0, temperature=60.0)
    atoms = bulk("Ar", "fcc", 5.4, cubic=True).repeat(2)
    atoms.positions += 0.1 * np.random.default_rng(0).standard_normal((32, 3))
    reach = 3 * simulator.sigma.item()
    atoms.calc = LennardJones(
        epsilon=simulator.epsilon.item(),
        sigma=simulator.sigma.item(),
        rc=reach,
        ro=0.66 * reach,
        smooth=True,
    )
    state = simulator.state(from_ase(atoms))
    with torch.no_grad():
        seen = simulator.observe(state)
    assert float(seen["energy"][0]) == pytest.approx(atoms.get_potential_energy(), rel=1e-11)
    np.testing.assert_allclose(seen["forces"].numpy(), atoms.get_forces(), atol=1e-12)
    atoms.set_masses(state.masses[:, 0].numpy())
    atoms.set_velocities(state.velocities.numpy() / fs)
    pressure = -atoms.get_stress(include_ideal_gas=True)[:3].mean() * 160.21766208
    kinetic = float(seen["nuclear_kinetic_energy"][0])
    # ASE counts 3 n degrees of freedom where n k_B T / V is meant, here 3 n - 3
    share = 2 * kinetic / 3 / float(seen["volume"][0]) * (32 / 31 - 1) * 160.21766208
    assert float(seen["pressure"][0]) == pytest.approx(pressure + share, rel=1e-6)
    VelocityVerlet(atoms, 5.0 * fs).run(60)
    with torch.no_grad():
        end = simulator(state, 60)
    # the two sets of physical constants differ in the seventh digit
    np.testing.assert_allclose(end.positions.numpy(), atoms.get_positions(), atol=1e-5)
    assert 0 < simulator.neighbours.builds < 30


def test_the_drift_of_the_energy_falls_with_the_square_of_the_step():
    drifts = []
    for dt in (16.0, 8.0, 4.0):
        simulator = MolecularDynamics(dt=dt, temperature=60.0)
        with torch.no_grad():
            state = simulator.state(rattled(times=2))
            run = simulator.run(state, int(1600 / dt), every=int(32 / dt))
        energy = run.observables["conserved_energy"][:, 0]
        drifts.append(float((energy - energy[0]).abs().max()))
    orders = np.log2(np.array(drifts[:-1]) / drifts[1:])
    np.testing.assert_allclose(orders, 2.0, atol=0.4)


@pytest.mark.parametrize("ensemble", ENSEMBLES[1:4])
def test_what_the_bath_gives_is_in_the_conserved_energy(ensemble):
    changes = []
    for dt in (8.0, 4.0):
        simulator = MolecularDynamics(ensemble=ensemble, dt=dt, temperature=60.0)
        with torch.no_grad():
            state = simulator.state(rattled())
            run = simulator.run(state, int(1600 / dt), every=int(32 / dt))
        kinetic = run.observables["nuclear_kinetic_energy"][:, 0]
        energy = run.observables["conserved_energy"][:, 0]
        changes.append(float((energy - energy[0]).abs().max() / kinetic.std()))
    assert changes[0] < 0.05
    assert changes[1] < 0.4 * changes[0]


PARAMETERS = {
    "nve": (),
    "langevin": ("friction", "temperature"),
    "nose-hoover": ("thermostat_time", "temperature"),
    "velocity-rescaling": ("thermostat_time", "temperature"),
    **dict.fromkeys(
        ISOBARIC, ("thermostat_time", "temperature", "pressure", "compressibility", "barostat_time")
    ),
}


RIGID = with_rigid(rattled(), np.array([[0, 1], [1, 2], [0, 3]]))


@pytest.mark.parametrize(
    ("ensemble", "sample"),
    [*((e, rattled()) for e in ENSEMBLES), *((e, RIGID) for e in ENSEMBLES[:2])],
)
def test_gradients_through_a_hundred_steps_are_finite_differences(ensemble, sample):
    simulator = MolecularDynamics(
        ensemble=ensemble, dt=5.0, temperature=40.0, pressure=0.05, thermostat_time=60.0
    )
    state = simulator.state(sample)
    names = ("epsilon", "sigma", *PARAMETERS[ensemble])
    weights = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1)).double()

    def loss(shift: torch.Tensor) -> torch.Tensor:
        direction = weights[0].roll(1, 0)
        end = simulator(state._replace(positions=state.positions + shift * direction), 100)
        moved = (weights[0] * end.positions).sum() + 100 * (weights[1] * end.velocities).sum()
        return moved + end.cell.diagonal(dim1=1, dim2=2).sum() + 3 * end.cell[0, 0, 1]

    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    tensors = [getattr(simulator, name) for name in names]
    gradients = torch.autograd.grad(loss(shift), [*tensors, shift])
    simulator.requires_grad_(False)
    for name, tensor, gradient in zip((*names, "shift"), [*tensors, shift], gradients, strict=True):
        step = 1e-5 * max(float(tensor.detach().abs()), 0.01)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                tensor += sign * step
                values.append(float(loss(shift)))
                tensor -= sign * step
        difference = (values[0] - values[1]) / (2 * step)
        assert float(gradient) == pytest.approx(difference, rel=1e-4), name


def test_second_derivatives_through_rigid_bonds():
    simulator = MolecularDynamics(dt=5.0, temperature=40.0, potential="lennard-jones")
    state = simulator.state(RIGID)

    def end(x: torch.Tensor) -> torch.Tensor:
        return simulator(state._replace(positions=x), 3).positions.square().sum(1)

    x = state.positions.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(end, (x,), atol=1e-4)


def test_bonds_across_the_boundary_are_kept_in_each_copy():
    sample = fcc(18, 5.3)
    moved = sample.positions.copy()
    moved[2] -= (5.3, 0, 0)  # an image of this atom is the nearest
    bent = with_rigid(sample.replace(positions=moved), np.array([[0, 2], [1, 2]]))
    simulator = MolecularDynamics(dt=5.0, temperature=40.0, repeat=2)
    with torch.no_grad():
        state = simulator.state(bent)
        end = simulator(state, 20)
    rigid = end.rigid
    assert rigid is not None
    assert len(end.rigid_pairs) == 16
    kept = rigid.incidence.abs().amax(2) > 0
    sizes = rigid.bonds(end.positions, end.cell).norm(dim=2)
    torch.testing.assert_close(sizes[kept], rigid.lengths[kept], rtol=1e-12, atol=0)
    assert float(rigid.lengths[kept].max()) < 4.0
    for isobaric in ISOBARIC:
        with pytest.raises(InputError, match="bonds that are to keep"):
            MolecularDynamics(ensemble=isobaric).state(bent)
        with pytest.raises(InputError, match="bonds that are to keep"):
            MolecularDynamics(ensemble=isobaric)(state, 1)


def test_recomputed_and_kept_steps_have_the_same_gradient():
    gradients = []
    for recompute in (True, False):
        simulator = MolecularDynamics(ensemble="npt", recompute=recompute, temperature=40.0)
        end = simulator(simulator.state(rattled()), 10)
        end.positions.square().sum().backward()
        gradients.append(torch.stack([simulator.sigma.grad, simulator.compressibility.grad]))
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=0)


@pytest.mark.parametrize("ensemble", ENSEMBLES[:4])
def test_fixed_atoms_and_coordinates_stay(ensemble):
    sample = rattled()
    fixed = np.zeros((4, 3), dtype=bool)
    fixed[0] = True
    fixed[2, 1] = True
    simulator = MolecularDynamics(ensemble=ensemble, temperature=40.0)
    with torch.no_grad():
        state = simulator.state(sample.replace(fixed=fixed))
        end = simulator(state, 20)
    moved = (end.positions - state.positions).numpy()
    assert (moved[fixed] == 0).all()
    assert (moved[~fixed] != 0).all()
    for isobaric in ISOBARIC:
        with pytest.raises(InputError, match="some atoms are fixed"):
            MolecularDynamics(ensemble=isobaric).state(sample.replace(fixed=fixed))
        with pytest.raises(InputError, match="some atoms are fixed"):
            MolecularDynamics(ensemble=isobaric)(state, 1)


@pytest.mark.parametrize("ensemble", ["nve", "nose-hoover"])
def test_a_batch_is_its_systems(ensemble):
    simulator = MolecularDynamics(ensemble=ensemble, temperature=40.0)
    samples = [rattled(5.3), rattled(5.6, times=2, seed=1)]
    with torch.no_grad():
        state = simulator.state(samples)
        together = simulator(state, 20)
        pressures = simulator.observe(together)["pressure"]
        for number, sample in enumerate(samples):
            mine = state.system == number
            alone = simulator.state(sample)._replace(velocities=state.velocities[mine])
            single = simulator(alone, 20)
            torch.testing.assert_close(single.positions, together.positions[mine])
            pressure = simulator.observe(single)["pressure"][0]
            torch.testing.assert_close(pressure, pressures[number])


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_a_state_determines_its_future_in_both_precisions(ensemble):
    for dtype in (torch.float32, torch.float64):
        simulator = MolecularDynamics(ensemble=ensemble, temperature=40.0, dtype=dtype)
        with torch.no_grad():
            state = simulator.state(rattled())
            whole, parts = simulator(state, 12), simulator(simulator(state, 5), 7)
        assert whole.positions.dtype == dtype
        torch.testing.assert_close(whole.positions, parts.positions, rtol=0, atol=1e-4)
        if dtype == torch.float64:
            torch.testing.assert_close(whole.positions, parts.positions, rtol=1e-13, atol=0)


def test_silicon_keeps_its_energy():
    simulator = MolecularDynamics(potential="stillinger-weber", temperature=300.0)
    with torch.no_grad():
        run = simulator.run(simulator.state(diamond(14, 5.431)), 20, every=5)
    energy = run.observables["conserved_energy"][:, 0]
    kinetic = run.observables["nuclear_kinetic_energy"][:, 0]
    # velocity Verlet's own swing is (w dt)^2 / 8, 1.3e-3 for the fastest phonon (16 THz)
    assert float((energy - energy[0]).abs().max()) < 3e-3 * float(kinetic[0])
    assert float(kinetic[0]) == pytest.approx(1.5 * 7 * 8.617333262e-5 * 300)


def test_misuse_is_explained():
    with pytest.raises(InputError, match="potential=none leaves no energy"):
        MolecularDynamics(potential="none")
    with pytest.raises(InputError, match="temperature above 0"):
        MolecularDynamics(ensemble="npt", temperature=0.0)
    with pytest.raises(InputError, match="repeat=0"):
        MolecularDynamics(repeat=0)
    salt = fcc(11, 5.6).replace(types=[11, 17, 11, 17])
    with pytest.raises(InputError, match="one kind of atom"):
        MolecularDynamics().state(salt)
    with pytest.raises(InputError, match="periodic in three"):
        MolecularDynamics().state(fcc(18, 5.3).replace(pbc=(True, True, False)))
    with pytest.warns(InputWarning, match="element 36"):
        MolecularDynamics().state(fcc(36, 5.7))


def test_the_command_line_draws_and_writes(tmp_path, capsys):
    from ase.io import read

    picture, frames = tmp_path / "argon.png", tmp_path / "argon.extxyz"
    words = ["simulate", "crystals/molecular-dynamics", "--input", str(example("argon.cif"))]
    words += ["--steps", "4", "--set", "repeat=2", "--set", "ensemble=npt", "--every", "2"]
    assert main([*words, "--plot", str(picture), "--output", str(frames)]) == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert "GPa" in capsys.readouterr().out
    last = read(frames, ":")[-1]
    assert len(last) == 32
    assert last.pbc.all()
    assert last.info["time"] == 40.0
    assert np.abs(last.get_velocities()).max() > 0
