"""Training of plain closures (those that are no foundation model): through the solver, or a priori.

    fit(closure, NavierStokes2D.through(snapshots=4), samples, steps=300)
    save(closure, "local.safetensors")

with `closure` such as `LocalClosure()`.

Foundation models train by recipe: `sfm pretrain fluids-a-priori`, then `fluids-a-posteriori`.

Any consistent system of units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.nn.bounded import checked_options
from sfm.nn.descent import cosine, descend
from sfm.nn.saving import load_module, save_module
from sfm.simulate import Through
from sfm.simulate.through import placement
from sfm_fluids.flows.bundled import COARSE, FILTER_WIDTH
from sfm_fluids.learned.convolutional import ConvolutionalClosure
from sfm_fluids.learned.interpolation import LearnedInterpolation
from sfm_fluids.learned.local import LocalClosure
from sfm_fluids.learned.scheme import LearnedScheme
from sfm_fluids.spectral.filters import Filter, cut_off, outer

CLOSURES: dict[str, type[nn.Module]] = {
    c.__name__: c for c in (LocalClosure, ConvolutionalClosure, LearnedInterpolation, LearnedScheme)
}


class StressErrors(Through):
    """The a priori loss in the form of runs of one sample: |tau - tau_exact| / |tau_exact|.

    Deviators only, since a closure's trace is a pressure. A closure with `filter_ratio` 0 learns
    the stress of the sharp cut-off, which follows from the data's by undoing the Gaussian.
    """

    def windows(self, samples: Sequence[Sample]) -> list[tuple[int, ...]]:
        return [(n,) for n in range(len(samples))]

    def losses(
        self, closure: nn.Module | None, windows: Sequence[Sequence[Sample]]
    ) -> Float[Tensor, " B"]:
        samples = [w[0] for w in windows]
        dtype, device = placement(closure)
        velocity = torch.from_numpy(np.stack([s.fields["velocity"] for s in samples])).double()
        labels = np.stack([s.labels["sgs_stress"] for s in samples])
        stress = torch.from_numpy(labels).double().reshape(len(samples), *COARSE.shape, 2, 2)
        velocity, stress = velocity.to(device), stress.permute(0, 3, 4, 1, 2).to(device)
        if getattr(closure, "filter_ratio", None) == 0.0:
            velocity, stress = sharp(velocity, stress)
        exact = deviator(stress)
        predicted = torch.zeros_like(exact)
        if closure is not None:
            predicted = deviator(closure(velocity.to(dtype), COARSE.isotropic_spacing))
        errors: Tensor = (predicted - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
        return errors


def sharp(
    velocity: Float[Tensor, "B 2 H W"], stress: Float[Tensor, "B 2 2 H W"]
) -> tuple[Float[Tensor, "B 2 H W"], Float[Tensor, "B 2 2 H W"]]:
    """Filtered velocity (B, 2, H, W), stress (B, 2, 2, H, W) -> those of a sharp cut-off P alone.

    F[u u] = tau + P[F[u] F[u]] is the Gaussian of P[u u], and tau' = P[u u] - P[P[u] P[u]].
    """
    data = Filter(COARSE, COARSE, FILTER_WIDTH)
    whole = data.undo(velocity)
    flux = data.undo(stress + cut_off(outer(velocity), COARSE))
    return whole, flux - cut_off(outer(whole), COARSE)


def deviator(stress: Float[Tensor, "B 2 2 H W"]) -> Float[Tensor, "B 2 H W"]:
    """(B, 2, 2, H, W) -> (B, 2, H, W): (xx - yy) / 2 and xy."""
    normal = 0.5 * (stress[:, 0, 0] - stress[:, 1, 1])
    return torch.stack((normal, 0.5 * (stress[:, 0, 1] + stress[:, 1, 0])), 1)


def fit(
    closure: nn.Module,
    through: Through,
    samples: Sequence[Sample],
    *,
    steps: int,
    runs: int = 12,
    lr: float = 3e-3,
    warmup: int = 20,
    seed: int = 0,
    log: Callable[[str], None] = lambda text: None,
) -> list[float]:
    """Train in place with Adam: linear warm-up, cosine to zero, gradients clipped at 1.

    Args:
        closure: its trainable weights are trained.
        through: `NavierStokes2D.through()` (a posteriori) or `StressErrors` (a priori).
        samples: of `turbulence-2d`.
        steps: optimiser steps.
        runs: per step.
        lr: largest learning rate.
        warmup: steps.
        seed: of the choice of runs.
        log: gets a line now and then.

    Returns:
        The loss of every step.

    Raises:
        InputError: the samples hold no run.
        RunError: a loss is not finite.
    """
    kept = list(samples)
    windows = through.windows(kept)
    if not windows:
        raise InputError("the samples hold no run of the wanted length")
    generator = np.random.default_rng(seed)

    def loss(step: int) -> Tensor:
        chosen = [windows[i] for i in generator.integers(len(windows), size=runs)]
        return through.losses(closure, [[kept[i] for i in w] for w in chosen]).mean()

    fall = cosine(steps)
    return descend(
        closure,
        loss,
        work=type(closure).__name__,
        steps=steps,
        optimizer=torch.optim.Adam(closure.parameters(), lr=lr),
        schedule=lambda step: min((step + 1) / warmup, fall(step)),
        clip=1.0,
        every=25,
        log=log,
    ).losses


def save(closure: nn.Module, path: str | Path) -> None:
    """Write weights, class and options to one safetensors file."""
    save_module(closure, path, {"class": type(closure).__name__, "options": _options(closure)})


def load(path: str | Path) -> nn.Module:
    """The closure in a file of `save`, ready to run.

    Raises:
        InputError: no such file, or not a closure.
    """

    def build(config: dict[str, Any]) -> nn.Module:
        if config.get("class") not in CLOSURES:
            raise InputError(f"{path}: holds no closure (known: {', '.join(CLOSURES)})")
        return CLOSURES[config["class"]](**checked_options(config.get("options")))

    return load_module(path, build).eval().requires_grad_(False)


def _options(closure: nn.Module) -> dict[str, float]:
    names = getattr(type(closure), "options", ())
    return {name: getattr(closure, name) for name in names}
