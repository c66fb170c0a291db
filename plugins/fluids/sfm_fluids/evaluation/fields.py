"""Errors of predicted fields in the definitions that the field's benchmarks use.

Fields are (..., *space): the last `space` axes are the grid, the axes before are whatever the
caller has (time, batch, component); each metric says over which it averages.

Any consistent system of units.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError

BANDS = (4, 12)  # PDEBench's low, middle and high: mode index below 4, below 12, above


def _axes(predicted: Tensor, target: Tensor, space: int) -> tuple[int, ...]:
    if predicted.shape != target.shape:
        raise InputError(
            f"predicted {tuple(predicted.shape)} and target {tuple(target.shape)} differ in shape"
        )
    if not 1 <= space <= target.ndim:
        raise InputError(f"space={space} for fields with {target.ndim} axes")
    return tuple(range(-space, 0))


def vrmse(
    predicted: Float[Tensor, " ..."],
    target: Float[Tensor, " ..."],
    *,
    space: int = 2,
    eps: float = 1e-7,
) -> Float[Tensor, " ..."]:
    """Variance-scaled root-mean-square error, (...): 1 for predicting the target's mean.

    sqrt( <(p - t)^2> / (var(t) + eps) ), means and the unbiased variance over the grid.
    R. Ohana et al., The Well, NeurIPS 2024 (arXiv:2412.00568), equation 1; equal to the metric
    `VRMSE` of the package `the-well` 1.2.

    Raises:
        InputError: the shapes differ.
    """
    axes = _axes(predicted, target, space)
    return torch.sqrt((predicted - target).square().mean(axes) / (target.var(axes) + eps))


def nrmse(
    predicted: Float[Tensor, " ..."],
    target: Float[Tensor, " ..."],
    *,
    space: int = 2,
    time: int | None = None,
) -> Float[Tensor, " ..."]:
    """Error over size, |p - t| / |t|, (...) in either of the two definitions in use.

    With `time=None` the norms run over the grid only: each time step has its own ratio, and a mean
    over time weighs them equally (PDEBench, Takamoto et al. 2022). With `time` an axis, the norms
    run over that axis too: one ratio for the whole trajectory ("global"), in which late, small
    fields count little. On decaying flows the two differ by factors.

    Raises:
        InputError: the shapes differ, or `time` is an axis of the grid.
    """
    axes = _axes(predicted, target, space)
    if time is not None:
        time = time - target.ndim if time >= 0 else time
        if time in axes:
            raise InputError(f"time axis {time} lies in the grid's axes {axes}")
        axes = (time, *axes)
    error = (predicted - target).square().sum(axes)
    return torch.sqrt(error / target.square().sum(axes))


def band_rmse(
    predicted: Float[Tensor, " ..."],
    target: Float[Tensor, " ..."],
    *,
    space: int = 2,
    bands: Sequence[int] = BANDS,
) -> Float[Tensor, " ..."]:
    """Root-mean-square error per band of Fourier modes, (..., len(bands) + 1).

    A mode of index (n_1, ..., n_d) belongs to the shell floor(|n|); band b holds the shells from
    `bands[b - 1]` up to below `bands[b]`. Squares of all bands add up to the mean square error
    (Parseval).

    Raises:
        InputError: the shapes differ, or `bands` does not rise.
    """
    axes = _axes(predicted, target, space)
    if list(bands) != sorted(set(bands)) or not bands:
        raise InputError(f"bands={tuple(bands)} must be rising mode indices")
    error = predicted - target
    hat = torch.fft.fftn(error, dim=axes, norm="forward")
    index = [
        torch.fft.fftfreq(error.shape[a], 1 / error.shape[a], dtype=torch.float64) for a in axes
    ]
    radius = torch.stack(torch.meshgrid(*index, indexing="ij")).square().sum(0).sqrt()
    shell = (radius + 1e-9).floor().to(error.device)
    edges = (0, *bands, float("inf"))
    power = hat.abs().square()
    return torch.stack(
        [
            (power * ((shell >= low) & (shell < high))).sum(axes).sqrt()
            for low, high in itertools.pairwise(edges)
        ],
        dim=-1,
    )


def correlation(
    predicted: Float[Tensor, " ..."], target: Float[Tensor, " ..."], *, space: int = 2
) -> Float[Tensor, " ..."]:
    """Pearson correlation over the grid, (...); 0 where a field is constant."""
    axes = _axes(predicted, target, space)
    p = predicted - predicted.mean(axes, keepdim=True)
    t = target - target.mean(axes, keepdim=True)
    scale = p.square().sum(axes).sqrt() * t.square().sum(axes).sqrt()
    return (p * t).sum(axes) / scale.clamp(min=torch.finfo(scale.dtype).tiny)
