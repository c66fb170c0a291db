"""Muon against singular values and against torch's own."""

from __future__ import annotations

import pytest
import torch

from sfm.nn.mixture import MixtureLinear
from sfm.recipe import OptimizerSection
from sfm.train.module import optimizer_of
from sfm.train.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(16, 16), (3, 8, 40), (2, 3, 40, 8)], ids=str)
def test_singular_values_go_to_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    result = orthogonalised(matrices)
    values = torch.linalg.svdvals(result)
    # a random square matrix has singular values near zero, which five turns do not bring up
    assert values.max() < 1.3
    assert values.median() > 0.7
    # the singular vectors stay: in their frame the result is diagonal
    inner = u.mT @ result @ v.mT
    off = inner - torch.diag_embed(inner.diagonal(dim1=-2, dim2=-1))
    assert off.abs().max() < 2e-5  # float32, five turns


def test_zero_stays_zero():
    assert orthogonalised(torch.zeros(2, 4, 6)).abs().max() == 0


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has no Muon before 2.9")
def test_steps_are_those_of_torch():
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(24, 40, generator=generator)
    targets = [torch.randn(24, 40, generator=generator) for _ in range(5)]

    def trained(make):
        weight = torch.nn.Parameter(start.clone())
        optimizer = make(weight)
        for target in targets:
            optimizer.zero_grad()
            (weight - target).square().sum().backward()
            optimizer.step()
        return weight.detach()

    theirs = trained(
        lambda w: torch.optim.Muon(
            [w], lr=3e-3, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        )
    )
    ours = trained(
        lambda w: Muon([{"params": [w], "matrices": True, "weight_decay": 0.1}], lr=3e-3)
    )
    # theirs iterates in bfloat16, with 8 bits of mantissa
    assert (ours - theirs).norm() < 0.02 * (ours - start).norm()


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixture = MixtureLinear(6, 4, n_experts=2)
        self.norm = torch.nn.LayerNorm(4)
        self.out = torch.nn.Linear(4, 1)


def test_only_mixtures_are_matrices_and_the_rest_is_adamw():
    torch.manual_seed(0)
    net, plain = Net(), Net()
    plain.load_state_dict(net.state_dict())
    muon = optimizer_of(net, OptimizerSection(method="muon"))
    adamw = optimizer_of(plain, OptimizerSection())
    for _ in range(3):
        for module, optimizer in ((net, muon), (plain, adamw)):
            for p in module.parameters():
                p.grad = torch.ones_like(p) + 0.1 * torch.arange(p.numel()).view_as(p)
            optimizer.step()
    ours, theirs = net.state_dict(), plain.state_dict()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]) == (name != "mixture.weight"), name
    assert all(p.grad is not None for p in net.parameters())


def test_goes_on_from_its_state():
    def run(interrupted: bool) -> torch.Tensor:
        torch.manual_seed(0)
        net = Net()
        optimizer = optimizer_of(net, OptimizerSection(method="muon"))
        for step in range(4):
            if interrupted and step == 2:
                state = optimizer.state_dict()
                optimizer = optimizer_of(net, OptimizerSection(method="muon"))
                optimizer.load_state_dict(state)
            for p in net.parameters():
                p.grad = (p.detach() - step).sin()
            optimizer.step()
        return net.mixture.weight.detach()

    assert torch.equal(run(True), run(False))
