"""Classical potentials against rdkit's UFF and MMFF94 and ASE's Lennard-Jones."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.lj import LennardJones
from rdkit import rdBase
from rdkit.Chem import AllChem
from sfm_molecules.constants import KCAL_PER_MOL
from sfm_molecules.geometry.conformers import geometry
from sfm_molecules.geometry.embedding import embed, parse_smiles
from sfm_molecules.geometry.topology import molecule_from_geometry
from sfm_molecules.potentials import lennard_jones
from sfm_molecules.potentials.mmff import MerckForceField, StaticMerckForceField
from sfm_molecules.potentials.uff import UniversalForceField
from sfm_molecules.simulators.dynamics import MolecularDynamics

from sfm.data.sample import Sample
from sfm.errors import InputError

KINDS = ("bonds", "angles", "torsions", "inversions", "pairs")
# every kind of centre, bond and small ring that UFF and rdkit treat apart
MOLECULES = (
    "CCO",
    "c1ccccc1O",
    "CC(=O)NC",
    "C#CC",
    "O=S(=O)(O)C",
    "C[N+](=O)[O-]",
    "OC1CCCCC1N",
    "C1CC1",
    "C1=CC1",
    "C1=CCC1",
    "CC1CC1=O",
    "O=C1CCC1",
    "CC=C",
    "C=CC=C",
    "CSSC",
    "OO",
    "COC=C",
    "N#N",
    "FC(F)(F)Cl",
    "c1ccsc1",
    "O",
    "C=C=C",
    "CN=NC",
    "CP",
    "C1=CC1=O",
    "ClC=CCl",
    "CN(C)C=O",
    "c1cc[nH]c1",
    "C=S",
    "OS(=O)O",
    "NO",
    "CC(=C)C=O",
    "O.OC",
    "N#CC#N",
    "OC(=O)C(F)=C",
    "S=C=S",
)
# and of what MMFF94 treats apart: linear nitrogens, ions, halogens, phosphorus, silicon, N-oxides
MERCK_MOLECULES = (
    "CN=[N+]=[N-]",
    "C[N+]#N",
    "C[N+]#[C-]",
    "CC(=O)[O-]",
    "C[NH3+]",
    "Clc1ccccc1Br",
    "CI",
    "CS(=O)(=O)N",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "OP(=O)(O)O",
    "C[Si](C)(C)C",
    "[O-][n+]1ccccc1",
    "CNc1ccccc1",
)


def disturbed(smiles: str, size: float, seed: int = 0):
    """A molecule with a conformer away from the minimum."""
    molecule = embed(smiles, seed=1)
    _, x = geometry(molecule)
    x = x + size * np.random.default_rng(seed).standard_normal(x.shape)
    for i, point in enumerate(x):
        molecule.GetConformer().SetAtomPosition(i, point.tolist())
    return molecule, x


def rdkit_uff(molecule) -> tuple[float, np.ndarray]:
    """Energy and gradient, kcal/mol and kcal/mol/angstrom."""
    with rdBase.BlockLogs():
        field = AllChem.UFFGetMoleculeForceField(
            molecule, vdwThresh=100.0, ignoreInterfragInteractions=False
        )
    field.Initialize()
    return field.CalcEnergy(), np.array(field.CalcGrad()).reshape(-1, 3)


@pytest.mark.filterwarnings("ignore:.*placed at van der Waals contact")
@pytest.mark.parametrize("size", [0.02, 0.15])
def test_uff_energy_and_gradient_equal_those_of_rdkit(size):
    for number, smiles in enumerate(MOLECULES):
        molecule, x = disturbed(smiles, size, number)
        energy, gradient = rdkit_uff(molecule)
        positions = torch.tensor(x, requires_grad=True)
        system = torch.zeros(len(x), dtype=torch.long)
        ours = UniversalForceField([molecule])(positions, system, system) / KCAL_PER_MOL
        (slope,) = torch.autograd.grad(ours.sum(), positions)
        assert ours.item() == pytest.approx(energy, rel=1e-9, abs=1e-9), smiles
        assert np.abs(slope.numpy() - gradient).max() < 1e-9 * np.abs(gradient).max(), smiles


@pytest.mark.filterwarnings("ignore:.*placed at van der Waals contact")
@pytest.mark.parametrize("kind", [MerckForceField, StaticMerckForceField])
def test_mmff_energy_and_gradient_equal_those_of_rdkit(kind):
    terms: Counter[str] = Counter()
    for number, smiles in enumerate((*MOLECULES, *MERCK_MOLECULES)):
        molecule, x = disturbed(smiles, 0.1, number)
        with rdBase.BlockLogs():
            known = AllChem.MMFFGetMoleculeProperties(molecule, mmffVariant=kind.name)
        theirs = AllChem.MMFFGetMoleculeForceField(
            molecule, known, nonBondedThresh=100.0, ignoreInterfragInteractions=False
        )
        theirs.Initialize()
        energy, gradient = theirs.CalcEnergy(), np.array(theirs.CalcGrad()).reshape(-1, 3)
        positions = torch.tensor(x, requires_grad=True)
        system = torch.zeros(len(x), dtype=torch.long)
        field = kind([molecule])
        ours = field(positions, system, system) / KCAL_PER_MOL
        (slope,) = torch.autograd.grad(ours.sum(), positions)
        assert ours.item() == pytest.approx(energy, rel=1e-9, abs=1e-9), smiles
        assert np.abs(slope.numpy() - gradient).max() < 1e-9 * np.abs(gradient).max(), smiles
        terms.update({name: len(getattr(field, f"{name}_atoms")) for name in field.energies})
        terms["linear"] += int(field.angles_values[:, 2].sum())
    assert len(terms) == 8
    assert min(terms.values()) >= 9


def test_flat_nitrogens_are_what_the_static_variant_changes():
    """Aniline's nitrogen is less stiff against leaving the plane in MMFF94 than in MMFF94s."""
    molecule, _ = disturbed("Nc1ccccc1", 0.0)
    stiffness = [
        float(k([molecule]).planes_values.sum()) for k in (MerckForceField, StaticMerckForceField)
    ]
    assert stiffness[1] > stiffness[0]


def test_charges_of_mmff_are_those_of_the_ion():
    """Acetate from its geometry: the sample's charge reaches the force field, without a warning."""
    molecule, x = disturbed("CC(=O)[O-]", 0.0)
    types, _ = geometry(molecule)
    sample = Sample(
        id="acetate", domain="molecules", positions=x, types=types, conditions={"charge": -1.0}
    )
    simulator = MolecularDynamics(potential="mmff94")
    state = simulator.state(sample)
    energy = simulator.potential_energy(state.systems)
    zeros = torch.zeros(len(x), dtype=torch.long)
    expected = MerckForceField([molecule])(torch.tensor(x), zeros, zeros)
    torch.testing.assert_close(energy, expected)
    torch.testing.assert_close(simulator.baseline(state.systems), expected)


def test_every_kind_of_term_was_tested():
    fields = [UniversalForceField([parse_smiles(s)]) for s in MOLECULES]
    for kind in KINDS:
        assert sum(len(getattr(f, f"{kind}_atoms")) for f in fields) > 20
    angle_numbers = {int(n) for f in fields for n in f.angles_values[:, 1]}
    assert angle_numbers == {0, 1, 3}
    torsion_kinds = {tuple(row) for f in fields for row in f.torsions_values[:, 1:].int().tolist()}
    assert torsion_kinds == {(2, 1), (2, -1), (3, -1), (6, 1)}


def test_batch_of_molecules_equals_each_alone():
    pairs = [disturbed(s, 0.05) for s in ("CCO", "c1ccccc1", "O")]
    whole = UniversalForceField([m for m, _ in pairs])
    system = torch.repeat_interleave(torch.arange(3), torch.tensor([len(x) for _, x in pairs]))
    together = whole(torch.tensor(np.concatenate([x for _, x in pairs])), system, system)
    alone = []
    for molecule, x in pairs:
        zeros = torch.zeros(len(x), dtype=torch.long)
        alone.append(UniversalForceField([molecule])(torch.tensor(x), zeros, zeros))
    torch.testing.assert_close(together, torch.cat(alone))


def test_derivatives_are_finite_for_planar_and_linear_molecules():
    carbon_dioxide = (parse_smiles("O=C=O"), [[-1.2, 0, 0], [0.0, 0, 0], [1.2, 0, 0]])
    along = [[x, 0.0, 0.0] for x in (0.0, 1.2, 2.4, -1.06, 3.46)]
    along[0][0], along[1][0] = 0.0, 1.2
    acetylene = (parse_smiles("C#C"), [[0.0, 0, 0], [1.2, 0, 0], [-1.06, 0, 0], [2.26, 0, 0]])
    flat = [[math.cos(a), math.sin(a), 0.0] for a in (0.0, 2.1, 4.2)]
    formaldehyde = (parse_smiles("C=O"), [[0.0, 0, 0], *flat])
    for molecule, x in (carbon_dioxide, acetylene, formaldehyde):
        positions = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        system = torch.zeros(len(x), dtype=torch.long)
        energy = UniversalForceField([molecule])(positions, system, system).sum()
        (slope,) = torch.autograd.grad(energy, positions, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.square().sum(), positions)
        assert torch.isfinite(slope).all()
        assert torch.isfinite(curvature).all()


def test_bonds_perceived_from_a_geometry_give_the_same_field():
    for smiles in ("CCO", "CC(=O)NC", "c1ccncc1", "C[N+](=O)[O-]", "C1CC1C#N"):
        named, x = disturbed(smiles, 0.0)
        types, _ = geometry(named)
        seen = molecule_from_geometry(types, x)
        zeros = torch.zeros(len(x), dtype=torch.long)
        energies = [UniversalForceField([m])(torch.tensor(x), zeros, zeros) for m in (named, seen)]
        torch.testing.assert_close(energies[0], energies[1])


def test_no_bonds_from_nonsense():
    with pytest.raises(InputError, match="SMILES"):
        molecule_from_geometry(np.array([6, 6, 1]), np.zeros((3, 3)) + np.arange(3)[:, None] * 9.0)


def test_an_unknown_atom_type_is_explained():
    with pytest.raises(InputError, match="UFF has no type"):
        UniversalForceField([parse_smiles("FS(F)(F)(F)(F)F")])
    with pytest.raises(InputError, match="MMFF94 has no type"):
        MerckForceField([parse_smiles("C[Se]C")])


def test_missing_hydrogens_are_explained():
    from rdkit import Chem

    with pytest.raises(InputError, match="AddHs"):
        UniversalForceField([Chem.MolFromSmiles("CC")])


def test_lennard_jones_equals_ase():
    x = lennard_jones.icosahedron() + 0.1 * np.random.default_rng(0).standard_normal((13, 3))
    epsilon, sigma = lennard_jones.ARGON_EPSILON, lennard_jones.ARGON_SIGMA
    atoms = Atoms("Ar13", x)
    # ASE shifts each pair by its energy at rc: none here
    atoms.calc = LennardJones(epsilon=epsilon, sigma=sigma, rc=1e4)
    positions = torch.tensor(x, requires_grad=True)
    ours = lennard_jones.energy(
        positions,
        torch.zeros(13, dtype=torch.long),
        torch.tensor(epsilon, dtype=torch.float64),
        torch.tensor(sigma, dtype=torch.float64),
    )
    (slope,) = torch.autograd.grad(ours.sum(), positions)
    assert ours.item() == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    np.testing.assert_allclose(-slope.numpy(), atoms.get_forces(), rtol=1e-10, atol=1e-14)


def test_thirteen_atoms_have_the_known_ground_state_energy():
    one = torch.ones((), dtype=torch.float64)
    x = torch.tensor(lennard_jones.icosahedron(1.0), requires_grad=True)
    system = torch.zeros(13, dtype=torch.long)
    energy = lennard_jones.energy(x, system, one, one)
    (slope,) = torch.autograd.grad(energy.sum(), x)
    assert energy.item() == pytest.approx(-44.326801, abs=1e-5)
    assert slope.abs().max() < 1e-10
