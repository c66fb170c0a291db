"""The molecular-dynamics simulator against exact solutions and conservation laws."""

from __future__ import annotations

import math
import weakref

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.calculators.lj import LennardJones
from ase.md.verlet import VelocityVerlet
from scipy.integrate import quad
from scipy.optimize import brentq
from sfm_molecules.simulators.dynamics import MolecularDynamics

from sfm.constants import ACCELERATION, BOLTZMANN
from sfm.data.readers import read_file
from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning, RunError


class Spring(torch.nn.Module):
    """E = k/2 |x|^2 for each atom."""

    def __init__(self, k: float) -> None:
        super().__init__()
        self.k = torch.nn.Parameter(torch.tensor(k, dtype=torch.float64))

    def forward(self, positions, types, system):
        energy = 0.5 * self.k * positions.square().sum(-1)
        return energy.new_zeros(int(system[-1]) + 1).index_add(0, system, energy)


def atom(position=(1.0, 0.0, 0.0), number=6) -> Sample:
    return Sample(id="atom", domain="molecules", positions=[position], types=[number])


def argon(**options) -> MolecularDynamics:
    return MolecularDynamics(**{"potential": "lennard-jones", "temperature": 20.0, **options})


def oscillator(dt: float, **options) -> MolecularDynamics:
    return MolecularDynamics(potential="none", closure=Spring(2.0), dt=dt, **options)


def angular_momentum(state) -> torch.Tensor:
    return (state.masses * torch.linalg.cross(state.positions, state.velocities)).sum(0)


def test_acceleration_constant_is_that_of_ase():
    assert pytest.approx(units.fs**2, rel=1e-6) == ACCELERATION
    assert pytest.approx(units.kB, rel=1e-6) == BOLTZMANN


def test_harmonic_oscillator_has_its_period_and_verlet_is_of_second_order():
    omega = math.sqrt(2.0 / 12.011 * ACCELERATION)
    errors = []
    for steps in (50, 100, 200, 400):
        simulator = oscillator(2 * math.pi / omega / steps)
        with torch.no_grad():
            # three quarters of a period: the error of the phase shows at first order there
            end = simulator(simulator.state(atom()), 3 * steps // 4)
        exact = math.cos(omega * float(end.time))
        errors.append(abs(float(end.positions[0, 0]) - exact))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert errors[-1] < 1e-3
    np.testing.assert_allclose(orders, 2.0, atol=0.1)


def test_two_argon_atoms_vibrate_with_the_period_of_the_exact_quadrature():
    simulator = argon(dt=2.0)
    epsilon, sigma = simulator.epsilon.item(), simulator.sigma.item()

    def energy(r: float) -> float:
        return 4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6)

    start = 1.3 * sigma
    rest = 2 ** (1 / 6) * sigma
    inner = brentq(lambda r: energy(r) - energy(start), 0.9 * sigma, rest)
    reduced = 39.948 / 2

    def inverse_speed(angle: float) -> float:  # r = middle + half cos(angle): no singularity left
        middle, half = (start + inner) / 2, (start - inner) / 2
        r = middle + half * math.cos(angle)
        speed = math.sqrt(2 * (energy(start) - energy(r)) * ACCELERATION / reduced)
        return half * math.sin(angle) / speed

    period = 2 * quad(inverse_speed, 1e-6, math.pi - 1e-6)[0]
    pair = Sample(
        id="Ar2", domain="molecules", positions=[[0, 0, 0], [start, 0, 0]], types=[18, 18]
    )
    state = simulator.state(pair)
    state = state._replace(velocities=torch.zeros_like(state.velocities))
    distances = []
    with torch.no_grad():
        for _ in range(int(1.2 * period / 2.0)):
            state = simulator(state)
            distances.append(float((state.positions[1] - state.positions[0]).norm()))
    late = np.array(distances)
    late[: len(late) // 2] = 0  # the return to the outer turning point
    top = int(late.argmax())
    left, centre, right = late[top - 1 : top + 2]
    peak = top + 1 + 0.5 * (left - right) / (left - 2 * centre + right)
    assert 2.0 * peak == pytest.approx(period, rel=2e-3)


def test_trajectory_equals_that_of_ase():
    simulator = argon(dt=5.0, temperature=25.0)
    state = simulator.state()
    atoms = Atoms("Ar13", state.positions.numpy())
    atoms.set_masses(state.masses[:, 0].numpy())
    atoms.set_velocities(state.velocities.numpy() / units.fs)
    atoms.calc = LennardJones(
        epsilon=simulator.epsilon.item(), sigma=simulator.sigma.item(), rc=1e4
    )
    VelocityVerlet(atoms, 5.0 * units.fs).run(100)
    with torch.no_grad():
        end = simulator(state, 100)
    # the two sets of physical constants differ in the seventh digit
    np.testing.assert_allclose(end.positions.numpy(), atoms.get_positions(), atol=1e-5)


def test_energy_drift_falls_with_the_square_of_the_time_step():
    drifts = []
    for dt in (20.0, 10.0, 5.0):
        simulator = argon(dt=dt)
        with torch.no_grad():
            run = simulator.run(simulator.state(), int(4000 / dt), every=int(100 / dt))
        energy = run.observables["conserved_energy"][:, 0]
        drifts.append(float((energy - energy[0]).abs().max()))
    kinetic = 1.5 * 13 * BOLTZMANN * 20.0
    assert drifts[1] < 0.01 * kinetic
    orders = np.log2(np.array(drifts[:-1]) / drifts[1:])
    np.testing.assert_allclose(orders, 2.0, atol=0.4)


def test_time_is_reversible_and_momenta_are_conserved():
    simulator = MolecularDynamics(potential="uff", molecule="CCO", dt=0.5, temperature=500.0)
    start = simulator.state()
    with torch.no_grad():
        there = simulator(start, 300)
        back = simulator(there._replace(velocities=-there.velocities), 300)
    torch.testing.assert_close(back.positions, start.positions, atol=1e-9, rtol=0)
    torch.testing.assert_close(back.velocities, -start.velocities, atol=1e-9, rtol=0)
    momentum = (there.masses * there.velocities).sum(0)
    assert momentum.abs().max() < 1e-12
    change = angular_momentum(there) - angular_momentum(start)
    assert change.abs().max() < 1e-11
    assert (there.positions - start.positions).abs().max() > 0.1


def test_what_auto_means():
    atom_of_argon = Sample(id="Ne", domain="molecules", positions=[[0, 0, 0]], types=[18])
    cases = {
        "lennard-jones": (atom_of_argon, None),
        "uff": (None, None),
        "none": (None, Spring(1.0)),
    }
    for potential, (sample, closure) in cases.items():
        simulator = MolecularDynamics(closure=closure)
        simulator.state(sample)
        assert simulator.classical == potential


def test_nothing_is_recorded_for_frozen_parameters():
    simulator = argon(dt=5.0)
    simulator.requires_grad_(False)
    run = simulator.run(simulator.state(), 4, every=2)
    assert not any(s.positions.requires_grad for s in run.states)
    assert not any(v.requires_grad for v in run.observables.values())


def test_batch_equals_singles():
    from sfm_molecules.data.converters import from_rdkit
    from sfm_molecules.geometry.embedding import embed

    simulator = MolecularDynamics(potential="uff", dt=0.5)
    samples = [from_rdkit(embed(s)) for s in ("CCO", "O", "C1CC1")]
    state = simulator.state(samples)
    with torch.no_grad():
        together = simulator(state, 20).positions
        for number, sample in enumerate(samples):
            mine = state.system == number
            alone = simulator.state(sample)._replace(velocities=state.velocities[mine])
            torch.testing.assert_close(simulator(alone, 20).positions, together[mine])


@pytest.mark.parametrize("recompute", [True, False])
def test_gradients_of_a_rollout_are_right(recompute):
    simulator = argon(dt=10.0, recompute=recompute)
    cluster = Sample(
        id="Ar3",
        domain="molecules",
        positions=[[0, 0, 0], [3.9, 0, 0], [0.5, 4.1, 0.2]],
        types=[18] * 3,
    )
    state = simulator.state(cluster)
    names = ("epsilon", "sigma")

    def rollout(epsilon, sigma, positions, velocities, masses):
        with torch.nn.utils.stateless._reparametrize_module(
            simulator, {"epsilon": epsilon, "sigma": sigma}
        ):
            start = state._replace(positions=positions, velocities=velocities, masses=masses)
            end = simulator(start, 12)
        return end.positions, 1e3 * end.velocities

    inputs = [getattr(simulator, name).detach().clone() for name in names]
    inputs += [state.positions, state.velocities, state.masses]
    inputs = [value.clone().requires_grad_() for value in inputs]
    assert torch.autograd.gradcheck(rollout, inputs, eps=1e-6, atol=1e-6, rtol=1e-5)


def test_second_derivatives_of_a_rollout_are_right_on_both_paths():
    curvatures = []
    for recompute in (True, False):
        simulator = argon(dt=10.0, recompute=recompute)
        state = simulator.state()
        end = simulator(state, 3).positions.square().sum()
        slopes = torch.autograd.grad(end, (simulator.epsilon, simulator.sigma), create_graph=True)
        curvatures.append(
            torch.stack(torch.autograd.grad(slopes[1], (simulator.epsilon, simulator.sigma)))
        )
    torch.testing.assert_close(*curvatures, rtol=1e-9, atol=1e-9)


def test_langevin_gradients_to_friction_and_temperature_are_right():
    simulator = argon(dt=5.0, ensemble="langevin")
    state = simulator.state()

    def rollout(friction, temperature):
        with torch.nn.utils.stateless._reparametrize_module(
            simulator, {"friction": friction, "temperature": temperature}
        ):
            return simulator(state, 6).positions

    inputs = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.01, 20.0)]
    assert torch.autograd.gradcheck(rollout, inputs, eps=1e-6, atol=1e-7)


class Held:
    """A tensor that a graph keeps."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def test_a_long_rollout_keeps_one_state_per_step():
    kept = {}
    for recompute in (True, False):
        alive: weakref.WeakSet[Held] = weakref.WeakSet()

        def pack(tensor, alive=alive):
            held = Held(tensor)
            alive.add(held)
            return held

        simulator = argon(dt=5.0, recompute=recompute)
        state = simulator.state()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
            end = simulator(state, 50)
            numbers = sum(held.tensor.numel() for held in alive)
        kept[recompute] = numbers / 50 / end.positions.numel()
    # positions, velocities, forces; masses and parameters; the first force keeps its graph
    assert kept[True] < 5
    assert kept[False] > 10 * kept[True]


def test_langevin_has_the_temperature_of_its_bath_and_equipartition():
    copies = 100
    simulator = oscillator(4.0, ensemble="langevin", temperature=300.0, friction=0.02, seed=1)
    state = simulator.state([atom()] * copies)
    kinetic, potential = [], []
    with torch.no_grad():
        state = simulator(state, 100)
        for _ in range(150):
            state = simulator(state, 10)
            seen = simulator.observe(state)
            kinetic.append(seen["kinetic_temperature"].mean())
            potential.append(seen["energy"].mean() / (1.5 * BOLTZMANN))
    assert float(torch.stack(kinetic).mean()) == pytest.approx(300.0, rel=0.03)
    assert float(torch.stack(potential).mean()) == pytest.approx(300.0, rel=0.03)


@pytest.mark.parametrize("ensemble", ["langevin", "nose-hoover", "velocity-rescaling"])
def test_a_state_determines_its_future(ensemble):
    simulator = argon(ensemble=ensemble, dt=5.0)
    with torch.no_grad():
        whole = simulator(simulator.state(), 10)
        parts = simulator(simulator(simulator.state(), 4), 6)
    assert torch.equal(whole.positions, parts.positions)
    first, last = (simulator.observe(s)["conserved_energy"] for s in (simulator.state(), whole))
    torch.testing.assert_close(first, last, rtol=0, atol=1e-4)  # of 0.03 eV kinetic energy


def test_initial_velocities_have_the_asked_temperature_and_no_momentum():
    simulator = argon(temperature=77.0)
    state = simulator.state()
    seen = simulator.observe(state)
    assert float(seen["kinetic_temperature"][0]) == pytest.approx(77.0)
    assert (state.masses * state.velocities).sum(0).abs().max() < 1e-12


def test_energies_and_trajectory_are_drawn_and_written(tmp_path):
    simulator = argon(dt=10.0)
    with torch.no_grad():
        run = simulator.run(simulator.state(), 20, every=5)
    simulator.plot(run, tmp_path / "energies.png")
    assert (tmp_path / "energies.png").read_bytes()[:4] == b"\x89PNG"
    simulator.write(run, tmp_path / "argon.extxyz")
    seen = simulator.read_observations(tmp_path / "argon.extxyz")
    torch.testing.assert_close(
        seen.values["energy"], run.observables["energy"][:, 0], atol=1e-7, rtol=0
    )
    with pytest.raises(InputError, match="npz"):
        simulator.write(run, tmp_path / "argon.cif")


def fit(simulator, seen, rounds=40) -> dict[str, float]:
    """Gauss-Newton for epsilon and sigma."""
    parameters = [simulator.epsilon, simulator.sigma]
    for _ in range(rounds):
        said = simulator.predict_observations(seen)
        residual = torch.cat([(said[k] - seen.values[k]).reshape(-1) for k in seen.values])
        rows = [torch.autograd.grad(r, parameters, retain_graph=True) for r in residual]
        jacobian = torch.stack([torch.stack(row) for row in rows])
        step = torch.linalg.lstsq(jacobian, -residual.detach().unsqueeze(1)).solution[:, 0]
        with torch.no_grad():
            for parameter, change in zip(parameters, step, strict=True):
                parameter += change
        if step.abs().max() < 1e-12:
            break
    return {"epsilon": simulator.epsilon.item(), "sigma": simulator.sigma.item()}


def test_epsilon_and_sigma_are_recovered_from_energies_and_forces_of_ase(tmp_path):
    rng = np.random.default_rng(1)
    atoms = Atoms("Ar4", [[0, 0, 0], [3.8, 0, 0], [0, 3.8, 0], [0, 0, 3.8]])
    frames = []
    for _ in range(3):
        copy = atoms.copy()
        copy.positions += 0.15 * rng.standard_normal((4, 3))
        copy.calc = LennardJones(epsilon=0.0123, sigma=3.31, rc=1e4)
        frames.append((copy.positions, copy.get_potential_energy(), copy.get_forces()))
    positions, energy, forces = map(np.array, zip(*frames, strict=True))
    path = tmp_path / "argon.npz"
    np.savez(path, positions=positions, types=np.full(4, 18), energy=energy, forces=forces)
    simulator = MolecularDynamics()
    parameters = fit(simulator, simulator.read_observations(path))
    assert parameters["epsilon"] == pytest.approx(0.0123, rel=1e-8)
    assert parameters["sigma"] == pytest.approx(3.31, rel=1e-8)


def test_epsilon_and_sigma_are_recovered_from_a_trajectory(tmp_path):
    truth = argon(epsilon=0.0110, sigma=3.38, dt=10.0)
    cluster = Sample(
        id="Ar3",
        domain="molecules",
        positions=[[0, 0, 0], [3.9, 0, 0], [0.5, 4.1, 0.2]],
        types=[18] * 3,
    )
    with torch.no_grad():
        run = truth.run(truth.state(cluster), 24, every=12)
    path = tmp_path / "argon.npz"
    np.savez(
        path,
        types=np.full(3, 18),
        positions=torch.stack([s.positions for s in run.states]).numpy(),
        velocities=torch.stack([s.velocities for s in run.states]).numpy(),
        times=run.times.numpy(),
    )
    simulator = argon(dt=10.0)
    parameters = fit(simulator, simulator.read_observations(path))
    assert parameters["epsilon"] == pytest.approx(0.0110, rel=1e-6)
    assert parameters["sigma"] == pytest.approx(3.38, rel=1e-6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"types": [18, 18]}, "no array 'positions'"),
        ({"positions": np.zeros((2, 3, 3)), "types": [18] * 3}, "nothing to fit to"),
        (
            {"positions": np.zeros((2, 3, 3)), "types": [18] * 3, "energy": [0.0]},
            r"'energy' has shape \(1,\), not \(2,\)",
        ),
        (
            {"positions": np.zeros((1, 2, 3)), "types": [18] * 2, "energy": [np.nan]},
            r"'energy' is not finite at index \(0,\)",
        ),
    ],
)
def test_bad_observations_are_explained(tmp_path, arrays, message):
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=message):
        MolecularDynamics().read_observations(path)


def test_misuse_is_explained():
    crystal = Sample(
        id="NaCl", domain="crystals", positions=[[0, 0, 0]], types=[11], cell=np.eye(3), pbc=True
    )
    with pytest.raises(InputError, match="open boundaries"):
        MolecularDynamics().state(crystal)
    with pytest.raises(InputError, match="positive"):
        MolecularDynamics(dt=0.0)
    pair = Sample(id="Ar2", domain="molecules", positions=np.zeros((2, 3)), types=[18, 18])
    simulator = MolecularDynamics()
    with pytest.raises(RunError, match="starting geometry"), torch.no_grad():
        simulator(simulator.state(pair))


def test_heavy_water_has_the_masses_of_its_isotopes_however_they_are_written(tmp_path):
    texts = {
        "d.xyz": "3\n\nO 0 0 0.119\nD 0 0.763 -0.477\nD 0 -0.763 -0.477\n",
        "m.extxyz": "3\nProperties=species:S:1:pos:R:3:masses:R:1\nO 0 0 0.119 15.999\n"
        "H 0 0.763 -0.477 2.014\nH 0 -0.763 -0.477 2.014\n",
        "s.smi": "[2H]O[2H]\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        (sample,) = read_file(tmp_path / name)
        simulator = MolecularDynamics(potential="uff", temperature=300.0)
        state = simulator.state(sample)
        assert float(state.masses.sum()) == pytest.approx(15.999 + 2 * 2.014, abs=1e-3)
        assert float(simulator.observe(state)["kinetic_temperature"][0]) == pytest.approx(300.0)


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "nose-hoover", "velocity-rescaling"])
def test_fixed_atoms_and_coordinates_stay_where_they_are(ensemble):
    simulator = argon(ensemble=ensemble, temperature=30.0, friction=0.01)
    free = simulator.state()
    fixed = np.zeros((13, 3), dtype=bool)
    fixed[:3] = True
    fixed[5, 2] = True
    sample = Sample(
        id="Ar13",
        domain="molecules",
        positions=free.positions.detach().numpy(),
        types=free.types.numpy(),
        fixed=fixed,
    )
    with torch.no_grad():
        state = simulator.state(sample)
        seen = simulator.observe(state)
        end = simulator(state, 50)
        after = simulator.observe(end)
    moved = (end.positions - state.positions).numpy()
    assert (moved[fixed] == 0).all()
    assert (moved[~fixed] != 0).all()
    assert float(seen["kinetic_temperature"][0]) == pytest.approx(30.0)
    assert (seen["forces"][1] != 0).any()  # the force on a fixed atom is still known
    if ensemble == "nve":
        drift = float((after["conserved_energy"] - seen["conserved_energy"]).abs())
        assert drift < 1e-3 * float(seen["nuclear_kinetic_energy"])


def test_charge_and_spin_reach_a_closure_that_asks_for_them():
    class Capacitor(torch.nn.Module):
        conditions = ("charge", "spin")

        def forward(self, positions, types, system, conditions):
            stretch = positions.square().sum(1)
            energy = torch.zeros(int(system[-1]) + 1, dtype=positions.dtype)
            energy = energy.index_add(0, system, stretch)
            return energy * (1 + conditions["charge"]) + conditions["spin"]

    atoms = Sample(id="a", domain="molecules", positions=[[0, 0, 1.0], [0, 1.0, 0]], types=[1, 1])
    samples = [
        atoms.replace(conditions={"charge": q, "spin": s}) for q, s in ((0, 0), (1, 1), (3, 5))
    ]
    simulator = MolecularDynamics(closure=Capacitor(), recompute=True)
    state = simulator.state(samples)
    assert simulator.observe(state)["energy"].tolist() == [2.0, 5.0, 13.0]
    positions = state.positions.clone().requires_grad_()
    end = simulator(state._replace(positions=positions), 3)  # through the recomputed steps, too
    alone = simulator(simulator.state(samples[1]), 3)
    assert end.positions.requires_grad
    assert (end.types == 1).all()
    assert alone.positions.shape == (2, 3)


def test_observations_state_charge_and_masses(tmp_path):
    from ase.io import write

    frames = []
    for x in (1.0, 1.1):
        atoms = Atoms("OH", [[0, 0, 0], [0, 0, x]], info={"charge": -1, "energy": -x})
        atoms.set_masses([15.999, 2.014])
        frames.append(atoms)
    write(tmp_path / "oh.extxyz", frames)
    with pytest.warns(InputWarning, match="charge of the sample do not enter"):
        seen = argon().read_observations(tmp_path / "oh.extxyz")
    assert seen.state.charge.tolist() == [-1, -1]
    np.testing.assert_allclose(seen.state.masses[:, 0].numpy(), [15.999, 2.014] * 2)
    frames[1].info["charge"] = 0
    write(tmp_path / "oh.extxyz", frames)
    with pytest.raises(InputError, match="frame 2: its charge is not that of frame 1"):
        argon().read_observations(tmp_path / "oh.extxyz")
