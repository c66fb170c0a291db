"""How good a subgrid stress is before it meets the solver: a-priori metrics, beside baselines.

Units are those of the data: lengths of a box of 2 pi, forces of amplitude 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.sample import Sample
from sfm_fluids.box import square_spacing
from sfm_fluids.closures.classical import GradientModel, subgrid_dissipation
from sfm_fluids.evaluation import fields

Closure = Callable[[Float[Tensor, "B 2 H W"], float], Float[Tensor, "B 2 2 H W"]]


def _array(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


def relative_error(predicted: Any, target: Any) -> float:
    """|predicted - target| / |target| over all cells and components; 1 for a zero stress."""
    p, t = _array(predicted), _array(target)
    return float(np.linalg.norm(p - t)) / max(float(np.linalg.norm(t)), 1e-300)


def correlation(predicted: Any, target: Any) -> float:
    """Pearson correlation of the deviatoric components; 0 for a constant prediction."""
    p, t = _deviator(_array(predicted)), _deviator(_array(target))
    return _pearson(p, t)


def _deviator(stress: np.ndarray) -> np.ndarray:
    """(..., 2, 2) -> (2, ...): (xx - yy)/2 and xy."""
    normal = 0.5 * (stress[..., 0, 0] - stress[..., 1, 1])
    shear = 0.5 * (stress[..., 0, 1] + stress[..., 1, 0])
    return np.stack((normal, shear))


def _pearson(p: np.ndarray, t: np.ndarray) -> float:
    flat = (torch.from_numpy(x.ravel()) for x in (p, t))
    return float(fields.correlation(*flat, space=1))


def zero_closure(velocity: Float[Tensor, "B 2 H W"], spacing: float) -> Float[Tensor, "B 2 2 H W"]:
    """No subgrid stress: (B, 2, 2, H, W) of zeros."""
    return torch.zeros_like(velocity).unsqueeze(1).repeat(1, 2, 1, 1, 1)


def a_priori(
    samples: Iterable[Sample], closures: Mapping[str, Closure]
) -> dict[str, dict[str, float]]:
    """Errors of closures on samples with label `sgs_stress`, beside `zero` and `gradient`.

    Returns:
        by closure: `relative_error` and `correlation` of the stress, `flux_correlation` of the
        energy flux -tau_ij S_ij, `flux_ratio` of its mean to the exact mean.
    """
    table: dict[str, Closure] = {"zero": zero_closure, "gradient": GradientModel(), **closures}
    collected: dict[str, list[tuple[np.ndarray, ...]]] = {name: [] for name in table}
    for sample in samples:
        velocity = torch.as_tensor(np.array(sample.fields["velocity"], dtype=np.float64))[None]
        height, width = velocity.shape[-2:]
        spacing = square_spacing(sample, "a closure") or 2 * np.pi / width
        exact = torch.as_tensor(np.array(sample.labels["sgs_stress"], dtype=np.float64))
        exact = exact.reshape(1, height, width, 2, 2).permute(0, 3, 4, 1, 2)
        flux = subgrid_dissipation(velocity, exact, spacing)
        for name, closure in table.items():
            with torch.no_grad():
                stress = closure(velocity, spacing)
            predicted_flux = subgrid_dissipation(velocity, stress, spacing)
            last = [_array(x.permute(0, 3, 4, 1, 2)) for x in (stress, exact)]
            collected[name].append((*last, _array(predicted_flux), _array(flux)))
    result = {}
    for name, rows in collected.items():
        p, t, q, exact_q = (np.concatenate(part) for part in zip(*rows, strict=True))
        result[name] = {
            "relative_error": relative_error(p, t),
            "correlation": correlation(p, t),
            "flux_correlation": _pearson(q, exact_q),
            "flux_ratio": float(q.mean() / exact_q.mean()),
        }
    return result
