"""Labels under other names and in other units."""

from __future__ import annotations

import numpy as np
import pytest

from sfm import registry
from sfm.data.label_names import LabelNames, flags_for, no_labels, recognised, unused
from sfm.data.sample import Sample
from sfm.errors import InputError

CELL = np.diag([2.0, 3.0, 4.0])


def sample(**extras) -> Sample:
    return Sample(
        id="two",
        domain="crystals",
        positions=np.array([[0.0, 0, 0], [1, 1, 1]]),
        types=np.array([11, 17]),
        cell=CELL,
        pbc=True,
        extras={k: np.asarray(v) for k, v in extras.items()},
    )


def test_keys_and_units_make_labels():
    names = LabelNames.parse(
        ["energy=REF_energy", "forces = REF_forces"], ["energy=kcal/mol", "forces=hartree/bohr"]
    )
    (one,) = names.apply([sample(REF_energy=23.0605, REF_forces=np.ones((2, 3)), w=0.5)], "a.xyz")
    assert float(one.labels["energy"]) == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(one.labels["forces"], 51.4221, rtol=1e-5)
    assert set(one.extras) == {"w"}


def test_a_virial_becomes_a_stress():
    """Minus the virial over the volume; six numbers are in Voigt's order."""
    (one,) = LabelNames({"stress": "virial"}).apply([sample(virial=[3, 2, 1, 6, 5, 4])], "a.xyz")
    np.testing.assert_allclose(
        one.labels["stress"], -np.array([[3, 4, 5], [4, 2, 6], [5, 6, 1]]) / 24
    )
    (one,) = LabelNames({"stress": "virial"}, {"stress": "kcal/mol"}).apply(
        [sample(virial=np.eye(3))], "a.xyz"
    )
    np.testing.assert_allclose(one.labels["stress"], -0.0433641 * np.eye(3) / 24, rtol=1e-5)


def test_a_sign_may_stand_before_a_unit():
    (one,) = LabelNames({"stress": "s"}, {"stress": "-kbar"}).apply([sample(s=np.eye(3))], "a.xyz")
    np.testing.assert_allclose(one.labels["stress"], -np.eye(3) * 6.2415e-4, rtol=1e-4)


def test_other_spellings_are_recognised():
    assert recognised({"Energy": 1, "force": 1, "virials": 1, "dft_energy": 1}, {}) == {
        "energy": "Energy",
        "forces": "force",
        "stress": "virials",
    }
    assert recognised({"free_energy": 1}, {}) == {"energy": "free_energy"}
    assert recognised({"free_energy": 1, "Energy": 1}, {"energy": 1}) == {}


def test_the_refusal_lists_the_keys_with_the_flags():
    labelled = sample(REF_energy=1.0, dft_forces=np.ones((2, 3)), config_weight=1.0)
    assert flags_for([labelled]) == ["--key energy=REF_energy", "--key forces=dft_forces"]
    error = no_labels([labelled], "a.xyz")
    assert "a.xyz: no labels, but it has REF_energy, dft_forces, config_weight" in str(error)
    assert "--key energy=REF_energy --key forces=dft_forces" in str(error)
    assert "column `quantity[unit]`" in str(no_labels([sample()], "a.csv"))
    assert unused([labelled.replace(labels={"energy": np.array(1.0)})]) == (
        "not used: REF_energy, dft_forces, config_weight "
        "(--key forces=dft_forces would take them as labels)"
    )


@pytest.mark.parametrize(
    ("keys", "units", "message"),
    [
        (["energy"], [], "write it as --key energy=REF_energy"),
        (["energy=a", "energy=b"], [], "given twice"),
        (["enrgy=a"], [], "Did you mean 'energy'"),
        ([], ["energy=GPa"], "cannot be converted"),
        ([], ["energy=zorks"], "unit 'zorks' is not known"),
        (["energy=REF_enrgy"], [], "no 'REF_enrgy' .*Did you mean 'REF_energy'"),
        (["energy=F"], [], r"F has shape \(2, 3\); 'energy' needs one number"),
        (["energy=text"], [], "text=none is not a number"),
        ([], ["energy=hartree"], "it has no label 'energy'"),
    ],
)
def test_mistakes_are_explained(keys, units, message):
    labelled = sample(REF_energy=1.0, F=np.ones((2, 3)), text="none")
    with pytest.raises(InputError, match=message):
        LabelNames.parse(keys, units).apply([labelled], "a.xyz")


@pytest.fixture
def no_own():
    registry._defined.clear()
    yield
    registry._defined.clear()


@pytest.mark.parametrize(
    ("stated", "keys", "units", "unit"),
    [
        ("fame[mN/m]", [], [], "mN/m"),
        ("fame[mN/m]", [], ["fame=dyn/cm"], "dyn/cm"),
        ("fame", [], ["fame=kelvin"], "kelvin"),
        ("glory[K]", ["fame=glory"], [], "K"),
        ("glory[K]", ["fame=glory[K]"], [], "K"),
    ],
)
def test_a_quantity_of_the_users_own_has_the_unit_of_its_header(no_own, stated, keys, units, unit):
    given = sample(**{stated: 2.0})
    (read,) = LabelNames.parse(keys, units, extensive={"fame": False}).apply([given], "a.csv")
    assert float(read.labels["fame"]) == 2.0
    assert not read.extras
    fame = registry.quantities()["fame"]
    assert (fame.unit, fame.extensive) == (unit, False)


@pytest.mark.parametrize(
    ("stated", "kinds", "units", "message"),
    [
        ("fame", {"fame": True}, [], "--target fame: say its unit"),
        ("fame[mN/m]", {"fame": True}, ["fame=N/m"], r"header says 'fame\[mN/m\]', not --unit"),
        ("fame[mN/m]", {"fame": True}, ["fame=K"], "cannot be converted"),
        ("fame", {"glory": True}, ["glory=1"], "no 'glory'"),
        ("fame[best]", {"fame": True}, [], "unit 'best' is not known"),
        ("energy", {"energy": False}, [], "'energy' is extensive, not intensive"),
    ],
)
def test_mistakes_about_quantities_of_the_users_own(no_own, stated, kinds, units, message):
    with pytest.raises(InputError, match=message):
        LabelNames.parse([], units, extensive=kinds).apply([sample(**{stated: 2.0})], "a.csv")
    assert "fame" not in registry.quantities()
