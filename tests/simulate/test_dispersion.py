"""D3(BJ) of molecules and cells against simple-dftd3, Grimme's group's own Fortran program.

`dispersion.json` holds its answers (version 1.7.0, rational damping, two-body). Both take the same
cutoffs, so what is left is rounding.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

import sfm
from sfm.data.sample import Sample
from sfm.data.systems import Systems
from sfm.errors import InputError, InputWarning
from sfm.simulate.dispersion import PARAMETERS, Dispersion

pytest.importorskip("tad_dftd3")
REFERENCE = json.loads(Path(__file__).with_name("dispersion.json").read_text(encoding="utf-8"))
CASES = [name for name in REFERENCE if name != "source"]


def systems(*names, dtype=torch.float64) -> Systems:
    """One batch of reference systems, open and periodic ones side by side."""
    rows = [REFERENCE[name] for name in names]
    counts = [len(row["numbers"]) for row in rows]
    cells = [row["cell"] or np.zeros((3, 3)).tolist() for row in rows]
    return Systems(
        torch.tensor([x for row in rows for x in row["positions"]], dtype=dtype),
        torch.tensor(cells, dtype=dtype),
        torch.tensor([z for row in rows for z in row["numbers"]]),
        torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(counts)),
        {},
    )


def derivatives(term, given):
    """Energies, forces, and the derivative by strain."""
    strain = torch.zeros_like(given.cell, requires_grad=True)
    move = torch.zeros_like(given.positions, requires_grad=True)
    deformed = torch.eye(3, dtype=given.cell.dtype) + (strain + strain.mT) / 2
    x = ((given.positions + move).unsqueeze(1) @ deformed[given.system]).squeeze(1)
    energy = term(given._replace(positions=x, cell=given.cell @ deformed))
    along, work = torch.autograd.grad(energy.sum(), (move, strain))
    return energy.detach(), -along, work


@pytest.mark.parametrize("name", CASES)
def test_energy_forces_and_virial_are_those_of_simple_dftd3(name):
    row = REFERENCE[name]
    energy, forces, work = derivatives(Dispersion(row["functional"]), systems(name))
    assert float(energy) == pytest.approx(row["energy"], abs=1e-8)
    np.testing.assert_allclose(forces.numpy(), row["forces"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(work[0].numpy(), row["virial"], rtol=0, atol=1e-7)


def test_a_batch_of_open_and_periodic_systems_is_each_alone():
    term = Dispersion("PBE")
    together = term(systems("ethanol", "graphite", "argon"))
    alone = [term(systems(name)) for name in ("ethanol", "graphite", "argon")]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=0)


def test_a_larger_cell_of_the_same_crystal_has_its_energy_twice():
    term, one = Dispersion("PBE"), systems("graphite")
    twice = Systems(
        torch.cat([one.positions, one.positions + one.cell[0, 1]]),
        one.cell * torch.tensor([1.0, 2.0, 1.0])[:, None],
        one.types.repeat(2),
        one.system.repeat(2),
        {},
    )
    # bonds are counted to 1e-9, by atoms in another order
    torch.testing.assert_close(term(twice), 2 * term(one), rtol=1e-9, atol=0)


def test_molecules_far_apart_have_the_sum_of_their_energies():
    term, one = Dispersion("B3LYP"), systems("ethanol")
    apart = one._replace(
        positions=torch.cat([one.positions, one.positions + 100.0]),
        types=one.types.repeat(2),
        system=one.system.repeat(2),
    )
    torch.testing.assert_close(term(apart), 2 * term(one), rtol=1e-12, atol=0)


def test_gradients_are_those_of_finite_differences():
    """Twice in positions, which phonons take, and in the damping, which training may."""
    term, given = Dispersion("PBE"), systems("ethanol")

    def energy(positions, s8, a1, a2):
        values = {"s8": s8, "a1": a1, "a2": a2}
        moved = given._replace(positions=positions, types=given.types[:4], system=given.system[:4])
        return torch.func.functional_call(term, values, (moved,))

    start = (given.positions[:4], term.s8, term.a1, term.a2)
    inputs = tuple(x.detach().clone().requires_grad_() for x in start)
    assert torch.autograd.gradcheck(energy, inputs, atol=1e-8, rtol=1e-5)
    assert torch.autograd.gradgradcheck(energy, inputs, atol=1e-7, rtol=1e-4)


def test_single_precision_is_within_its_rounding():
    double = Dispersion("PBE")(systems("graphite"))
    single = Dispersion("PBE")(systems("graphite", dtype=torch.float32))
    assert single.dtype == torch.float32
    assert float(single) == pytest.approx(float(double), rel=1e-6)


@pytest.mark.parametrize(
    ("part", "name", "potential"),
    [("crystals/lattice", "argon", "lennard-jones"), ("crystals/molecular-dynamics", "argon",
     "lennard-jones"), ("crystals/molecular-dynamics", "argon", "morse"),
     ("molecules/relax", "ethanol", "uff"), ("molecules/molecular-dynamics", "ethanol", "mmff94")],
)  # fmt: skip
def test_a_simulator_adds_it_to_what_it_has(part, name, potential):
    row = REFERENCE[name]
    sample = Sample(
        id=name, domain=part.partition("/")[0], types=np.array(row["numbers"]),
        positions=np.array(row["positions"]),
        cell=None if row["cell"] is None else np.array(row["cell"]),
        pbc=np.array([row["cell"] is not None] * 3),
    )  # fmt: skip
    seen = {}
    for functional in ("none", "PBE0"):
        values = {} if functional == "none" else {"dispersion": functional}
        with pytest.warns(InputWarning) if potential == "morse" or values else nullcontext():
            simulator = sfm.simulator(part, potential=potential, **values)
            state = simulator.state(sample)
        seen[functional] = simulator.observe(state)
    energy, forces, _ = derivatives(Dispersion("PBE0"), systems(name))
    kind = "energy" if "energy" in seen["none"] else "potential_energy"
    for what, answer in ((kind, energy), ("forces", forces)):
        more = (seen["PBE0"][what] - seen["none"][what]).detach()
        torch.testing.assert_close(more.reshape(answer.shape), answer, rtol=1e-6, atol=1e-7)


def test_it_may_be_all_of_a_baseline():
    """A model then learns its label less dispersion."""
    given = systems("ethanol")
    given = given._replace(conditions={name: torch.zeros(1) for name in ("charge", "spin")})
    simulator = sfm.simulator("molecules/relax", potential="none", dispersion="PBE")
    torch.testing.assert_close(simulator.baseline(given), Dispersion("PBE")(given))


def test_what_has_dispersion_already_is_said():
    with pytest.warns(InputWarning, match="lennard-jones has dispersion already"):
        sfm.simulator("crystals/lattice", potential="lennard-jones", dispersion="PBE")
    closure = sfm.load("sfm-tiny").closure("molecules", level="GFN2-xTB")
    with pytest.warns(InputWarning, match="GFN2-xTB has dispersion already"):
        sfm.simulator("molecules/relax", closure=closure, dispersion="PBE")


def test_refusals_name_what_is_wrong():
    with pytest.raises(InputError, match="dispersion=none does not use dispersion_reach"):
        sfm.simulator("molecules/relax", dispersion_reach=10.0)
    with pytest.raises(InputError, match=r"dispersion_reach=-1\.0 angstrom must be positive"):
        Dispersion("PBE", reach=-1.0)
    with pytest.raises(InputError, match="Did you mean 'PBE'"):
        Dispersion("PBX")
    heavy = systems("argon")
    with pytest.raises(InputError, match="atomic number 104 has no reference"):
        Dispersion("PBE")(heavy._replace(types=torch.full_like(heavy.types, 104)))
    assert set(PARAMETERS) == {"PBE", "r2SCAN", "PBE0", "B3LYP"}
