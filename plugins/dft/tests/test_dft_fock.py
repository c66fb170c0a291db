"""Fock matrices in a minimal basis: layout, symmetry, size consistency, labels, training."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.linalg import block_diag, eigh
from sfm_dft.data.specs import DFT_SMALL, PBE
from sfm_dft.fock.baselines import DistanceAverage, block, invariants
from sfm_dft.fock.basis import block_rotation, padded, present, to_blocks, to_matrix
from sfm_dft.fock.evaluation import cycles, orbital_errors
from sfm_dft.fock.labels import label, label_all, minimal_molecule, starting_matrix
from sfm_dft.fock.model import FockModel
from sfm_dft.fock.pairs import Pairs
from sfm_dft.fock.training import LEVELS, ROTATION, UNIT, FockTraining, example, normalise
from sfm_dft.model.single_context import single_context

import sfm
from sfm.data.storage import open_dataset
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.nn.symmetry import random_rotation

TYPES = np.array([6, 8, 1, 9])  # formyl fluoride, pulled out of its plane
POSITIONS = np.array([[0.0, 0.05, 0.1], [0.0, 0.1, 1.28], [0.2, 0.94, -0.58], [0.1, -1.1, -0.6]])


@pytest.fixture(scope="module")
def truth():
    return label(TYPES, POSITIONS)


@pytest.fixture(scope="module")
def base():
    return sfm.load("sfm-tiny")


def fresh(base, seed=0):
    """A model in float64 whose blocks are all of order one, so that no part hides."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = FockModel(single_context(base, PBE, "test", seed=seed)).double()
    model.blocks.atom_scale.fill_(1.0)
    model.blocks.pair_scale.fill_(1.0)
    return model


def integrals(types, positions):
    molecule = minimal_molecule(types, positions)
    return molecule.intor_symmetric("int1e_ovlp"), starting_matrix(molecule)


def whole_rotation(types, rotation):
    """W of the whole molecule in PySCF's order."""
    one = block_rotation(rotation).numpy()
    inside = present(types).reshape(-1)
    return block_diag(*[one] * len(types))[np.ix_(inside, inside)]


def test_blocks_are_another_layout_of_the_matrix():
    values = np.random.default_rng(0).standard_normal((16, 16))
    blocks = to_blocks(values, TYPES)
    np.testing.assert_array_equal(to_matrix(blocks, TYPES), values)
    assert blocks[2, 0, 0, 0] == values[10, 0]
    assert not blocks[2, :, 1:].any()  # hydrogen has 1s alone
    np.testing.assert_array_equal(padded(values, TYPES)[11:15], 0.0)


def test_pyscf_labels_agree_with_the_layout():
    labels = [x.split()[2] for x in minimal_molecule(TYPES, POSITIONS).ao_labels()]
    heavy = ["1s", "2s", "2px", "2py", "2pz"]
    assert labels == [*heavy, *heavy, "1s", *heavy]


def test_other_elements_are_refused():
    with pytest.raises(InputError, match="atomic number 14"):
        present(np.array([6, 14]))


@pytest.mark.parametrize("improper", [False, True])
def test_integrals_turn_with_the_blocks_rotation(improper):
    """PySCF's overlap and F0 of a turned molecule are W M W^T: p is x, y, z there too."""
    rotation = random_rotation(torch.Generator().manual_seed(1)) * (-1 if improper else 1)
    turn = whole_rotation(TYPES, rotation)
    for before, after in zip(
        integrals(TYPES, POSITIONS),
        integrals(TYPES, POSITIONS @ rotation.numpy().T),
        strict=True,
    ):
        np.testing.assert_allclose(after, turn @ before @ turn.T, atol=1e-10)


@pytest.mark.parametrize("improper", [False, True])
def test_the_whole_matrix_is_equivariant(base, improper):
    model = fresh(base)
    rotation = random_rotation(torch.Generator().manual_seed(2)) * (-1 if improper else 1)
    turn = whole_rotation(TYPES, rotation)
    moved = POSITIONS @ rotation.numpy().T
    overlap, start = integrals(TYPES, POSITIONS)
    before = model.predict(TYPES, POSITIONS, overlap, start)
    # the same integrals, turned exactly: what is tested is the module
    after = model.predict(TYPES, moved, turn @ overlap @ turn.T, turn @ start @ turn.T)
    np.testing.assert_allclose(after, turn @ before @ turn.T, atol=1e-10)
    np.testing.assert_allclose(before, before.T, atol=1e-12)
    assert np.abs(before - start).max() > 0.1


def test_every_irrep_takes_part(base):
    """A p-p block of two different atoms has a scalar, an axial and a symmetric part."""
    overlap, _ = integrals(TYPES, POSITIONS)
    matrix = fresh(base).predict(TYPES, POSITIONS, overlap, np.zeros_like(overlap))
    square = to_blocks(matrix, TYPES)[0, 1, 2:, 2:]
    scalar = np.trace(square) / 3 * np.eye(3)
    axial = 0.5 * (square - square.T)
    for part in (scalar, axial, square - scalar - axial):
        assert np.abs(part).max() > 1e-3


def test_atoms_in_another_order_permute_the_blocks(base):
    order = np.array([2, 0, 3, 1])
    model = fresh(base)
    overlap, start = integrals(TYPES, POSITIONS)
    before = to_blocks(model.predict(TYPES, POSITIONS, overlap, start), TYPES)
    overlap, start = integrals(TYPES[order], POSITIONS[order])
    after = to_blocks(model.predict(TYPES[order], POSITIONS[order], overlap, start), TYPES[order])
    # integrals of another order of atoms agree to their screening
    np.testing.assert_allclose(after, before[order][:, order], atol=1e-10)


def test_far_fragments_do_not_feel_each_other(base):
    """30 angstrom apart: the blocks of each are those of it alone, and the rest is zero."""
    model = fresh(base)
    types = np.concatenate([TYPES, [8, 1, 1]])
    water = np.array([[0.0, 0.0, 0.0], [0.0, 0.76, 0.59], [0.0, -0.76, 0.59]])
    positions = np.concatenate([POSITIONS, water + np.array([30.0, 0.0, 0.0])])
    overlap = integrals(types, positions)[0]
    together = model.predict(types, positions, overlap, np.zeros_like(overlap))
    n = 16
    for part, fragment in (
        (slice(0, n), (types[:4], positions[:4])),
        (slice(n, None), (types[4:], water)),
    ):
        alone_overlap = integrals(*fragment)[0]
        alone = model.predict(*fragment, alone_overlap, np.zeros_like(alone_overlap))
        np.testing.assert_allclose(together[part, part], alone, atol=1e-10)
    np.testing.assert_allclose(together[:n, n:], 0.0, atol=1e-10)


def test_a_batch_is_its_molecules_one_by_one(base, truth):
    model = fresh(base)
    water = label(
        np.array([8, 1, 1]), np.array([[0, 0, 0], [0, 0.76, 0.59], [0, -0.76, 0.59]]) * 1.0
    )
    examples = [example(model, truth), example(model, water)]
    pairs = Pairs.of(torch.tensor([4, 3]))
    blocks = model(
        Tokens.cat([x.tokens for x in examples]), pairs, torch.cat([x.overlap for x in examples])
    )
    whole = pairs.whole(blocks.detach()).numpy()
    for matrix, one in zip(whole, (truth, water), strict=True):
        alone = model.predict(one.types, one.positions, one.overlap, np.zeros_like(one.overlap))
        size = 5 * len(one.types)
        expected = padded(padded(alone, one.types).T, one.types).T
        np.testing.assert_allclose(matrix[:size, :size], expected, atol=1e-11)
        assert not matrix[size:].any()


def test_a_constant_potential_needs_no_pair_block(base, truth):
    """A_i = c gives c S: the second term alone is exact for a shift of the energy's zero."""
    model = fresh(base)
    model.blocks.atom_scale.zero_()
    model.blocks.pair_scale.zero_()
    model.blocks.mean[:] = 0.3 * torch.eye(5, dtype=torch.float64)
    matrix = model.predict(TYPES, POSITIONS, truth.overlap, np.zeros_like(truth.overlap))
    np.testing.assert_allclose(matrix, 0.3 * truth.overlap, atol=1e-12)


def test_a_label_is_self_consistent(truth):
    """Its orbitals fill to the density that gives it, so no cycle but the check is left."""
    assert cycles(truth.fock, truth) <= 2
    errors = orbital_errors(truth.fock, truth)
    assert errors["similarity"] == pytest.approx(1.0, abs=1e-12)
    assert max(errors[k] for k in ("elements", "occupied", "homo", "lumo", "gap")) < 1e-9
    start = orbital_errors(truth.start, truth)
    assert start["similarity"] < 1.0
    assert start["elements"] > 1.0


def test_labels_are_kept_and_read_again(tmp_path):
    data = open_dataset(DFT_SMALL.folder, split="train", level=PBE)
    samples = [data[0]]
    first = label_all(samples, tmp_path)
    (file,) = tmp_path.iterdir()
    changed = file.stat().st_mtime_ns
    again = label_all(samples, tmp_path)
    assert file.stat().st_mtime_ns == changed
    np.testing.assert_array_equal(first[samples[0].id].fock, again[samples[0].id].fock)
    file.write_bytes(b"broken")
    with pytest.raises(InputError, match="delete the file"):
        label_all(samples, tmp_path)


def test_the_loss_is_first_order_perturbation_theory(base, truth):
    """For a small error the levels' term is the shift of the levels, and so for the rotation."""
    model = fresh(base)
    training = FockTraining(model, [example(model, truth)])
    model.blocks.mean.zero_()
    model.blocks.atom_scale.zero_()
    model.blocks.pair_scale.zero_()  # the model now says F0, whatever its weights
    noise = np.random.default_rng(3).standard_normal(truth.fock.shape) * 1e-6
    near = dataclasses.replace(truth, start=truth.fock + noise + noise.T)
    _, levels, rotation = training.loss([example(model, near)])[0].tolist()
    n = truth.occupied
    energies, orbitals = eigh(near.start, truth.overlap)
    true, target = eigh(truth.fock, truth.overlap)
    shift = np.abs(energies - true)[: n + 1].mean()
    assert levels * UNIT / LEVELS == pytest.approx(shift, rel=1e-3)
    # squared sines of the angles between the occupied spaces, per orbital: what `similarity` lacks,
    # but that difference of 1e-11 is too small to take from 1
    virtual = orbitals[:, :n].T @ truth.overlap @ target[:, n:]
    lost = (virtual**2).sum() / n
    # the loss adds 1e-12 under its root; second order is left out
    assert (rotation * UNIT / ROTATION) ** 2 - 1e-12 == pytest.approx(lost, rel=0.02)


def test_scales_reproduce_single_molecules(base, truth):
    """With the fitted mean, an element that occurs once keeps the invariant part of its block."""
    model = fresh(base)
    one = example(model, truth)
    normalise(model.blocks, [one])
    mean = model.blocks.mean[1][0, 0]  # hydrogen: S_ii = 1, one number
    pairs = Pairs.of(torch.tensor([4]))
    hydrogen = (pairs.first == 2) & (pairs.second == 2)
    assert mean == pytest.approx(float(one.difference[hydrogen][0, 0, 0]), rel=1e-9)
    assert (model.blocks.pair_scale > 0).all()
    torch.testing.assert_close(model.blocks.pair_scale, model.blocks.pair_scale.T)
    assert len(torch.unique(model.blocks.atom_scale[2:, 2:])) == 1  # p triples share a scale


def test_training_lowers_the_error_and_is_saved(base, truth, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FockModel(single_context(base, PBE, "test"))
    examples = [example(model, truth)]
    training = FockTraining(model, examples)
    before = training.mean_loss(examples)
    history = training.run(examples, steps=40, batch=1, lr=3e-3, report=lambda _: None)
    assert history[-1]["validation"] < 0.5 * before
    matrix = model.predict(TYPES, POSITIONS, truth.overlap, truth.start)
    assert (
        orbital_errors(matrix, truth)["elements"]
        < 0.2 * orbital_errors(truth.start, truth)["elements"]
    )
    again = FockModel.load(model.save(tmp_path / "fock"))
    np.testing.assert_array_equal(
        again.predict(TYPES, POSITIONS, truth.overlap, truth.start), matrix
    )
    with pytest.raises(InputError, match=r"no fock\.safetensors"):
        FockModel.load(tmp_path)


def test_a_model_of_other_options_is_built_again(base, truth, tmp_path):
    """Its file says them; an older file does not, and whoever loads it does."""
    options = {"decay": 1.5, "carried": 8}
    model = FockModel(single_context(base, PBE, "test"), **options)
    said = model.predict(TYPES, POSITIONS, truth.overlap, truth.start)
    folder = model.save(tmp_path / "fock")
    for given in ({}, options):
        again = FockModel.load(folder, **given)
        np.testing.assert_array_equal(
            again.predict(TYPES, POSITIONS, truth.overlap, truth.start), said
        )
    with pytest.raises(InputError, match="was made with options"):
        FockModel.load(folder, decay=2.0)
    path = folder / "fock.safetensors"
    save_file(model.blocks.state_dict(), path)
    again = FockModel.load(folder, **options)
    np.testing.assert_array_equal(again.predict(TYPES, POSITIONS, truth.overlap, truth.start), said)
    for given in ({}, {"carrie": 8}):
        with pytest.raises(InputError, match="do not fit its options"):
            FockModel.load(folder, **given)


def test_trunk_model_keeps_the_pretrained_features(base, truth):
    """The merged trunk says what the joint model says; another seed says something else."""
    merged = single_context(base, PBE, "test").double()
    model = FockModel(merged)
    tokens = model.tokens(TYPES, POSITIONS)
    index = base.context("dft/atoms", PBE)
    routed = tokens.replace(context=torch.full_like(tokens.context, index)).to(dtype=torch.float32)
    theirs = base.features({"dft/atoms": routed})["dft/atoms"].scalars
    ours = merged.features({"dft/atoms": tokens})["dft/atoms"].scalars
    torch.testing.assert_close(ours.float(), theirs, atol=1e-4, rtol=1e-4)
    other = single_context(base, PBE, "test", seed=1).double()
    assert not torch.allclose(other.features({"dft/atoms": tokens})["dft/atoms"].scalars, ours)
    torch.testing.assert_close(other.trunk.neighbours, merged.trunk.neighbours)


def test_distance_average_is_exact_where_only_distance_matters():
    rng = np.random.default_rng(5)
    numbers, edge = rng.standard_normal(10), rng.standard_normal(3)
    np.testing.assert_allclose(invariants(block(numbers, edge), edge), numbers, atol=1e-12)
    # the overlap of two atoms is a function of their distance
    types, far = np.array([6, 8]), np.array([[0.0, 0, 0], [0.0, 0, 1.2]])
    overlap = integrals(types, far)[0]
    rotation = random_rotation(torch.Generator().manual_seed(3)).numpy()
    average = DistanceAverage([(types, far, overlap)])
    np.testing.assert_allclose(
        average.matrix(types, far @ rotation.T), integrals(types, far @ rotation.T)[0], atol=1e-10
    )
