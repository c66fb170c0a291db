"""The table of errors: its page is that of its numbers, and its protocol that of ASE."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
pytestmark = pytest.mark.usefixtures("benchmarks")


def test_the_published_page_is_that_of_the_published_numbers(tmp_path):
    report = import_module("errors_report")
    report.write(tmp_path, json.loads((FOLDER / report.NUMBERS).read_text()))
    for name in (report.TEXT, report.NUMBERS):
        assert (tmp_path / name).read_text() == (FOLDER / name).read_text()


def test_a_curve_of_copper_has_the_fit_of_ase():
    """Effective medium theory; ASE fits the same form to the same seven energies."""
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from ase.eos import EquationOfState
    from ase.units import kJ

    crystals, curves = import_module("errors_crystals"), import_module("peer_curves")
    atoms = bulk("Cu", a=3.62)
    task = crystals.task("Cu", atoms.numbers, atoms.positions, atoms.cell.array, None)
    energies = curves.energies(task, EMT())
    volumes = atoms.get_volume() * np.linspace(0.94, 1.06, 7)
    v0, _, b0 = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()
    said = crystals.fitted(task, {"id": "Cu", "energies": energies})["eos"]
    assert said[0] == pytest.approx(v0, rel=1e-5)
    assert said[1] == pytest.approx(b0 / kJ * 1e24, rel=1e-3)  # GPa


def test_atoms_go_where_forces_vanish_and_what_does_not_converge_is_said(monkeypatch):
    """Two atoms of gold in a wide box have one bond and one energy, however large the box is."""
    from ase.calculators.emt import EMT

    crystals, curves = import_module("errors_crystals"), import_module("peer_curves")
    pair, box = [[0, 0, 0], [0, 0, 2.5]], 16 * np.eye(3)
    tasks = [crystals.task("Au2", [79, 79], pair, box, fmax) for fmax in (1e-3, None)]
    relaxed, clamped = (np.ptp(curves.energies(task, EMT())) for task in tasks)
    assert relaxed < 1e-4
    assert clamped > 1e-3
    monkeypatch.setattr(curves, "STEPS", 1)
    with pytest.raises(ValueError, match="after 1 steps"):
        curves.energies(tasks[0], EMT())


def test_elements_that_peers_did_not_learn_are_refused():
    curves, crystals = import_module("peer_curves"), import_module("errors_crystals")
    task = crystals.task("Po", [84], [[0, 0, 0]], np.eye(3) * 3.3, None)
    with pytest.raises(ValueError, match="element Po"):
        curves.energies(task, None)


def test_compounds_are_not_among_those_learned_and_voigts_modulus_is_the_isotropic_one():
    crystals = import_module("errors_crystals")
    asked, others = crystals.compounds()
    learned = {s.group for name in crystals.LEARNED for s in crystals.opened(name)}
    groups = {s.group for s in asked}
    assert len(asked) == crystals.COMPOUNDS
    assert not groups & learned
    assert not groups & {s.group for s in others}
    stiffness = np.array(asked[0].labels["elastic_constants"], dtype=float)
    strain = np.array([1, 1, 1, 0, 0, 0]) / 3  # a relative change of the volume of one
    assert crystals.modulus(asked[0]) == pytest.approx(strain @ stiffness @ strain)


def test_isomers_have_one_formula_and_are_above_the_most_stable(monkeypatch):
    molecules = import_module("errors_molecules")
    zero = lambda samples: np.zeros(len(samples))  # noqa: E731
    monkeypatch.setattr(molecules, "xtb_of", zero)
    monkeypatch.setattr(molecules, "by_model", lambda encoder, level: zero)
    rows = molecules.isomers()
    assert len(rows) == 15
    assert min(r["measured"] for r in rows) > 0
    # ethanol and dimethyl ether: enthalpies of formation -235 and -184 kJ/mol at 298 K (NIST
    # WebBook), 0.53 eV; zero-point and thermal energies are about 0.01 eV
    (ether,) = [r for r in rows if r["name"] == "CH3OCH3"]
    assert ether["measured"] == pytest.approx(0.53, abs=0.03)
