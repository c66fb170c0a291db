"""Fitting a Gaussian process: hyper-parameters by marginal likelihood, errors by leaving one out.

With K = k(X, X) + noise 1 (kernel in `sfm.nn.kernel`), all in float64:

    -log p(Y) = Y^T K^-1 Y / 2 + log |K| / 2 + const,
    left-out mean      Y_i - [K^-1 Y]_i / [K^-1]_ii,
    left-out variance  1 / [K^-1]_ii

(Rasmussen and Williams 2006, eqs. 2.30, 5.10 to 5.12). The kernels' weights and lengths have weak
log-normal priors, which decide only where the data do not. L-BFGS-B does the search; with many
points it looks at a subset, and the fit itself takes all. Labels may be bent to one side first
(`sfm.nn.skew`), by a skewness that is searched with the rest: the likelihood of the labels then is
that of their images times the slopes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from sfm.nn.kernel import matern, squared_distances
from sfm.nn.skew import Bend, bent, log_slope

SEARCHED = 300
# mean and standard deviation of the logarithms of linear weight, smooth weight, length and noise,
# and of the skewness itself
PRIOR = {
    "linear": (-1.0, 2.0),
    "smooth": (-1.0, 2.0),
    "length": (0.5, 1.0),
    "noise": (-3.0, 2.0),
    "skew": (0.0, 0.2),
}
STARTS = ((-1.0, -1.0, 0.5, -3.0, 0.0), (-3.0, 0.0, 1.5, -1.5, 0.0))
BOUNDS = {
    "linear": (-14, 8),
    "smooth": (-14, 6),
    "length": (-3, 5),
    "noise": (-14, 3),
    "skew": (-1.5, 1.5),
}


@dataclass(frozen=True)
class Gaussian:
    """A fitted process.

    Attributes:
        weights: (3,) linear weight, smooth weight and length by block.
        noise: variance.
        offset: mean of the labels, or of their images.
        bend: what makes images of labels; without skewness the labels are their own.
        coefficients: (n,) K^-1 (Y - offset), of the images.
        cholesky: (n, n) lower factor of K.
        left_out: (n,) predictions of each label from the others.
        left_out_sigma: (n,) their standard errors.
        nearest: (n,) squared distance of each point to its nearest other one.
    """

    weights: Mapping[str, Tensor]
    noise: float
    offset: float
    bend: Bend
    coefficients: Tensor
    cholesky: Tensor
    left_out: Tensor
    left_out_sigma: Tensor
    nearest: Tensor


def fit_gaussian(
    blocks: Mapping[str, Float[Tensor, "n _"]],
    labels: Float[Tensor, " n"],
    smooth: Mapping[str, bool],
    *,
    skewed: bool = False,
) -> Gaussian:
    """The process of largest posterior for standardised inputs (n, D_b) and labels (n,).

    Args:
        blocks: inputs by block; none for a constant with noise.
        labels: float64.
        smooth: blocks that have a Matern kernel besides the linear one.
        skewed: whether labels may be bent to one side; those of an extensive quantity would not add
            up any more.
    """
    n = len(labels)
    t, middle, spread = _standardised(labels)
    pairs = {name: _pairs(x, smooth.get(name, False)) for name, x in blocks.items()}
    values = _search(pairs, t, skewed)
    weights, noise, skew = _unpack(values, pairs)
    bend = Bend(middle, spread, skew)
    y, offset, size = _standardised(bend(labels))
    kernel = _kernel(pairs, weights, noise, n)
    cholesky = torch.linalg.cholesky(kernel)
    inverse = torch.cholesky_inverse(cholesky)
    solved = inverse @ y
    diagonal = inverse.diagonal()
    # the offset is the mean of all labels: leaving one out moves it by a share of 1/n
    left_out = (y - solved / diagonal) * size + offset
    apart = sum((p[1] for p in pairs.values()), torch.zeros(n, n, dtype=torch.float64))
    apart = apart + torch.diag(torch.full((n,), torch.inf, dtype=torch.float64))
    scaled = {
        name: torch.stack([w[0] * size**2, w[1] * size**2, w[2]]) for name, w in weights.items()
    }
    return Gaussian(
        weights=scaled,
        noise=float(noise * size**2),
        offset=float(offset),
        bend=bend,
        coefficients=solved / size,
        cholesky=cholesky * size,
        left_out=bend.back(left_out),
        left_out_sigma=diagonal.rsqrt() * size * bend.slope_back(left_out),
        nearest=apart.amin(1) if n > 1 else torch.zeros(n, dtype=torch.float64),
    )


def _standardised(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Labels (n,) without mean and with a spread of one, the mean, and the spread."""
    mean, spread = labels.mean(), labels.std(correction=0)
    spread = torch.where(spread > 0, spread, 1.0)
    return (labels - mean) / spread, mean, spread


Pairs = tuple[Tensor, Tensor, bool]


def _pairs(x: Tensor, smooth: bool) -> Pairs:
    """Gram matrix over D, squared distances over D, and whether the block is smooth."""
    return x @ x.T / max(x.shape[1], 1), squared_distances(x, x), smooth


def _kernel(
    pairs: Mapping[str, Pairs], weights: Mapping[str, Tensor], noise: Tensor, n: int
) -> Tensor:
    total = noise * torch.eye(n, dtype=torch.float64)
    for name, (gram, squares, smooth) in pairs.items():
        v, w, length = weights[name]
        total = total + v * gram
        if smooth:
            total = total + w * matern(squares / length**2)
    return total


def _kinds(pairs: Mapping[str, Pairs], skewed: bool) -> list[str]:
    kinds = [
        k for p in pairs.values() for k in (("linear", "smooth", "length") if p[2] else ("linear",))
    ]
    return [*kinds, "noise", *(["skew"] if skewed else [])]


def _unpack(values: Tensor, pairs: Mapping[str, Pairs]) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Weights by block, noise, and the skewness, which is itself among the values."""
    weights, rest = {}, values.exp()
    position = 0
    zero, one = rest.new_zeros(()), rest.new_ones(())
    for name, (_, _, smooth) in pairs.items():
        if smooth:
            weights[name] = rest[position : position + 3]
        else:
            weights[name] = torch.stack([rest[position], zero, one])
        position += 3 if smooth else 1
    return weights, rest[position], values[position + 1] if len(values) > position + 1 else zero


def _search(pairs: Mapping[str, Pairs], t: Tensor, skewed: bool) -> Tensor:
    """Logarithms of the hyper-parameters of largest posterior, and the skewness itself."""
    kinds = _kinds(pairs, skewed)
    if not pairs:
        return torch.zeros(1, dtype=torch.float64)
    if len(t) > SEARCHED:
        rows = np.sort(np.random.default_rng(len(t)).permutation(len(t))[:SEARCHED])
        index = torch.from_numpy(rows)
        pairs = {
            k: (g[index][:, index], s[index][:, index], smooth)
            for k, (g, s, smooth) in pairs.items()
        }
        t = t[index]
    prior = torch.tensor([PRIOR[k] for k in kinds], dtype=torch.float64)

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        values = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        weights, noise, skew = _unpack(values, pairs)
        factor, info = torch.linalg.cholesky_ex(_kernel(pairs, weights, noise, len(t)))
        if info:
            return 1e10, np.zeros_like(x)
        y, slopes = t, t.new_zeros(())
        if skewed:
            y, _, size = _standardised(bent(t, skew))
            slopes = log_slope(t, skew).sum() - len(t) * size.log()
        half = torch.linalg.solve_triangular(factor, y.unsqueeze(1), upper=False)
        surprise = 0.5 * half.square().sum() + factor.diagonal().log().sum() - slopes
        total = surprise + 0.5 * ((values - prior[:, 0]) / prior[:, 1]).square().sum()
        (slope,) = torch.autograd.grad(total, values)
        return float(total.detach()), slope.numpy()

    place = {"linear": 0, "smooth": 1, "length": 2, "noise": 3, "skew": 4}
    bounds = [BOUNDS[k] for k in kinds]
    minima = [
        minimize(
            loss,
            np.array([start[place[k]] for k in kinds]),
            jac=True,
            bounds=bounds,
            method="L-BFGS-B",
            options={"maxiter": 60},
        )
        for start in STARTS
    ]
    return torch.from_numpy(min(minima, key=lambda f: f.fun).x)
