"""Barriers against ase's elastic band and dimer, published copper, and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.calculators.lj import LennardJones
from ase.io import read, write
from ase.mep import NEB, DimerControl, MinModeAtoms, MinModeTranslate
from ase.optimize import FIRE
from sfm_crystals.data.converters import to_ase
from sfm_crystals.data.prototypes import fcc, repeated
from sfm_crystals.simulators.transition_state import TransitionState, hop

from sfm.cli import main
from sfm.errors import InputError

ARGON = hop(repeated(fcc(18, 5.26), 2))
# relative to sigma, so that 31 atoms see each image of a neighbour once
SHORT = {"cutoff": 1.5, "switch": "xplor"}


def ended(simulator, state):
    return simulator.run(state, 300)


def test_the_barrier_is_that_of_ase():
    """ase's NEB, tangents, FIRE and Lennard-Jones, from the ends that we relaxed."""
    simulator = TransitionState(images=3, force_tolerance=0.001, **SHORT).requires_grad_(False)
    band = simulator.between(*ARGON)
    ours = ended(simulator, band)
    assert ours.converged

    images = []
    for places in band.positions.reshape(5, -1, 3).numpy():
        atoms = to_ase(ARGON[0].replace(positions=places))
        atoms.calc = smooth_argon()
        images.append(atoms)
    theirs = NEB(images, climb=True, method="improvedtangent", k=2.0)
    FIRE(theirs, logfile=None).run(fmax=0.001, steps=300)
    energies = np.array([a.get_potential_energy() for a in images])
    assert float(ours.observables["barrier"][-1]) == pytest.approx(
        energies.max() - energies[0], abs=2e-5
    )


def test_the_saddle_point_joins_the_ends_of_the_band_and_others_are_said():
    """A vacancy that hops: by symmetry both ends have one energy, and a hop lies between them."""
    settings = {"tolerance": 1e-7, **SHORT}
    simulator = TransitionState(images=1, force_tolerance=1e-3, **settings).requires_grad_(False)
    ours = ended(simulator, simulator.between(*ARGON))
    seen = {k: v[-1] for k, v in ours.observables.items()}
    assert ours.warnings == ()
    assert float(seen["joined_distance"].max()) < 1e-4
    assert float(seen["joined_energy"].abs().max()) < 1e-7

    climber = TransitionState(method="dimer", force_tolerance=1e-3, **settings)
    other = ended(climber.requires_grad_(False), climber.between(*ARGON))
    near, far = other.observables["joined_distance"][-1].tolist()
    assert near < 1e-4
    # one of 31 atoms moves by 5.26 / sqrt(2), less what the crystal slides as a whole
    assert far == pytest.approx(5.26 / 2**0.5 / 31**0.5 * (30 / 31) ** 0.5, rel=0.05)
    assert float(other.observables["joined_energy"].abs().max()) < 1e-7

    # an end beside its minimum, by more than a saddle point's ways down could miss
    aside = ARGON[0].positions.copy()
    aside[3, 0] += 0.3
    loose = TransitionState(images=1, force_tolerance=0.02, relax_ends=False, **settings)
    said = ended(loose.requires_grad_(False), loose.between(
        ARGON[0].replace(positions=aside), ARGON[1]))  # fmt: skip
    assert any("joins another minimum" in line for line in said.warnings)


def smooth_argon():
    """ase's Lennard-Jones with the ends of our pairs."""
    return LennardJones(
        epsilon=0.0104, sigma=3.40, rc=1.5 * 3.40, ro=0.66 * 1.5 * 3.40, smooth=True
    )


def test_the_dimer_climbs_to_the_saddle_of_the_band_and_of_ase():
    """Towards the other end and in a random direction; ase's dimer from the same place."""
    settings = {"method": "dimer", "force_tolerance": 1e-4, **SHORT}
    simulator = TransitionState(**settings).requires_grad_(False)
    start = simulator.between(*ARGON)
    ours = simulator.run(start, 100)
    anywhere = TransitionState(seed=1, **settings).requires_grad_(False)
    other = anywhere.run(anywhere.between(ARGON[0], None), 200)
    band = TransitionState(images=1, force_tolerance=1e-4, **SHORT).requires_grad_(False)
    theirs = ended(band, band.between(*ARGON))
    assert ours.converged
    assert other.converged
    barrier = float(ours.observables["barrier"][-1])
    assert float(ours.observables["saddle_curvature"][-1]) < 0
    assert barrier == pytest.approx(float(theirs.observables["barrier"][-1]), abs=1e-6)
    assert barrier == pytest.approx(float(other.observables["barrier"][-1]), abs=1e-6)

    rest, place = (
        to_ase(ARGON[0].replace(positions=x)) for x in start.positions.view(2, -1, 3).numpy()
    )
    rest.calc, place.calc = smooth_argon(), smooth_argon()
    way = place.positions - rest.positions
    control = DimerControl(logfile=None, initial_eigenmode_method="displacement",
                           displacement_method="vector", mask=[True] * len(place))  # fmt: skip
    moving = MinModeAtoms(place, control, eigenmodes=[way / np.linalg.norm(way)])
    MinModeTranslate(moving, logfile=None).run(fmax=0.001, steps=200)
    height = place.get_potential_energy() - rest.get_potential_energy()
    assert barrier == pytest.approx(height, abs=2e-5)


def test_a_vacancy_of_copper_hops_over_the_published_barrier(copper):
    """Y. Mishin et al., Phys. Rev. B 63, 224106 (2001): 0.689 eV, in a larger crystal at rest."""
    simulator = TransitionState(
        potential="eam", table=str(copper), images=1, force_tolerance=0.005, tolerance=1e-3
    ).requires_grad_(False)
    trajectory = ended(simulator, simulator.state())
    assert trajectory.converged
    seen = {k: v[-1] for k, v in trajectory.observables.items()}
    assert float(seen["barrier"]) == pytest.approx(0.689, abs=0.03)
    assert float(seen["barrier"]) == pytest.approx(float(seen["reverse_barrier"]), abs=1e-4)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"images": 1, "force_tolerance": 1e-5, "tolerance": 1e-7}, 400),
        ({"method": "dimer", "force_tolerance": 1e-6, "tolerance": 1e-8}, 200),
    ],
    ids=["band", "dimer"],
)
def test_the_barrier_follows_the_potential(options, steps):
    """d barrier / d sigma at the saddle point against barriers found anew."""

    def barrier(sigma):
        simulator = TransitionState(sigma=sigma, **options, **SHORT)
        with torch.no_grad():
            state = simulator.run(simulator.between(*ARGON), steps).states[-1]
        return simulator.observe(state)["barrier"], simulator.sigma

    value, parameter = barrier(3.40)
    (slope,) = torch.autograd.grad(value, parameter)
    h = 1e-3
    expected = float((barrier(3.40 + h)[0] - barrier(3.40 - h)[0]).detach()) / (2 * h)
    assert float(slope) == pytest.approx(expected, rel=1e-4)


def test_fixed_atoms_stay(tmp_path):
    start, end = ARGON
    fixed = np.zeros((31, 3), dtype=bool)
    fixed[20:] = True
    simulator = TransitionState(images=1, **SHORT).requires_grad_(False)
    state = simulator.between(start.replace(fixed=fixed), end)
    last = simulator(state, 5).positions.reshape(3, -1, 3)
    torch.testing.assert_close(last[:, 20:], torch.tensor(start.positions[20:]).expand(3, -1, -1))
    assert float((last[1] - state.positions.reshape(3, -1, 3)[1]).abs().max()) > 1e-4


def test_the_command_goes_from_file_to_file(tmp_path, capsys):
    for name, sample in zip(("start", "end"), ARGON, strict=True):
        write(tmp_path / f"{name}.extxyz", to_ase(sample))
    code = main(
        ["simulate", "crystals/transition-state", "--input", str(tmp_path / "start.extxyz"),
         "--set",
         f"final={tmp_path / 'end.extxyz'}", "images=1", "cutoff=1.5", "--plot",
         str(tmp_path / "a.png"), "--output", str(tmp_path / "a.extxyz")]
    )  # fmt: skip
    assert code == 0
    assert "barrier" in capsys.readouterr().out
    assert len(read(tmp_path / "a.extxyz", ":")) == 3
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_the_command_climbs_from_one_file(tmp_path, capsys):
    write(tmp_path / "start.extxyz", to_ase(ARGON[0]))
    code = main(
        ["simulate", "crystals/transition-state", "--input", str(tmp_path / "start.extxyz"),
         "--set", "method=dimer", "cutoff=1.5", "--seed", "1", "--plot", str(tmp_path / "a.png"),
         "--output", str(tmp_path / "a.extxyz")]
    )  # fmt: skip
    assert code == 0
    assert "saddle_curvature" in capsys.readouterr().out
    assert len(read(tmp_path / "a.extxyz", ":")) == 2
    assert (tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"images": 0}, "at least 1"),
        ({"turns": 3}, "method=neb does not use turns"),
        ({"method": "dimer", "spring": 1.0}, "method=dimer does not use spring"),
        ({"method": "dimer", "displacement": 0.0}, "above 0"),
        ({"final": "nowhere.cif"}, "no such file"),
    ],
)
def test_what_makes_no_band_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        TransitionState(**values)


def test_ends_that_do_not_match_are_refused():
    simulator = TransitionState()
    start, end = ARGON
    with pytest.raises(InputError, match="set final=FILE"):
        simulator.state(start)
    with pytest.raises(InputError, match="different cells"):
        simulator.between(start, end.replace(cell=1.01 * end.cell))
    with pytest.raises(InputError, match="different atoms"):
        simulator.between(start, fcc(18, 5.26))
