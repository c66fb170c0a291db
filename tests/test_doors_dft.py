"""The doors of dft: charge and spin of a file reach its encoder and Kohn-Sham theory."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sfm_dft.simulators.kohn_sham import KohnSham

import sfm
from sfm.cli import main
from sfm.data.convert import read_items, write_items
from sfm.data.packing import Item
from sfm.data.readers import read_file
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.testing.models import LEVEL, config_for
from sfm.train.evaluate import evaluate

HYDRONIUM = "O 0 0 0.08\nH 0.94 0 -0.2\nH -0.47 0.81 -0.2\nH -0.47 -0.81 -0.2\n"
METHYL = "C 0 0 0\nH 1.08 0 0\nH -0.54 0.935 0\nH -0.54 -0.935 0\n"
CASES = {
    "H3O+ charge=1": (HYDRONIUM, "charge=1", 1, 0),
    "H3O+ 1 1": (HYDRONIUM, "1 1", 1, 0),
    "H3O+ JSON": (HYDRONIUM, '{"q": 1, "mult": 1}', 1, 0),
    "CH3- total_charge": (METHYL, "total_charge=-1", -1, 0),
    "CH3 multiplicity: 2": (METHYL, "charge: 0 multiplicity: 2", 0, 1),
    "CH3 spin=1": (METHYL, "spin=1", 0, 1),
}
TOLERANCE = 2e-5  # eV, float32


@pytest.fixture(scope="module")
def model() -> FoundationModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FoundationModel(config_for({"dft/atoms": ("energy",)})).eval()


@pytest.fixture
def stated(tmp_path, request):
    """(file, the sample that it states) of a case."""
    rows, comment, charge, spin = CASES[request.param]
    path = tmp_path / "system.xyz"
    path.write_text(f"4\n{comment}\n{rows}")
    words = [row.split() for row in rows.splitlines()]
    sample = Sample(
        id="x",
        domain="dft",
        types=[{"O": 8, "H": 1, "C": 6}[w[0]] for w in words],
        positions=[[float(x) for x in w[1:]] for w in words],
        conditions={"charge": float(charge), "spin": float(spin)},
    )
    return path, sample


def _energy(model, what, **options) -> float:
    return float(model.predict(what, quantities=["energy"], **options)["energy"])


def _said(capsys, *words: str) -> dict:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["quantities"]


@pytest.mark.filterwarnings("ignore::sfm.errors.InputWarning")  # spin is no input of the encoder
@pytest.mark.parametrize("stated", CASES, indirect=True)
def test_one_energy_through_every_door(model, stated, tmp_path, capsys):
    path, sample = stated
    expected = _energy(model, sample)
    if sample.conditions["charge"]:
        assert abs(expected - _energy(model, sample.replace(conditions={}))) > 100 * TOLERANCE
    folder = model.save_pretrained(tmp_path / "model")
    (molecule,) = read_file(path, domain="dft")
    energies = {"predict": _energy(model, path, domain="dft"), "read": _energy(model, molecule)}
    words = ("predict", str(folder), str(path), "--domain", "dft")
    energies["sfm predict"] = _said(capsys, *words)["energy"]["value"]
    for suffix in (".extxyz", ".npz"):
        write_items(tmp_path / f"a{suffix}", [Item(molecule)])
        (item,) = read_items(tmp_path / f"a{suffix}")
        energies[suffix] = _energy(model, item.sample)
    labelled = [molecule.replace(id=str(i), level=LEVEL, labels={"energy": 1e3}) for i in range(3)]
    energies["evaluate"] = 1e3 - evaluate(model, labelled).of("energy").mae
    assert energies == pytest.approx(dict.fromkeys(energies, expected), abs=TOLERANCE)


@pytest.mark.parametrize("stated", CASES, indirect=True)
def test_kohn_sham_counts_the_electrons_that_are_stated(stated):
    path, sample = stated
    simulator = KohnSham(basis="sto-3g")
    (first,) = read_file(path, domain="dft")
    for one in (first, sample):
        (molecule,) = simulator.state(one).system.molecules
        assert (molecule.charge, molecule.spin) == (
            sample.conditions["charge"],
            sample.conditions["spin"],
        )


@pytest.mark.parametrize("stated", ["H3O+ 1 1", "CH3 multiplicity: 2"], indirect=True)
def test_kohn_sham_on_the_command_line_is_that_of_pyscf(stated, capsys):
    """PySCF with the same functional and basis; fitting bases and grids differ by some meV.

    An electron more or less is several eV.
    """
    from pyscf import dft, gto

    path, sample = stated
    words = ("simulate", "dft/kohn-sham", "--input", str(path), "--set", "functional=LDA")
    energy = _said(capsys, *words, "basis=sto-3g")["energy"]["value"]
    mol = gto.M(
        atom=list(zip(sample.types.tolist(), sample.positions.tolist(), strict=True)),
        charge=int(sample.conditions["charge"]),
        spin=int(sample.conditions["spin"]),
        basis="sto-3g",
        verbose=0,
    )
    expected = dft.KS(mol, xc="lda,pw").density_fit().run().e_tot * 27.211386245988
    assert energy == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("stated", ["CH3 spin=1"], indirect=True)
def test_what_cannot_be_is_refused(stated, model):
    _, sample = stated
    wrong = sample.replace(conditions={"charge": 1.0, "spin": 1.0})
    with pytest.raises(InputError, match="8 electrons cannot have 1 unpaired"):
        KohnSham(basis="sto-3g").state(wrong)


def test_a_level_names_the_domain_that_knows_it():
    """A molecule at a level of `dft` needs no domain; what no other domain can take is refused."""
    tiny, level = sfm.load("sfm-tiny"), "PBE/def2-SVP"
    said, named = (tiny.predict("OCC", level=level, domain=d) for d in (None, "dft"))
    assert said.domain == "dft"
    assert all(np.array_equal(said[key], named[key]) for key in {*said, *named})
    assert "homo" in said
    features = [tiny.embed("OCC", level=level, domain=d).invariant for d in (None, "dft")]
    assert np.array_equal(*features)
    assert tiny.predict("OCC", level="GFN2-xTB").domain == "molecules"
    with pytest.raises(InputError, match="cannot say anything at level 'DNS' of this input"):
        tiny.predict("OCC", level="DNS")
