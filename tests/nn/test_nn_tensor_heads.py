"""Tensors of whole systems: heads, isotropic parts, references; held against turned crystals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sfm_crystals.data.prototypes import diamond, rock_salt

import sfm
from sfm.data.isotropy import ELASTIC, MATRIX, elastic_reordered, isotropic, symmetric
from sfm.data.voigt import VOIGT, parse_order
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.nn import tensor_heads
from sfm.nn.head import core_head
from sfm.nn.head_classes import head_class
from sfm.nn.normalise import fit
from sfm.nn.symmetry import random_rotation, rotate_value
from sfm.nn.tensor_heads import to_voigt, turned_elastic
from sfm.quantity import Quantity
from sfm.registry import quantities
from sfm.testing.models import config_for

GENERATOR = torch.Generator().manual_seed(3)
# a cubic crystal about as stiff as silicon: C11, C12, C44 in GPa
SILICON = np.diag([166.0, 166, 166, 79.6, 79.6, 79.6])
SILICON[:3, :3] += 64 * (1 - np.eye(3))


def model_of(*names: str) -> FoundationModel:
    from dataclasses import replace

    from sfm.config import HeadSpec, Target
    from sfm.testing.models import LEVEL

    table = quantities()
    config = config_for({"crystals/atoms": ("energy",)})
    config = replace(
        config,
        heads=tuple(HeadSpec("crystals/atoms", n, core_head(table[n])) for n in names),
        targets=tuple(Target("crystals/atoms", LEVEL, n) for n in names),
        quantities={**config.quantities, **{n: table[n] for n in names}},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FoundationModel(config).double().eval()


def shaken(sample, seed=0, size=0.1):
    rng = np.random.default_rng(seed)
    return sample.replace(
        positions=sample.positions + rng.normal(scale=size, size=sample.positions.shape),
        cell=sample.cell @ (np.eye(3) + rng.normal(scale=0.03, size=(3, 3))),
    )


def said(model, sample, *names):
    tokens = model.tokenize("crystals/atoms", [sample])
    with torch.no_grad():
        return model({"crystals/atoms": tokens}, {"crystals/atoms": list(names)})["crystals/atoms"]


def test_tensors_turn_with_the_crystal():
    names = ("dielectric", "elastic_constants")
    model, sample = model_of(*names), shaken(rock_salt(12, 8, 4.2))
    # references too have to be isotropic
    for name in names:
        q = quantities()[name]
        shift = model.normalisers[f"crystals/atoms:{name}"].shift
        shift[:] = torch.from_numpy(isotropic(q.irreps).patterns.sum(0)) * 2.0
    one = said(model, sample, *names)
    for rotation in (random_rotation(GENERATOR), -random_rotation(GENERATOR)):
        turn = rotation.numpy()
        moved = sample.replace(positions=sample.positions @ turn.T, cell=sample.cell @ turn.T)
        other = said(model, moved, *names)
        for name in names:
            torch.testing.assert_close(
                other[name], rotate_value(one[name], rotation), rtol=1e-9, atol=1e-10
            )
            assert float((other[name] - one[name]).abs().max()) > 1e-4  # and it did turn
            torch.testing.assert_close(one[name], one[name].mT, rtol=1e-12, atol=1e-12)
    assert one["dielectric"].shape == (1, 3, 3)
    assert one["elastic_constants"].shape == (1, 6, 6)


def test_a_cubic_crystal_has_three_elastic_constants_and_one_permittivity():
    """No feature of rank 2 is left at its sites: what is not isotropic comes from the bonds."""
    values = said(model_of("dielectric", "elastic_constants"), diamond(14, 5.43),
                  "dielectric", "elastic_constants")  # fmt: skip
    c = values["elastic_constants"][0]
    expected = torch.zeros(6, 6, dtype=c.dtype)
    expected[:3, :3] = c[0, 1]
    expected += torch.diag(torch.stack([c[0, 0] - c[0, 1]] * 3 + [c[3, 3]] * 3))
    torch.testing.assert_close(c, expected, rtol=1e-8, atol=1e-8)
    assert abs(float(c[0, 0] - c[0, 1] - 2 * c[3, 3])) > 1e-3
    e = values["dielectric"][0]
    torch.testing.assert_close(e, e[0, 0] * torch.eye(3, dtype=e.dtype), rtol=1e-8, atol=1e-8)


def test_turned_elastic_constants_are_those_of_the_simulator():
    lattice = sfm.simulator("crystals/lattice", potential="stillinger-weber").requires_grad_(False)
    crystal = diamond(14, 5.431)
    turn = random_rotation(GENERATOR)
    moved = crystal.replace(
        positions=crystal.positions @ turn.numpy().T, cell=crystal.cell @ turn.numpy().T
    )
    one, two = (lattice.elastic_constants(lattice.state(s), clamped=True) for s in (crystal, moved))
    torch.testing.assert_close(two, turned_elastic(one, turn), rtol=1e-5, atol=1e-3)


def test_the_basis_trains_after_a_first_use_in_inference_mode():
    tensor_heads._voigt_rows.cache_clear()
    values = torch.from_numpy(SILICON)
    with torch.inference_mode():
        to_voigt(values)
    values = values.clone().requires_grad_()
    w = to_voigt(values)
    (w.T @ values @ w).sum().backward()
    torch.testing.assert_close(values.grad, torch.outer(w.sum(1), w.sum(1)))


def test_isotropic_parts_are_averages_over_orientations():
    generator = torch.Generator().manual_seed(0)
    turns = [random_rotation(generator) for _ in range(4000)]
    values = torch.from_numpy(SILICON)
    mean = torch.stack([turned_elastic(values, t) for t in turns]).mean(0).numpy()
    part = isotropic(ELASTIC).part(SILICON.reshape(1, 36)).reshape(6, 6)
    np.testing.assert_allclose(part, mean, atol=1.0)
    # Voigt: K = (C11 + 2 C12) / 3, G = (C11 - C12 + 3 C44) / 5
    assert part[:3, :3].sum() / 9 == pytest.approx((166 + 128) / 3)
    assert part[3, 3] == pytest.approx((166 - 64 + 3 * 79.6) / 5)
    np.testing.assert_allclose(
        isotropic(ELASTIC).part(part.reshape(1, 36)).reshape(6, 6), part, atol=1e-9
    )
    matrix = np.diag([1.0, 2, 6]).reshape(1, 9)
    np.testing.assert_allclose(isotropic(MATRIX).part(matrix).reshape(3, 3), 3 * np.eye(3))
    assert isotropic("0e") is None


def test_references_of_tensors_are_isotropic():
    quantity = quantities()["dielectric"]
    types = [np.array([12, 8]), np.array([14, 14])] * 10
    labels = [np.diag([3.0, 4, 5]) if t[0] == 12 else np.diag([12.0, 12, 12]) for t in types]
    result = fit(quantity, "references", types, labels)
    shift = result["shift"].reshape(-1, 3, 3)
    np.testing.assert_allclose(shift, shift[:, :1, :1] * np.eye(3), atol=1e-12)
    assert result["kind"].startswith("isotropic")
    assert shift[14, 0, 0] == pytest.approx(12, rel=0.05)
    assert np.ptp(result["scale"]) == 0


def test_orders_and_symmetry_of_labels():
    order = parse_order("xx,yy,zz,xy,yz,zx")
    values = np.diag([1.0, 2, 3, 66, 44, 55])
    np.testing.assert_array_equal(np.diag(elastic_reordered(values, order)), [1, 2, 3, 44, 55, 66])
    np.testing.assert_array_equal(elastic_reordered(values, VOIGT), values)
    noisy = np.array([[1, 1e-3, 0], [0, 1, 0], [0, 0, 1.0]])
    np.testing.assert_allclose(symmetric(noisy, "x"), symmetric(noisy, "x").T)
    with pytest.raises(InputError, match="no symmetric matrix"):
        symmetric(np.triu(np.ones((3, 3))), "x")


def test_heads_by_kind():
    for irreps, extensive, name in (
        (MATRIX, True, "matrix-sum"),
        (MATRIX, False, "matrix-mean"),
        (ELASTIC, False, "elastic-mean"),
    ):  # fmt: skip
        quantity = Quantity("tensor", "1", irreps, extensive=extensive)
        assert core_head(quantity) == f"core/{name}"
        assert head_class(core_head(quantity)).dim == {MATRIX: 9, ELASTIC: 36}[irreps]
    with pytest.raises(InputError, match="no head is known"):
        core_head(Quantity("tensor", "1", ELASTIC, extensive=True))
