"""Muon: matrices step along their orthogonalised momentum, everything else as in AdamW."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# quintic iteration of K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks"
# (2024): five turns bring singular values to between 0.7 and 1.2
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
TURNS = 5
# root mean square of an AdamW step over its rate, which these steps are scaled to (Liu et al.,
# "Muon is scalable for LLM training", arXiv:2502.16982, section 2.2): one rate serves both
ADAMW_STEP = 0.2


def orthogonalised(matrices: Float[Tensor, "*batch n m"]) -> Float[Tensor, "*batch n m"]:
    """The nearest semi-orthogonal matrices, roughly: U V^T of a singular value decomposition.

    Args:
        matrices: (..., n, m), dimensionless.

    Returns:
        (..., n, m), singular values between about 0.7 and 1.2; zero for a matrix that is zero.
    """
    wide = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if wide else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-12)
    a, b, c = COEFFICIENTS
    for _ in range(TURNS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if wide else x


class Muon(torch.optim.AdamW):
    """AdamW, but groups with `matrices: True` step along their orthogonalised momentum.

    `torch.optim.Muon` takes two axes only and one kind of group; here leading axes (experts) are
    separate matrices, and one optimiser holds the state of all weights.

    Args:
        groups: as for AdamW; `matrices` in a group's options says how it steps.
        lr: largest rate of both kinds.
        momentum: of the matrices' gradients, in Nesterov's form.
    """

    def __init__(self, groups: Any, lr: float, momentum: float = 0.95) -> None:
        super().__init__(groups, lr=lr)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        kept: list[tuple[Tensor, Tensor]] = []
        for group in self.param_groups:
            if not group.get("matrices"):
                continue
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    # AdamW's own state always has a step, and loading looks for it
                    state["step"] = torch.zeros(())
                    state["momentum_buffer"] = torch.zeros_like(p)
                state["step"] += 1
                buffer = state["momentum_buffer"].lerp_(p.grad, 1 - self.momentum)
                update = orthogonalised(p.grad.lerp(buffer, self.momentum))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * ADAMW_STEP * max(p.shape[-2:]) ** 0.5)
                kept.append((p, p.grad))
                p.grad = None  # the rest is AdamW's
        super().step()
        for p, gradient in kept:
            p.grad = gradient
        return loss
