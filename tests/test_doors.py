"""One value through every door: what a file states reaches whoever asks about it.

Doors: prediction (Python, command line, ASE objects), the calculator, simulators with a closure,
evaluation and fine-tuning data, and files that we wrote ourselves. The models have random weights,
so that every condition matters.
"""

from __future__ import annotations

import json
import pickle
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.constraints import FixAtoms
from ase.io import read, write
from sfm_crystals.data.converters import from_ase as crystal_of
from sfm_crystals.simulators.lattice import LatticeStatics
from sfm_dft.simulators.kohn_sham import KohnSham
from sfm_molecules.simulators.dynamics import MolecularDynamics

from sfm.cli import main
from sfm.data.convert import Item, read_items, write_items
from sfm.data.readers import read_file
from sfm.data.sample import Sample
from sfm.data.xyz import read_xyz
from sfm.errors import InputError, InputWarning
from sfm.model import FoundationModel
from sfm.model.calculator import SfmCalculator
from sfm.testing.models import LEVEL, config_for
from sfm.train.evaluate import evaluate
from sfm.train.finetune import finetune
from sfm.train.sources import open_source

PARTS = {"molecules/atoms": ("energy", "dipole", "charges"), "crystals/atoms": ("energy",)}
HYDRONIUM = "O 0 0 0.08\nH 0.94 0 -0.2\nH -0.47 0.81 -0.2\nH -0.47 -0.81 -0.2\n"
METHYL = "C 0 0 0\nH 1.08 0 0\nH -0.54 0.935 0\nH -0.54 -0.935 0\n"
TOLERANCE = 2e-5  # eV: float32 weights, in float32 and in float64


@pytest.fixture(scope="module")
def model() -> FoundationModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = FoundationModel(config_for(PARTS))
    for normaliser in fresh.normalisers.values():
        normaliser.shift[:] = torch.randn(normaliser.shift.shape, generator=_generator()).double()
    return fresh.eval()


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    return model.save_pretrained(tmp_path_factory.mktemp("doors") / "model")


CASES = {
    f"{name}: {comment or 'nothing'}": (rows, comment, charge, spin)
    for name, rows, charge, spin, comments in (
        ("H3O+", HYDRONIUM, 1.0, 0.0, ("charge=1", "Charge=+1 mult=1", "1 1", '{"q": 1}')),
        ("CH3", METHYL, 0.0, 1.0, ("spin=1", "0 2", "charge: 0 multiplicity: 2", "spin=2", "")),
        ("CH3-", METHYL, -1.0, 0.0, ("total_charge=-1 total_spin=1",)),
    )
    for comment in comments
}


def _said(capsys, *words: str) -> dict:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["quantities"]


def _written(path: Path, suffix: str) -> Path:
    """The same system in a file that we wrote."""
    target = path.with_name(f"ours{suffix}")
    items = list(read_items(path))
    if suffix == "":
        items = [
            Item(i.sample.replace(level=LEVEL, labels={"energy": np.array(0.0)}), "train")
            for i in items
        ]
    write_items(target, items)
    return target


def _energy(model, samples) -> float:
    return float(model.predict(samples, quantities=["energy"])["energy"])


def _one(items) -> Sample:
    (item,) = items
    return item.sample


DOORS = {
    "predict": lambda m, f, p, c: _energy(m, p),
    "sfm predict": lambda m, f, p, c: _said(c, "predict", str(f), str(p))["energy"]["value"],
    "predict an ase.Atoms": lambda m, f, p, c: _energy(m, next(read_xyz(p))),
    "calculator": lambda m, f, p, c: _with(next(read_xyz(p)), m).get_potential_energy(),
    "free energy": lambda m, f, p, c: _with(next(read_xyz(p)), m).get_potential_energy(
        force_consistent=True
    ),
    "sum of energies": lambda m, f, p, c: (
        _with(next(read_xyz(p)), m).get_potential_energies().sum()
    ),
    "simulate --closure": lambda m, f, p, c: _simulated(f, p, c),
    "convert to extxyz": lambda m, f, p, c: _energy(m, _written(p, ".extxyz")),
    "convert to npz": lambda m, f, p, c: _energy(m, _one(read_items(_written(p, ".npz")))),
    "convert to a folder": lambda m, f, p, c: _energy(m, _one(read_items(_written(p, "")))),
    "written by predict": lambda m, f, p, c: _again(m, f, p, c),
    "written by simulate": lambda m, f, p, c: _moved(m, f, p, c),
    "written by ase": lambda m, f, p, c: _by_ase(m, p),
    "evaluate": lambda m, f, p, c: _evaluated(m, p),
    "finetune": lambda m, f, p, c: _energy(m, open_source(_labelled(p, 0.0)).splits["test"][0]),
}


def _with(atoms: Atoms, model: FoundationModel) -> Atoms:
    atoms.calc = SfmCalculator(model)
    return atoms


def _again(model, folder, path, capsys) -> float:
    target = path.with_name("predicted.extxyz")
    _said(capsys, "predict", str(folder), str(path), "--output", str(target))
    assert read(target).get_potential_energy() == pytest.approx(_energy(model, target))
    return _energy(model, target)


def _simulated(folder, path, capsys, *more: str) -> float:
    part = "molecules/molecular-dynamics"
    words = ("--input", str(path), "--closure", str(folder), "--steps", "0", *more)
    return float(np.ravel(_said(capsys, "simulate", part, *words)["energy"]["value"])[0])


def _moved(model, folder, path, capsys) -> float:
    target = path.with_name("moved.extxyz")
    _simulated(folder, path, capsys, "--output", str(target))
    return _energy(model, target)


def _by_ase(model, path) -> float:
    target = path.with_name("ase.extxyz")
    write(target, read(_written(path, ".extxyz")))
    return _energy(model, target)


def _labelled(path: Path, energy: float) -> Path:
    target = path.with_name("labelled.extxyz")
    samples = [
        s.replace(id=str(i), level=LEVEL, labels={"energy": np.array(energy)}, dataset="mine")
        for i, s in enumerate(read_file(path) * 20)
    ]
    write_items(target, [Item(s) for s in samples])
    return target


def _evaluated(model, path) -> float:
    """The label at which the error is nothing: error at label 0 with its sign."""
    metrics = evaluate(model, _labelled(path, 1e3), split="test").metrics
    (metric,) = [m for m in metrics if m.quantity == "energy"]
    return 1e3 - metric.mae


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", CASES)
def test_one_energy_through_every_door(model, folder, tmp_path, capsys, case, door):
    rows, comment, charge, spin = CASES[case]
    path = tmp_path / "system.xyz"
    path.write_text(f"4\n{comment}\n{rows}")
    words = [row.split() for row in rows.splitlines()]
    plain = Sample(
        id="x",
        domain="molecules",
        types=[{"O": 8, "H": 1, "C": 6}[w[0]] for w in words],
        positions=[[float(x) for x in w[1:]] for w in words],
    )
    expected = _energy(model, plain.replace(conditions={"charge": charge, "spin": spin}))
    other = plain.replace(conditions={"charge": charge - 2, "spin": spin})
    assert abs(expected - _energy(model, other)) > 100 * TOLERANCE
    assert DOORS[door](model, folder, path, capsys) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("case", ["H3O+: Charge=+1 mult=1", "CH3: 0 2"])
@pytest.mark.filterwarnings("ignore::sfm.errors.InputWarning")  # labels of 1,000 eV
def test_one_energy_through_a_whole_fine_tuning(model, tmp_path, case):
    """The report's error before it, against labels of 1,000 eV, is 1,000 eV less the energy."""
    rows, comment, charge, spin = CASES[case]
    path = tmp_path / "system.xyz"
    path.write_text(f"4\n{comment}\n{rows}")
    (sample,) = read_file(path)
    stated = sample.replace(conditions={"charge": charge, "spin": spin})
    out = finetune(
        model,
        _labelled(path, 1e3),
        "energy",
        "ridge",
        tmp_path / "out",
        trust_labels=True,
        log=False,
    )
    (row,) = json.loads((out / "report.json").read_text())["target"]
    assert 1e3 - row["before_mae"] == pytest.approx(_energy(model, stated), abs=10 * TOLERANCE)
    tuned = FoundationModel.from_pretrained(out)
    assert _energy(tuned, stated) == pytest.approx(1e3, abs=1.0)


def test_an_odd_number_of_electrons_leaves_one_unpaired(model):
    """Where no file says so; the guard, coverage and several systems of one call know it too."""
    methyl = Sample(id="CH3", domain="molecules", types=[6, 1, 1, 1], positions=np.eye(4, 3) * 2)
    water = Sample(id="H2O+", domain="molecules", types=[8, 1, 1], positions=np.eye(3) * 2)
    ion = water.replace(conditions={"charge": 1})
    radicals = [methyl, ion, water]
    told = [
        methyl.replace(conditions={"spin": 1}),
        ion.replace(conditions={"charge": 1, "spin": 1}),
    ]
    ours = [float(p["energy"]) for p in model.predict(radicals, quantities=["energy"])]
    theirs = [float(p["energy"]) for p in model.predict([*told, water], quantities=["energy"])]
    assert ours == theirs
    closure = model.encoder("molecules/atoms").closure(model)
    batch = MolecularDynamics(closure=closure, potential="none").state(radicals)
    energies = closure(batch.positions, batch.types, batch.system, batch.conditions)
    np.testing.assert_allclose(energies.detach().numpy(), theirs, atol=TOLERANCE)


# ------------------------------------------------------------------ the calculator


@pytest.mark.parametrize("name", ["level", "domain", "extrapolate"])
def test_a_calculator_stays_what_it_was_made_for(model, name):
    """Encoders and guards are chosen when it is made; a later word would change half of it."""
    calculator = model.calculator(level="conformance", domain="molecules")
    with pytest.raises(AttributeError, match=name):
        setattr(calculator, name, None)
    assert (calculator.level, calculator.domain) == ("conformance", "molecules")
    assert not calculator.extrapolate


def test_the_calculator_reads_info_at_every_call(model):
    atoms = _with(Atoms("OH3", np.random.default_rng(0).normal(size=(4, 3))), model)
    seen = [atoms.get_potential_energy()]
    for key, value in (("charge", 1), ("Charge", 1), ("charge", 3)):
        atoms.info = {key: value}
        seen.append(atoms.get_potential_energy())
    atoms.info = {}
    atoms.set_initial_charges([1, 0, 0, 0])
    seen.append(atoms.get_potential_energy())
    atoms.set_initial_charges(None)
    seen.append(atoms.get_potential_energy())
    assert seen[1] == seen[2] == seen[4]
    assert seen[0] == seen[5]
    assert len(set(seen)) == 3
    atoms.info["multiplicity"] = 1
    with pytest.raises(InputError, match="multiplicity=1 is impossible with 11 electrons"):
        atoms.get_potential_energy()


def test_what_the_calculator_says_is_what_the_model_says(model):
    atoms = _with(molecule("CH3CH2OH"), model)
    said = model.predict(atoms.copy())
    np.testing.assert_allclose(atoms.get_dipole_moment(), said["dipole"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(atoms.get_charges(), said["charges"], rtol=1e-5, atol=1e-6)
    assert {"energy", "free_energy", "energies", "forces", "stress", "dipole", "charges"} == set(
        atoms.calc.implemented_properties
    )
    argon = _with(bulk("Ar"), model)
    assert argon.get_stress().shape == (6,)
    with pytest.raises(PropertyNotImplementedError, match="no dipole of crystals"):
        argon.get_dipole_moment()


def test_the_calculator_can_be_pickled_and_copied(model):
    import copy

    atoms = molecule("H2O")
    expected = _with(atoms.copy(), model).get_potential_energy()
    calculator = SfmCalculator(model)
    for other in (pickle.loads(pickle.dumps(calculator)), copy.deepcopy(calculator)):
        assert type(other) is SfmCalculator
        atoms.calc = other
        assert atoms.get_potential_energy() == expected


@pytest.mark.slow
def test_the_calculator_goes_to_other_processes(model):
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    frames = [_with(molecule(name), model) for name in ("H2O", "CH4", "NH3")]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        far = list(pool.map(Atoms.get_potential_energy, frames))
    assert far == [atoms.get_potential_energy() for atoms in frames]


def test_one_calculator_serves_many_threads(model):
    """Each thread its own molecule, all of them one calculator."""
    shared = SfmCalculator(model)
    names = ("H2O", "CH4", "NH3", "CO2", "CH3OH", "C2H6")
    expected = {n: _with(molecule(n), model).get_forces() for n in names}
    wrong: list[str] = []

    def work(name: str) -> None:
        atoms = molecule(name)
        atoms.calc = shared
        for _ in range(20):
            forces = atoms.get_forces()
            if forces.shape != expected[name].shape or abs(forces - expected[name]).max() > 1e-5:
                wrong.append(name)
            atoms.rattle(0.0)
            shared.get_property("energy", atoms)

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_the_calculator_cannot_do_is_refused_when_it_is_made(model):
    with pytest.raises(InputError, match="'PBE' is unknown"):
        model.calculator(level="PBE")
    with pytest.raises(InputError, match="domain 'fluids'"):
        model.calculator(domain="fluids")


# ------------------------------------------------------------------ nothing is dropped


def _stated() -> Sample:
    """Everything that a sample of atoms can state."""
    return Sample(
        id="all",
        domain="molecules",
        types=[8, 1, 1],
        positions=[[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]],
        conditions={"charge": 1.0, "spin": 1.0},
        masses=[15.999, 2.014, 1.008],
        fixed=[True, False, False],
        velocities=[[0, 0, 0], [0.01, 0, 0], [0, 0, 0.01]],
        rigid_pairs=[[1, 2]],
        rigid_lengths=[1.52],
    )


@pytest.mark.parametrize("suffix", [".extxyz", ".xyz", ".npz"])
def test_a_writer_keeps_everything_that_is_stated(tmp_path, suffix):
    sample = _stated()
    write_items(tmp_path / f"a{suffix}", [Item(sample)])
    back = _one(read_items(tmp_path / f"a{suffix}"))
    assert dict(back.conditions) == dict(sample.conditions)
    np.testing.assert_array_equal(back.masses, sample.masses)
    np.testing.assert_array_equal(back.fixed, sample.fixed)
    np.testing.assert_allclose(back.velocities, sample.velocities, rtol=1e-14)
    np.testing.assert_array_equal(back.rigid_pairs, sample.rigid_pairs)
    np.testing.assert_array_equal(back.rigid_lengths, sample.rigid_lengths)


def test_a_simulator_keeps_everything_that_is_stated(model, tmp_path):
    sample = _stated()
    simulator = MolecularDynamics(closure=model.closure("molecules"), dt=0.1)
    trajectory = simulator.run(simulator.state(sample), 3)
    first, last = trajectory.states[0], trajectory.states[-1]
    np.testing.assert_allclose(first.velocities.detach(), sample.velocities, rtol=1e-6)
    torch.testing.assert_close(last.positions[0], first.positions[0], rtol=0, atol=0)
    assert (last.positions[1:] != first.positions[1:]).any()
    np.testing.assert_allclose(first.masses[:, 0], sample.masses, rtol=1e-6)
    simulator.write(trajectory, tmp_path / "run.extxyz")
    back = read_file(tmp_path / "run.extxyz")[-1]
    assert dict(back.conditions) == dict(sample.conditions)
    np.testing.assert_allclose(back.masses, sample.masses, rtol=1e-6)
    np.testing.assert_array_equal(back.fixed, sample.fixed)
    assert back.velocities is not None


def test_what_a_simulator_cannot_use_is_said_or_refused(model):
    ion = _stated()
    with pytest.warns(InputWarning, match="charge and spin of the sample do not enter"):
        MolecularDynamics(potential="lennard-jones").state(ion)
    simulator = MolecularDynamics(closure=model.closure("molecules", charge=-1))
    with pytest.raises(InputError, match="closure of 'molecules/atoms': made for charge -1"):
        simulator.observe(simulator.state(ion))
    cell = ion.replace(domain="crystals", cell=9 * np.eye(3), pbc=True)
    with pytest.raises(InputError, match=r"charge \+1, of which the closure"):
        LatticeStatics(closure=model.closure("crystals")).state(cell)
    with pytest.raises(InputError, match=r"charge \+1, of which encoder 'crystals/atoms'"):
        model.predict(cell)
    with pytest.warns(InputWarning, match="a spin is stated, which encoder 'crystals/atoms'"):
        model.predict(cell.replace(conditions={"spin": 2.0}))
    with pytest.raises(InputError, match="10 electrons cannot have 1 unpaired"):
        KohnSham(basis="sto-3g").state(ion.replace(domain="dft", conditions={"spin": 1.0}))


def test_a_key_that_is_nearly_a_condition_is_said(tmp_path):
    path = tmp_path / "typo.xyz"
    path.write_text(f"4\ncharg=1\n{HYDRONIUM}")
    with pytest.warns(InputWarning, match="charg=1 is not used; is charge meant"):
        read_file(path)


def test_constraints_that_nothing_keeps_are_said(model):
    from ase.constraints import FixBondLengths, FixCom

    atoms = molecule("H2O")
    atoms.set_constraint([FixAtoms([0]), FixCom()])
    with pytest.warns(InputWarning, match="constraint FixCom is not kept"):
        model.predict(atoms)
    argon = Atoms("Ar3", 2 * atoms.positions, cell=9 * np.eye(3), pbc=True)
    argon.set_constraint(FixBondLengths([(0, 1)]))
    with pytest.warns(InputWarning, match="crystals/lattice does not keep the lengths of bonds"):
        LatticeStatics().state(crystal_of(argon))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms.set_constraint(FixAtoms([0]))
        model.predict(atoms)


def test_numbers_that_nothing_reads_are_named(folder, tmp_path, capsys):
    path = tmp_path / "warm.xyz"
    path.write_text(f"4\ncharge=1 temperature=300 step=7\n{HYDRONIUM}")
    for words in (
        ("predict", str(folder), str(path)),
        (
            "simulate",
            "molecules/molecular-dynamics",
            "--input",
            str(path),
            "--steps",
            "0",
            "--closure",
            str(folder),
        ),
    ):
        assert main([*words, "--json"]) == 0
        said = json.loads(capsys.readouterr().out)["warnings"]
        assert [line for line in said if line.endswith("stated, but not used: temperature")]


@pytest.mark.parametrize("call", ["predict", "embed"])
def test_python_names_what_it_does_not_use(model, call):
    atoms = molecule("H2O")
    atoms.info.update(solvent="water", temperature=300.0, name="no physics", step=7)
    with pytest.warns(InputWarning) as said:
        getattr(model, call)(atoms)
    texts = {str(warning.message) for warning in said}
    assert texts == {"stated, but not used: solvent", "stated, but not used: temperature"}
