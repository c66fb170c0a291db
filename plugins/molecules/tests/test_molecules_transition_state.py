"""Saddle points against ase's elastic band on rdkit's forces, a rhombus, and finite differences."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.io import read, write
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from ase.units import Bohr, Hartree, kcal, mol
from rdkit.Chem import AllChem, rdMolTransforms
from scipy.optimize import minimize, minimize_scalar
from sfm_molecules.data.converters import from_rdkit
from sfm_molecules.geometry.embedding import embed
from sfm_molecules.simulators.transition_state import TransitionState, four_argon, mirrored

import sfm
from sfm.cli import main
from sfm.errors import InputError, OutsideError, RunError


def seen(simulator, way):
    trajectory = simulator.run(way, 1)
    return trajectory, {k: v[-1] for k, v in trajectory.observables.items()}


# ------------------------------------------------------------------ against others


class Rdkit(Calculator):
    """rdkit's MMFF94 of one molecule."""

    implemented_properties = ("energy", "forces")

    def __init__(self, molecule):
        super().__init__()
        properties = AllChem.MMFFGetMoleculeProperties(molecule)
        self.field = AllChem.MMFFGetMoleculeForceField(molecule, properties)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x, unit = atoms.positions.flatten().tolist(), kcal / mol
        slope = np.array(self.field.CalcGrad(x)).reshape(-1, 3)
        self.results = {"energy": self.field.CalcEnergy(x) * unit, "forces": -slope * unit}


def test_the_barrier_of_ethanol_is_that_of_ase_on_rdkit():
    """From anti to gauche on MMFF94: nothing but the ends, relaxed by us, is shared."""
    molecule = embed("CCO", seed=0)
    ends = []
    for angle in (180.0, 65.0):  # of the hydrogen on oxygen
        rdMolTransforms.SetDihedralDeg(molecule.GetConformer(), 0, 1, 2, 8, angle)
        ends.append(from_rdkit(molecule, name=f"{angle:g} degrees"))
    simulator = TransitionState(potential="mmff94", images=3).requires_grad_(False)
    trajectory, ours = seen(simulator, simulator.between(*ends))
    assert trajectory.converged
    assert int(ours["negative_modes"]) == 1

    way = trajectory.states[-1].places.numpy()
    images = [Atoms(ends[0].types, way[0 if k < 4 else -1]) for k in range(5)]
    for image in images:
        image.calc = Rdkit(molecule)
    band = NEB(images, climb=True, method="improvedtangent", k=2.0,
               remove_rotation_and_translation=True)  # fmt: skip
    band.interpolate("idpp")
    FIRE(band, logfile=None).run(fmax=0.005, steps=500)
    theirs = np.array([image.get_potential_energy() for image in images])
    # the climbing image is at rest to 0.005 eV/angstrom, along modes of 0.1 eV/angstrom^2
    assert float(ours["barrier"]) == pytest.approx(theirs.max() - theirs[0], abs=3e-4)
    assert float(ours["reverse_barrier"]) == pytest.approx(theirs.max() - theirs[-1], abs=3e-4)
    top = Atoms(ends[0].types, way[int(trajectory.states[-1].saddle)], calculator=Rdkit(molecule))
    assert np.abs(top.get_forces()).max() < 1e-5
    height = top.get_potential_energy() - theirs[0]
    assert float(ours["barrier"]) == pytest.approx(height, abs=1e-7)
    # the ways down from it end where the band does
    assert float(ours["joined_distance"].max()) < 1e-4
    expected = [0.0, float(ours["barrier"] - ours["reverse_barrier"])]
    assert ours["joined_energy"].tolist() == pytest.approx(expected, abs=1e-7)


class Tblite(Calculator):
    """tblite of one molecule, to its tight accuracy."""

    implemented_properties = ("energy", "forces")

    def __init__(self, method):
        super().__init__()
        self.method = method

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        interface = pytest.importorskip("tblite.interface")
        one = interface.Calculator(self.method, atoms.numbers, atoms.positions / Bohr)
        one.set("verbosity", 0)
        one.set("accuracy", 0.01)
        result = one.singlepoint()
        self.results = {
            "energy": result["energy"] * Hartree,
            "forces": -result["gradient"] * Hartree / Bohr,
        }


def inverted_by_ase(method):
    """Height in eV by which ammonia turns inside out, by ase's climbing band on tblite."""
    pytest.importorskip("tblite.interface")
    start = molecule("NH3", calculator=Tblite(method))
    BFGS(start, logfile=None).run(fmax=1e-4, steps=200)
    images = [start.copy() for _ in range(5)]
    images[-1].positions *= (1, 1, -1)
    for image in images:
        image.calc = Tblite(method)
    band = NEB(images, climb=True, method="improvedtangent", k=2.0,
               remove_rotation_and_translation=True)  # fmt: skip
    band.interpolate("idpp")
    assert FIRE(band, logfile=None).run(fmax=0.002, steps=300)
    return max(image.get_potential_energy() for image in images) - start.get_potential_energy()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("dxtb") is None, reason="needs tight-binding")
def test_ammonia_on_gfn1_is_that_of_ase_on_tblite():
    """Two codes of one theory, and two of the band. Forces on ase's climbing image, 0.002
    eV/angstrom along a mode of some eV/angstrom^2, are 1e-6 eV."""
    values = {"potential": "gfn1-xtb", "images": 3, "tolerance": 1e-5}
    simulator = TransitionState(**values).requires_grad_(False)
    trajectory, ours = seen(simulator, simulator.state())
    assert trajectory.converged
    assert float(ours["barrier"]) == pytest.approx(inverted_by_ase("GFN1-xTB"), abs=1e-5)
    assert float(ours["joined_distance"].max()) < 1e-4


def test_ammonia_on_the_bundled_model_is_near_what_it_learned():
    """Of its teacher's barrier, 0.265 eV on GFN2-xTB, 0.227: legs of training move it by 15 %."""
    closure = sfm.load("sfm-tiny").double().closure("molecules", level="GFN2-xTB")
    simulator = TransitionState(closure=closure, images=3).requires_grad_(False)
    trajectory, ours = seen(simulator, simulator.state())
    assert trajectory.converged
    assert not trajectory.warnings
    assert float(ours["barrier"]) == pytest.approx(inverted_by_ase("GFN2-xTB"), rel=0.25)


def pair(r):
    return 4 * (r**-12 - r**-6)


def rhombus():
    """Energy over epsilon of the best planar rhombus of Lennard-Jones atoms, by its diagonals."""

    def energy(diagonals):
        short, long = diagonals
        return pair(short) + pair(long) + 4 * pair(0.5 * np.hypot(short, long))

    return minimize(energy, (1.12, 1.9), method="BFGS", options={"gtol": 1e-9}).fun


def test_four_argon_atoms_open_over_a_rhombus_and_the_saddle_follows_the_potential():
    """E = -6 epsilon at rest. Energies go with epsilon, frequencies with sqrt(epsilon) / sigma;
    what they do with sigma comes from the implicit derivative of the geometry alone."""
    simulator, way = TransitionState.conformance_case(descend=True)
    searched = simulator(way)
    observed = simulator.observe(searched)
    barrier, frequency = observed["barrier"], observed["imaginary_frequency"]
    epsilon, sigma = simulator.epsilon.item(), simulator.sigma.item()
    assert barrier.item() == pytest.approx((6 + rhombus()) * epsilon, rel=1e-9)
    assert int(observed["negative_modes"]) == 1
    inputs = (simulator.epsilon, simulator.sigma)
    slopes = torch.autograd.grad(barrier, inputs, retain_graph=True)
    assert float(slopes[0]) == pytest.approx(barrier.item() / epsilon, rel=1e-9)
    assert float(slopes[1]) == pytest.approx(0.0, abs=1e-10)
    slopes = torch.autograd.grad(frequency, inputs, retain_graph=True)
    assert float(slopes[0]) == pytest.approx(frequency.item() / (2 * epsilon), rel=1e-7)
    assert float(slopes[1]) == pytest.approx(-frequency.item() / sigma, rel=1e-7)
    # two tetrahedra whose atoms are labelled otherwise
    assert observed["joined_energy"].tolist() == pytest.approx([0.0, 0.0], abs=1e-12)
    near, far = observed["joined_distance"].tolist()
    assert near < 1e-6
    assert far > 0.1 * sigma
    length = torch.pdist(searched.places[1]).min()  # geometries go with sigma
    (slope,) = torch.autograd.grad(length, simulator.sigma)
    assert float(slope) == pytest.approx(length.item() / sigma, rel=1e-8)


class Pull(torch.nn.Module):
    """A soft attraction of all pairs."""

    def __init__(self, depth, width):
        super().__init__()
        self.depth = torch.nn.Parameter(torch.tensor(depth, dtype=torch.float64))
        self.width = torch.nn.Parameter(torch.tensor(width, dtype=torch.float64))

    def forward(self, positions, types, system):
        count = int(system[-1]) + 1
        x = positions.view(count, -1, 3)
        rows, columns = torch.triu_indices(x.shape[1], x.shape[1], offset=1)
        gaps = (x[:, rows] - x[:, columns]).square().sum(-1)
        return -self.depth * torch.exp(-gaps / self.width**2).sum(1)


def test_the_barrier_of_ammonia_follows_a_closure():
    """UFF and a learned term: derivatives against saddle points found anew."""

    def inverted(depth, width):
        closure = Pull(depth, width)
        simulator = TransitionState(potential="uff", closure=closure, images=1, tolerance=1e-9)
        observed = simulator.observe(simulator(simulator.state()))
        return torch.stack([observed["barrier"], observed["imaginary_frequency"]]), closure

    point, h = (0.3, 1.5), 1e-4
    values, closure = inverted(*point)
    jacobian = torch.stack(
        [torch.stack(torch.autograd.grad(v, (closure.depth, closure.width), retain_graph=True))
         for v in values]
    )  # fmt: skip
    for k in range(2):
        moved = [
            inverted(*(p + sign * h * (n == k) for n, p in enumerate(point)))[0].detach()
            for sign in (1, -1)
        ]
        expected = (moved[0] - moved[1]) / (2 * h)
        torch.testing.assert_close(jacobian[:, k], expected, rtol=1e-6, atol=1e-8)


# ------------------------------------------------------------------ what is said and refused


def test_a_search_that_is_done_changes_no_more():
    simulator = TransitionState(potential="uff").requires_grad_(False)
    once = simulator(simulator.state())
    torch.testing.assert_close(simulator(once).places, once.places, rtol=0, atol=1e-6)
    _, ours = seen(simulator, once)
    assert int(ours["path_energy"].argmax()) == int(once.saddle)
    assert float(ours["barrier"]) == pytest.approx(float(ours["reverse_barrier"]), abs=1e-8)


def test_a_saddle_point_that_joins_other_minima_is_said_to(tmp_path):
    """Ends that are at no minimum; a dimer's other end is written, and is what it came to."""
    simulator = TransitionState(potential="uff", relax_ends=False, images=1).requires_grad_(False)
    start = simulator.named_molecule()
    moved = start.replace(positions=start.positions + np.array([[0, 0, 0.15]] + 3 * [[0, 0, 0]]))
    trajectory, ours = seen(simulator, simulator.between(moved, mirrored(moved)))
    assert trajectory.converged  # it is a saddle point all the same
    assert float(ours["joined_distance"].min()) > 0.02
    assert any("joins another minimum" in line for line in trajectory.warnings)
    simulator.write(trajectory, tmp_path / "a.extxyz")
    frames = read(tmp_path / "a.extxyz", ":")
    assert len(frames) == 5
    for frame in (frames[0], frames[-1]):
        assert np.abs(frame.get_forces()).max() < 1e-6

    for descend, count in ((True, 3), (False, 2)):
        values = {"potential": "lennard-jones", "method": "dimer", "descend": descend}
        simulator = TransitionState(**values).requires_grad_(False)
        trajectory, ours = seen(simulator, simulator.between(*four_argon()))
        assert ("joined_energy" in ours) is descend
        assert not trajectory.warnings
        simulator.write(trajectory, tmp_path / "b.extxyz")
        frames = read(tmp_path / "b.extxyz", ":")
        assert len(frames) == count
        energies = [frame.get_potential_energy() for frame in frames]
        assert np.argmax(energies) == 1
        if descend:
            assert energies[2] == pytest.approx(energies[0], abs=1e-9)


def test_the_straight_way_may_be_one_that_a_closure_refuses():
    """Nobody goes it: the first way has distances between those of the ends."""
    nearest = 0.9

    class Refusing(Pull):
        def forward(self, positions, types, system):
            count = int(system[-1]) + 1
            if (
                float(min(torch.pdist(x).min() for x in positions.detach().view(count, -1, 3)))
                < nearest
            ):
                raise OutsideError("two atoms are too near")
            return super().forward(positions, types, system)

    values = {"potential": "uff", "molecule": "OO", "final": "mirror", "images": 1}
    simulator = TransitionState(closure=Refusing(0.01, 1.5), **values).requires_grad_(False)
    way = simulator.state()
    assert float(torch.pdist(way.places[1]).min()) < nearest
    trajectory, ours = seen(simulator, way)
    assert trajectory.converged
    assert float(ours["barrier"]) > 0


def test_a_place_with_two_negative_modes_is_no_answer():
    """Four argon atoms in a square, at rest and unstable in two ways."""
    simulator = TransitionState(potential="lennard-jones", method="dimer").requires_grad_(False)
    way = simulator.state()
    side = minimize_scalar(
        lambda a: 4 * pair(a) + 2 * pair(2**0.5 * a), bracket=(1.0, 1.2), tol=1e-12
    ).x
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]).double()
    square = side * simulator.sigma * corners
    way = way.moved(torch.stack([way.places[0], square]))
    way = way._replace(molecules=way.molecules._replace(step=way.step + 1))
    trajectory = simulator.run(way, 0)
    assert simulator.converged(way)  # at rest
    assert int(trajectory.observables["negative_modes"][-1]) == 2
    assert trajectory.converged is False
    assert any("no transition state: 2 negative modes" in line for line in trajectory.warnings)


def test_fixed_atoms_stay():
    start = four_argon()[0]
    fixed = np.zeros((4, 3), dtype=bool)
    fixed[:2] = True
    simulator = TransitionState(potential="lennard-jones", method="dimer").requires_grad_(False)
    way = simulator(simulator.state(start.replace(fixed=fixed)))
    expected = torch.from_numpy(start.positions[:2])
    torch.testing.assert_close(way.places[:, :2], expected.expand(2, -1, -1), rtol=0, atol=0)
    assert simulator.converged(way)


def test_ends_that_are_one_minimum_are_refused():
    start = four_argon()[0]
    simulator = TransitionState(potential="lennard-jones", max_steps=200).requires_grad_(False)
    with pytest.raises(RunError, match="one minimum"):
        simulator(simulator.between(start, start.replace(positions=1.01 * start.positions)))


def test_the_command_goes_from_files_to_files(tmp_path, capsys):
    simulator = TransitionState(potential="uff")
    start = simulator.named_molecule()
    names = []
    for name, sample in (("start", start), ("end", mirrored(start))):
        names.append(str(tmp_path / f"{name}.extxyz"))
        write(names[-1], Atoms(sample.types, sample.positions))
    code = main(
        ["simulate", "molecules/transition-state", "--input", names[0], "--set",
         f"final={names[1]}", "potential=uff", "images=3", "--plot", str(tmp_path / "a.png"),
         "--output", str(tmp_path / "a.extxyz")]
    )  # fmt: skip
    assert code == 0
    said = capsys.readouterr().out
    assert "imaginary_frequency" in said
    frames = read(tmp_path / "a.extxyz", ":")
    assert len(frames) == 5
    assert np.argmax([frame.get_potential_energy() for frame in frames]) == 2
    assert (tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"images": 0}, "images=0: must be above 0"),
        ({"displacement": 0.2}, "method=neb does not use displacement"),
        ({"method": "dimer", "spring": 1.0}, "method=dimer does not use spring"),
        ({"final": "nowhere.xyz"}, "no such file"),
        ({"potential": "uff", "epsilon": 0.02}, "does not use epsilon"),
    ],
)
def test_what_makes_no_sense_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        TransitionState(**values)


def test_ends_that_do_not_match_are_refused():
    simulator = TransitionState(potential="lennard-jones")
    start, end = four_argon()
    fixed = np.zeros((4, 3), dtype=bool)
    fixed[0] = True
    with pytest.raises(InputError, match="set final=FILE"):
        simulator.state(start)
    with pytest.raises(InputError, match="one molecule at a time"):
        simulator.state([start, end])
    with pytest.raises(InputError, match="different atoms"):
        simulator.between(start, end.replace(types=np.array([18, 18, 18, 10])))
    with pytest.raises(InputError, match="what is fixed"):
        simulator.between(start.replace(fixed=fixed), end)
