"""The density's hand-written derivatives, and the padded layout that it works on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from sfm.nn import density as module
from sfm.nn.density import Density, DensityGradient, Layout
from sfm.nn.neighbourhoods import Block, Neighbourhoods, divide

LAYOUT = Layout(
    channels=2, carried=1, tokens=4, blocks=(Block(1, 0), Block(2, 2), Block(1, 1)), runs=(0, 0, 1)
)


def inputs(layout: Layout = LAYOUT, radial: int = 2) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    edges = sum(b.tokens * b.width for b in layout.blocks)
    c, d = layout.channels, layout.carried
    shapes = [(edges, k) for k in (radial, 3, 5, 8 * d, c, 8 * d)]
    shapes.append((max(layout.runs) + 1, radial, 3 * c + 4 * d))
    return [torch.randn(*s, generator=g, dtype=torch.float64).requires_grad_() for s in shapes]


@pytest.mark.parametrize("carried", [0, 1])
def test_first_and_second_derivatives(carried, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 2)  # several chunks in a block
    layout = dataclasses.replace(LAYOUT, carried=carried)
    tensors = inputs(layout)

    def density(*x):
        return Density.apply(*x, layout)

    assert torch.autograd.gradcheck(density, tensors)
    assert torch.autograd.gradgradcheck(density, tensors)


def test_third_derivatives():
    """Those are put together from the first two: what a model trained on force constants takes."""
    tensors = inputs()
    a = [torch.ones_like(x) for x in Density.apply(*tensors, LAYOUT)]

    def slope(*x):
        return DensityGradient.apply(*x, *a, LAYOUT, (True, True))

    assert torch.autograd.gradgradcheck(slope, tensors, atol=1e-4)


# torch's own first use of forward mode compiles with a deprecated torch.jit
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
def test_forward_mode_and_vmap():
    tensors = [x.detach() for x in inputs()]
    moves = [x.detach() for x in inputs()][::-1]
    moves = [m.flatten()[: x.numel()].resize_(x.shape) for m, x in zip(moves, tensors, strict=True)]

    def density(*x):
        return Density.apply(*x, LAYOUT)

    def slow(*x):
        return torch.func.jvp(density, tuple(tensors), x)[1]

    step = 1e-6
    plus, minus = (
        density(*(x + s * m for x, m in zip(tensors, moves, strict=True))) for s in (step, -step)
    )
    for value, p, m in zip(slow(*moves), plus, minus, strict=True):
        torch.testing.assert_close(value, (p - m) / (2 * step), rtol=1e-6, atol=1e-6)
    both = torch.func.vmap(density)(*(torch.stack([x, 2 * x]) for x in tensors))
    for value, one, two in zip(
        both, density(*tensors), density(*(2 * x for x in tensors)), strict=True
    ):
        torch.testing.assert_close(value, torch.stack([one, two]))


def test_blocks_hold_all_tokens_and_pad_little():
    degree = np.sort(np.random.default_rng(0).integers(3, 40, 500))
    blocks = divide(degree)
    assert sum(b.tokens for b in blocks) == 500
    widths = np.repeat([b.width for b in blocks], [b.tokens for b in blocks])
    assert (widths >= degree).all()
    assert widths.sum() < 1.15 * degree.sum()
    assert divide(np.zeros(3, dtype=int)) == [Block(3, 0)]
    assert divide(np.zeros(0, dtype=int)) == []


def test_every_edge_lies_once_in_the_layout():
    g = torch.Generator().manual_seed(0)
    receiver = torch.randint(0, 9, (40,), generator=g).sort().values
    edges = torch.stack([torch.randint(0, 9, (40,), generator=g), receiver])
    hoods = Neighbourhoods.of(edges, (4, 5))
    assert torch.equal(hoods.edge[hoods.real].sort().values, torch.arange(40))
    there = hoods.order[hoods.receiver][hoods.real]
    assert torch.equal(there, edges[1][hoods.edge[hoods.real]])
    assert torch.equal(hoods.order[hoods.sender][hoods.real], edges[0][hoods.edge[hoods.real]])
    # runs stay together
    assert set(hoods.order[:4].tolist()) == set(range(4))
