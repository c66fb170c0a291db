"""Training of plain closures (those that are no foundation model): through the solver, or a priori.

    closure = LocalClosure()
    fit(closure, NavierStokes2D.through(snapshots=4), samples, steps=300)
    save(closure, "local.safetensors")

Foundation models train by recipe: `sfm pretrain fluids-a-priori`, then `fluids-a-posteriori`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sfm.data.atomic import atomic
from sfm.data.sample import Sample
from sfm.errors import InputError, RunError
from sfm.formats.strict_json import parse
from sfm.nn.bounded import BuiltWithin, checked_options
from sfm.simulate import Through
from sfm.simulate.through import placement
from sfm_fluids.flows.bundled import COARSE, FILTER_WIDTH
from sfm_fluids.learned.convolutional import ConvolutionalClosure
from sfm_fluids.learned.interpolation import LearnedInterpolation
from sfm_fluids.learned.local import LocalClosure
from sfm_fluids.spectral.filters import Filter, cut_off, outer

CLOSURES: dict[str, type[nn.Module]] = {
    c.__name__: c for c in (LocalClosure, ConvolutionalClosure, LearnedInterpolation)
}


class StressErrors(Through):
    """The a priori loss in the form of runs of one sample: |tau - tau_exact| / |tau_exact|.

    Deviators only, since a closure's trace is a pressure. A closure with `filter_ratio` 0 learns
    the stress of the sharp cut-off, which follows from the data's by undoing the Gaussian.
    """

    def windows(self, samples: Sequence[Sample]) -> list[tuple[int, ...]]:
        return [(n,) for n in range(len(samples))]

    def losses(self, closure: nn.Module | None, windows: Sequence[Sequence[Sample]]) -> Tensor:
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


def sharp(velocity: Tensor, stress: Tensor) -> tuple[Tensor, Tensor]:
    """Filtered velocity and stress of the data -> those of its sharp cut-off P alone.

    F[u u] = tau + P[F[u] F[u]] is the Gaussian of P[u u], and tau' = P[u u] - P[P[u] P[u]].
    """
    data = Filter(COARSE, COARSE, FILTER_WIDTH)
    whole = data.undo(velocity)
    flux = data.undo(stress + cut_off(outer(velocity), COARSE))
    return whole, flux - cut_off(outer(whole), COARSE)


def deviator(stress: Tensor) -> Tensor:
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
    optimizer = torch.optim.Adam(closure.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda n: min((n + 1) / warmup, 0.5 * (1 + math.cos(math.pi * n / steps))),
    )
    generator, history = np.random.default_rng(seed), []
    for number in range(steps):
        chosen = [windows[i] for i in generator.integers(len(windows), size=runs)]
        loss = through.losses(closure, [[kept[i] for i in w] for w in chosen]).mean()
        if not torch.isfinite(loss):
            raise RunError(f"the loss is not finite at step {number + 1}: lower lr")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(closure.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        history.append(loss.item())
        if (number + 1) % 25 == 0:
            log(f"step {number + 1}/{steps}: loss {np.mean(history[-25:]):.4f}")
    return history


def save(closure: nn.Module, path: str | Path) -> None:
    """Write weights, class and options to one safetensors file."""
    about = {"class": type(closure).__name__, "options": json.dumps(_options(closure))}
    weights = {k: v.contiguous() for k, v in closure.state_dict().items()}
    with atomic(path) as scratch:
        save_file(weights, scratch, metadata=about)


def load(path: str | Path) -> nn.Module:
    """The closure in a file of `save`, ready to run.

    Raises:
        InputError: no such file, or not a closure.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            weights = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise InputError(f"{path}: damaged, or no safetensors file ({error})") from None
    if about.get("class") not in CLOSURES:
        raise InputError(f"{path}: holds no closure (known: {', '.join(CLOSURES)})")
    try:
        with BuiltWithin({k: tuple(v.shape) for k, v in weights.items()}, str(path)):
            closure = CLOSURES[about["class"]](**checked_options(parse(about["options"])))
        closure.load_state_dict(weights)
    except Exception as error:  # whatever a constructor says of options that cannot be
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise InputError(f"{path}: its weights do not fit its options ({reason})") from error
    return closure.eval().requires_grad_(False)


def _options(closure: nn.Module) -> dict[str, float]:
    names = getattr(type(closure), "options", ())
    return {name: getattr(closure, name) for name in names}
