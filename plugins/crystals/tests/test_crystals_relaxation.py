"""Relaxed cells against lattice sums and published silicon, and their implicit derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sfm_crystals.constants import GPA
from sfm_crystals.data.prototypes import diamond, fcc, repeated
from sfm_crystals.simulators.lattice import LatticeStatics
from sfm_crystals.statics import equation_of_state
from sfm_crystals.statics.elasticity import moduli

import sfm
from sfm.errors import InputError, OutsideError, RunError

# fcc lattice sums in units of the nearest-neighbour distance: Jones & Ingham (1925), as in Kittel
A6, A12 = 14.45392, 12.13188


def test_fcc_argon_has_the_energy_and_spacing_of_the_lattice_sums():
    by_cutoff = {}
    for cutoff in (8.0, 16.0):
        simulator = LatticeStatics(cutoff=cutoff, epsilon=1.0, sigma=1.0)
        state = simulator.state(fcc(18, 1.6, primitive=True))
        with torch.no_grad():
            relaxed = simulator.relax(state)
            energy = float(simulator.energy(relaxed))
        spacing = (2**0.5 * float(relaxed.volume())) ** (1 / 3)  # of nearest neighbours
        by_cutoff[cutoff] = np.array([energy, spacing])
    # what lies beyond the cutoff is proportional to cutoff^-3
    energy, spacing = (8 * by_cutoff[16.0] - by_cutoff[8.0]) / 7
    assert energy == pytest.approx(-(A6**2) / (2 * A12), rel=1e-6)
    assert spacing == pytest.approx((2 * A12 / A6) ** (1 / 6), rel=1e-6)


def test_silicon_has_the_published_lattice_constant_and_energy():
    """Stillinger & Weber (1985): a = 5.431 angstrom, E = -2 epsilon = -4.3366 eV per atom."""
    simulator = LatticeStatics(potential="stillinger-weber")
    with torch.no_grad():
        relaxed = simulator.relax(simulator.state())
        energy = float(simulator.energy(relaxed)) / 8
    assert float(relaxed.volume()) ** (1 / 3) == pytest.approx(5.4310, abs=2e-4)
    assert energy == pytest.approx(-2 * 2.1683, rel=1e-6)
    assert simulator.residual(relaxed) < simulator.tolerance


def test_silicon_has_the_published_elastic_constants():
    """C11 151.4, C12 76.4, C44 56.4 GPa and B 101.4 (Balamane et al., PRB 46, 2250, 1992).

    Their unrelaxed C44, 117.2, goes with their epsilon of 2.3153 eV (cohesive energy 4.63 eV), with
    which the others are 161.6, 81.6 and 60.3; matscipy 1.3.1 gives 109.757 for ours.
    """
    simulator = LatticeStatics(potential="stillinger-weber")
    with torch.no_grad():
        relaxed = simulator.relax(simulator.state(diamond(14, 5.4, primitive=True)))
        c = simulator.elastic_constants(relaxed)
        clamped = simulator.elastic_constants(relaxed, clamped=True)
    assert float(c[0, 0]) == pytest.approx(151.4, abs=0.1)
    assert float(c[0, 1]) == pytest.approx(76.4, abs=0.1)
    assert float(c[3, 3]) == pytest.approx(56.4, abs=0.1)
    assert float(clamped[3, 3]) == pytest.approx(109.757, abs=0.002)
    assert float(clamped[3, 3]) * 2.3153 / 2.1683 == pytest.approx(117.2, abs=0.1)
    assert float(moduli(c).bulk) == pytest.approx(101.4, abs=0.1)
    cubic = torch.block_diag(
        (c[0, 0] - c[0, 1]) * torch.eye(3).double() + c[0, 1], c[3, 3] * torch.eye(3).double()
    )
    torch.testing.assert_close(c, cubic, rtol=0, atol=1e-5)


def test_pair_potentials_obey_cauchys_relation_and_supercells_agree():
    simulator = LatticeStatics()
    with torch.no_grad():
        one = simulator.relax(simulator.state(fcc(18, 5.3, primitive=True)))
        c = simulator.elastic_constants(one)
        four = simulator.elastic_constants(simulator.relax(simulator.state()))
    assert float(c[0, 1]) == pytest.approx(float(c[3, 3]), rel=1e-8)
    torch.testing.assert_close(c, four, rtol=0, atol=1e-5)


def test_equation_of_state_agrees_with_ase_and_with_elasticity():
    from ase.eos import EquationOfState

    simulator = LatticeStatics(potential="stillinger-weber")
    with torch.no_grad():
        relaxed = simulator.relax(simulator.state(diamond(14, 5.4, primitive=True)))
        volume, energy = simulator.energy_volume(relaxed, points=11, width=0.02)
        ours = equation_of_state.fit(volume, energy)
        b = float(moduli(simulator.elastic_constants(relaxed)).bulk)
    reference = EquationOfState(volume.numpy(), energy.numpy(), "birchmurnaghan")
    v0, e0, b0 = reference.fit(warn=False)
    assert float(ours.volume) == pytest.approx(v0, rel=1e-7)
    assert float(ours.energy) == pytest.approx(e0, rel=1e-9)
    assert float(ours.bulk_modulus) == pytest.approx(b0 * GPA, rel=1e-5)
    assert float(ours.derivative) == pytest.approx(reference.eos_parameters[2], rel=1e-4)
    assert float(ours.bulk_modulus) == pytest.approx(b, rel=2e-3)
    assert float(ours(ours.volume)) == pytest.approx(e0, rel=1e-9)


@pytest.mark.parametrize("potential", ["lennard-jones", "stillinger-weber"])
def test_relaxed_cells_follow_the_scaling_laws_exactly(potential):
    """a is proportional to sigma and E to epsilon; dV/dP = -V/B; dH/dP = V."""
    simulator = LatticeStatics(potential=potential)
    relaxed = simulator.relax(simulator.state())
    volume = relaxed.volume().sum()
    energy = simulator.energy(relaxed).sum()
    inputs = (simulator.epsilon, simulator.sigma, simulator.pressure)
    along_volume = torch.autograd.grad(volume, inputs, retain_graph=True)
    along_energy = torch.autograd.grad(energy, inputs[:2])
    c = simulator.elastic_constants(relaxed).detach()
    v, e = volume.item(), energy.item()
    assert along_volume[0].item() == pytest.approx(0.0, abs=1e-4)
    assert along_volume[1].item() == pytest.approx(3 * v / simulator.sigma.item(), rel=1e-9)
    assert along_volume[2].item() == pytest.approx(-v / float(moduli(c).bulk), rel=1e-6)
    assert along_energy[0].item() == pytest.approx(e / simulator.epsilon.item(), rel=1e-9)
    assert along_energy[1].item() == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("name", ["epsilon", "sigma", "three_body", "pressure"])
def test_implicit_derivatives_are_finite_differences(name):
    """Under pressure, where nothing is simple; elongation, volume and energy of a sheared start."""

    def relaxed(change: float) -> tuple[LatticeStatics, torch.Tensor]:
        start = {"epsilon": 2.1683, "sigma": 2.0951, "three_body": 21.0, "pressure": 5.0}
        start[name] += change
        simulator = LatticeStatics(potential="stillinger-weber", **start)
        state = simulator.relax(simulator.state(diamond(14, 5.4, primitive=True)))
        return simulator, torch.stack([state.volume()[0], simulator.energy(state)[0]])

    simulator, out = relaxed(0.0)
    h = 1e-4
    with torch.no_grad():
        expected = (relaxed(h)[1] - relaxed(-h)[1]) / (2 * h)
    for value, reference in zip(out, expected, strict=True):
        (slope,) = torch.autograd.grad(value, getattr(simulator, name), retain_graph=True)
        assert slope.item() == pytest.approx(reference.item(), rel=2e-6, abs=2e-6)


def test_atoms_inside_a_fixed_cell_follow_parameters():
    """In a sheared cell of silicon the two sublattices shift against each other."""
    sheared = diamond(14, 5.431, primitive=True)
    assert sheared.cell is not None
    strain = np.eye(3) + 0.03 * np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    sample = sheared.replace(positions=sheared.positions @ strain, cell=sheared.cell @ strain)

    def bond(three_body: float) -> tuple[LatticeStatics, torch.Tensor]:
        simulator = LatticeStatics(
            potential="stillinger-weber", relax_cell="fixed", three_body=three_body
        )
        state = simulator.relax(simulator.state(sample))
        return simulator, torch.linalg.vector_norm(state.positions[1] - state.positions[0])

    simulator, length = bond(21.0)
    (slope,) = torch.autograd.grad(length, simulator.three_body)
    with torch.no_grad():
        expected = (bond(21.01)[1] - bond(20.99)[1]) / 0.02
    assert abs(float(expected)) > 1e-5
    assert slope.item() == pytest.approx(float(expected), rel=1e-5)


def test_relaxation_under_pressure_balances_it():
    simulator = LatticeStatics(potential="stillinger-weber", pressure=10.0)
    with torch.no_grad():
        observed = simulator.observe(simulator.relax(simulator.state()))
    assert float(observed["pressure"]) == pytest.approx(10.0, rel=1e-9)
    assert float(observed["forces"].abs().max()) < 1e-8


def test_fire_converges_and_differentiates_to_the_implicit_derivative():
    simulator = LatticeStatics(potential="stillinger-weber")
    start = simulator.state(diamond(14, 5.5, primitive=True))
    unrolled = simulator(start, 80)
    implicit = simulator.relax(start)
    for state in (unrolled, implicit):
        (slope,) = torch.autograd.grad(state.volume().sum(), simulator.sigma)
        v = state.volume().item()
        assert slope.item() == pytest.approx(3 * v / simulator.sigma.item(), rel=1e-5)
    assert simulator.warnings(unrolled) == ()
    assert "not relaxed" in simulator.warnings(start)[0]


def test_a_run_names_the_settings_that_it_does_not_use():
    simulator = LatticeStatics(potential="stillinger-weber", max_steps=20, tolerance=0.05)
    start = simulator.state(diamond(14, 5.5, primitive=True))
    assert simulator.run(start, 2).warnings[-1].startswith("tolerance and max_steps: of `relax`")
    plain = LatticeStatics(potential="stillinger-weber").run(start, 2)
    assert not any("max_steps" in line for line in plain.warnings)


def test_one_fire_step_passes_gradcheck():
    simulator = LatticeStatics(potential="stillinger-weber")
    start = simulator.state(diamond(14, 5.5, primitive=True))
    start = start.replace(positions=start.positions + torch.tensor([[0.1, 0.0, 0.05], [0, 0, 0]]))
    with torch.no_grad():
        start = simulator(start, 3)

    def step(positions, cell, velocity):
        out = simulator(start.replace(positions=positions, cell=cell, velocity=velocity), 2)
        return out.positions, out.cell, out.velocity, out.strain_velocity

    inputs = [start.positions, start.cell, start.velocity]
    assert torch.autograd.gradcheck(step, [x.clone().requires_grad_() for x in inputs], atol=1e-6)


def test_a_run_without_parameters_to_train_keeps_no_graph():
    simulator = LatticeStatics().requires_grad_(False)
    trajectory = simulator.run(simulator.state(), 3, every=1)
    assert not trajectory.states[-1].positions.requires_grad
    assert not trajectory.observables["energy"].requires_grad


def test_the_result_of_a_relaxation_is_its_last_record():
    simulator = LatticeStatics().requires_grad_(False)
    trajectory = simulator.run(simulator.state(), 200)
    last = simulator.result(trajectory)
    assert trajectory.converged is True
    assert trajectory.warnings == ()
    assert last["energy"].shape == ()  # one system: no axis of systems
    assert last["forces"].shape == (4, 3)
    assert last["energy"] == trajectory.observables["energy"][-1, 0]
    short = simulator.run(simulator.state(), 2)
    assert short.converged is False
    assert "not relaxed yet" in short.warnings[0]


def test_mistakes_are_told_in_one_line():
    with pytest.raises(InputError, match="potential=none leaves no energy"):
        LatticeStatics(potential="none")
    with pytest.raises(InputError, match="stillinger-weber"):
        LatticeStatics(potential="stillinger")
    argon = LatticeStatics()
    slab = fcc(18, 5.3).replace(pbc=np.array([True, True, False]))
    with pytest.raises(InputError, match="periodic in three directions"):
        argon.state(slab)
    impatient = LatticeStatics(max_steps=20, tolerance=1e-30)
    with pytest.raises(RunError, match="raise max_steps"):
        impatient.relax(impatient.state())
    torn = LatticeStatics(pressure=-5.0)
    with pytest.raises(RunError, match="holds it together"):
        torn.relax(torn.state())
    squeezed = argon.state(fcc(18, 5.0))
    with pytest.raises(InputError, match="relax it at zero pressure"):
        argon.elastic_constants(squeezed)
    volume = torch.linspace(30, 40, 6).double()
    with pytest.raises(InputError, match="no minimum"):
        equation_of_state.fit(volume, volume / 10)


class Falling(torch.nn.Module):
    """An energy without a repulsive wall: it falls as the atoms come together."""

    def forward(self, positions, types, cell, system):
        return 0.5 * torch.linalg.det(cell).abs()


def test_steps_that_collapse_are_named_too():
    simulator = LatticeStatics(closure=Falling(), potential="none")
    with pytest.raises(RunError, match=r"collapsed: from 16.* per atom, Cu-Cu .* apart"):
        simulator.run(simulator.batch([fcc(29, 4.05)]), 400, every=20)
    torn = LatticeStatics(pressure=-5.0)
    with pytest.raises(RunError, match="holds it together"):
        torn.run(torn.state(), 400, every=20)


def test_a_cell_that_collapses_is_named():
    simulator = LatticeStatics(closure=Falling(), potential="none")
    with pytest.raises(RunError, match=r"collapsed: from 16.* per atom, Cu-Cu .* apart"):
        simulator.relax(simulator.batch([fcc(29, 4.05)]))


def test_a_closure_that_refuses_where_its_forces_led_is_a_collapse():
    """The search may pass through what is refused, but not end there."""
    model = sfm.load("sfm-tiny")
    simulator = LatticeStatics(closure=model.closure("crystals"), tolerance=1e-5)
    with pytest.raises(OutsideError, match=r"Ti.* apart|periodic image"):
        simulator.relax(simulator.batch([fcc(22, 2.5)]))
    relaxed = simulator.relax(simulator.batch([fcc(13, 4.0)]))
    assert 12.0 < float(relaxed.volume()[0].detach()) / 4 < 21.0  # aluminium: 16.6 by experiment


@pytest.mark.parametrize("relax_cell", ["fixed", "full"])
def test_both_minimisers_come_to_one_minimum_in_a_batch(relax_cell):
    """Atoms shaken, atoms and cell; L-BFGS asks for forces less often than FIRE."""
    shaken = repeated(fcc(18, 5.3), 2)
    noise = 0.2 * np.random.default_rng(0).standard_normal((2, *shaken.positions.shape))
    samples = [shaken.replace(positions=shaken.positions + one) for one in noise]
    results, counts = [], []
    for minimiser in ("fire", "lbfgs"):
        simulator = LatticeStatics(relax_cell=relax_cell, minimiser=minimiser, tolerance=1e-8)
        simulator.requires_grad_(False)
        drive, asked = simulator._drive, []
        simulator._drive = lambda cells, mode, drive=drive, asked=asked: (
            asked.append(mode) or drive(cells, mode)
        )
        relaxed = simulator.relax(simulator.batch(samples))
        results.append(torch.stack([simulator.energy(relaxed), relaxed.volume()]))
        counts.append(len(asked))
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-9)
    assert counts[1] < counts[0]
