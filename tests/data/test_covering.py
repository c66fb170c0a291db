"""What training data cover, measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sfm.config.coverage import Coverage, replaced
from sfm.data.covering import MANY, Survey, approaches, default_approach
from sfm.data.sample import Sample


def hydride(r: float, *, charge: float = 0.0, energy: bool = True) -> Sample:
    return Sample(
        id="x",
        domain="molecules",
        positions=np.array([[0.0, 0, 0], [0, 0, r]]),
        types=np.array([8, 1]),
        conditions={"charge": charge},
        labels={"energy": np.array(0.0)} if energy else {},
    )


def survey(samples, quantities=("energy",), before=None, said=()) -> Coverage:
    seen = Survey("molecules/atoms", "X", cutoff=5.0, spins=True)
    for sample in samples:
        seen.add(sample, quantities)
    return seen.coverage(before, said)


def test_a_pair_that_is_met_often_has_its_shortest_distance():
    coverage = survey([hydride(1.5 + 0.01 * n) for n in range(MANY)])
    assert coverage.elements == ("H", "O")
    assert coverage.systems == MANY
    assert coverage.charges == (0.0,)
    assert coverage.spins == (1.0,)  # none is stated, and OH has an odd number of electrons
    assert coverage.states == ((0.0, 1.0),)
    assert coverage.closest == {"H-O": 1.5}
    assert approaches(coverage)[1, 8] == approaches(coverage)[8, 1] == 1.5


def test_a_pair_that_is_met_rarely_has_at_most_08_of_the_covalent_radii():
    usual = 0.8 * (0.31 + 0.66)
    assert survey([hydride(1.5)]).closest == {}
    assert approaches(survey([hydride(1.5)]))[1, 8] == pytest.approx(usual)
    assert survey([hydride(0.5)]).closest == {"H-O": 0.5}
    assert default_approach()[0].max() == 0  # what is no atom has no radius


def test_a_system_without_a_label_teaches_nothing():
    coverage = survey([hydride(1.5), hydride(0.5, energy=False)])
    assert coverage.systems == 1
    assert coverage.closest == {}


def test_periodic_images_count():
    cell = np.diag([1.2, 9.0, 9.0])
    chain = Sample(
        id="chain", domain="crystals", positions=np.zeros((1, 3)), types=[6], cell=cell, pbc=True
    ).replace(labels={"energy": np.array(0.0)})
    assert survey([chain]).closest == {"C-C": 1.2}


def test_lengths_in_another_unit_are_counted_in_angstrom():
    seen = Survey("a/b", "X", cutoff=5.0, spins=False)
    seen.add(hydride(1.0), ["energy"], 0.529177)
    assert seen.coverage().closest == {"H-O": 0.5291}
    assert seen.coverage().spins == ()
    assert seen.coverage().states == ()


def test_new_data_of_a_known_level_add_to_it():
    old = survey([hydride(1.5)] * MANY)
    water = hydride(1.4, charge=1.0)
    carbon = water.replace(types=np.array([8, 6]), labels={"dipole": np.zeros(3)})
    new = survey([water, carbon], ("energy", "dipole"), old, ("energy",))
    assert new.systems == MANY + 2
    assert new.elements == ("H", "C", "O")
    assert new.charges == (0.0, 1.0)
    assert new.states == ((0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
    untold = survey([water], before=dataclasses.replace(old, states=()))
    assert untold.charges == (0.0, 1.0)
    assert untold.states == ()  # of the old ones nobody knows
    # met often before, and now nearer: not loosened to the rule of rare pairs
    assert new.closest["H-O"] == 1.4
    assert new.narrower == {"dipole": ("C", "O"), "energy": ("H", "O")}


def test_coverages_are_replaced_by_context():
    old, new = survey([hydride(1.0)]), survey([hydride(0.9)])
    assert replaced([old], [new]) == (new,)
    assert Coverage.from_dict({"encoder": "a", "level": "b", "systems": 1, "elements": ["H"]})
    with pytest.raises(TypeError):
        Coverage.from_dict({"encoder": "a"})
