"""Energies and forces in closed form: one covariance, one Cholesky factor, hyper-parameters by
systems that are left out.

With rows Phi_s of energies and dPhi_s of slopes (`sfm.train.force_rows`), noises s_E and s_F and a
normal prior on the coefficients a of `sfm.nn.random_features`,

    A = sum_s ( Phi_s Phi_s^T / s_E^2 + sum_k dPhi_sk dPhi_sk^T / s_F^2 ) + 1,    a = A^-1 b,

which is Bayesian linear regression (Rasmussen and Williams 2006, eq. 2.8). Slopes are eV/angstrom,
those of a strain (times the volume) have the noise of an energy. Systems are left out in folds:
each fold's covariance is subtracted from the total.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.config import HeadSpec, Target
from sfm.model import FoundationModel
from sfm.nn.head import RANDOM_FEATURES
from sfm.nn.random_features import RandomFeaturesHead
from sfm.nn.references import fit_references
from sfm.nn.uncertainty import interval_factor
from sfm.train.closed_form import baselines_of
from sfm.train.force_rows import System

REDUCED, RANDOM, FOLDS, SEED = 96, 512, 4, 0
# weight of the linear part beside the random one
LINEAR = 0.1
LENGTHS = (1.0, 0.7, 2.0)
# squared noise of slopes over the variance of the prior, which is the labels' own mean square, and
# squared noise of energies over that of slopes
NOISES = tuple(10.0**k for k in (-3, -2, -1, 0, 1, 2))
RATIOS = (0.1, 1.0, 0.01)


@dataclass(frozen=True)
class ForceForm:
    """A closed form of energies and forces that was fitted.

    Attributes:
        name: `ridge`, `gp`, `delta ridge`, `delta gp`.
        target: the energy.
        head: filled.
        spec: of the head.
        energies: (S,) left-out energies minus labels (eV).
        slopes: (rows,) left-out slopes minus labels, those of strains over the volume: errors of
            components of forces (eV/angstrom) and stress (eV/angstrom^3).
        strained: (rows,) bool, which of them are the stress's.
    """

    name: str
    target: Target
    head: RandomFeaturesHead
    spec: HeadSpec
    energies: Tensor
    slopes: Tensor
    strained: Tensor

    @property
    def maes(self) -> dict[str, float]:
        """Left-out mean absolute errors by quantity."""
        scales = {"energy": self.energies, "forces": self.slopes[~self.strained]}
        if self.strained.any():
            scales["stress"] = self.slopes[self.strained]
        return {name: float(v.abs().mean()) for name, v in scales.items()}


def reduction(invariants: Float[Tensor, "N D"]) -> tuple[Float[Tensor, " D"], Float[Tensor, "D P"]]:
    """Mean (D,) and rotation (D, P) to the principal components of standardised invariants.

    Scaled so that the mean square distance of two tokens is 2; dimensionless.
    """
    mean = invariants.mean(0)
    spread = (invariants - mean).square().mean(0).sqrt()
    keep = spread > 1e-9 * (1 + mean.abs())
    scale = torch.where(keep, 1 / torch.where(keep, spread, 1.0), 0.0)
    z = (invariants - mean) * scale
    variances, axes = torch.linalg.eigh(z.T @ z / len(z))
    size = min(REDUCED, int((variances > 1e-8 * variances[-1]).sum()))
    axes = axes[:, -size:].flip(1)
    return mean, scale.unsqueeze(1) * axes / keep.sum().clamp(min=1).sqrt()


def fit_force_form(
    model: FoundationModel,
    target: Target,
    systems: Sequence[System],
    reduced: tuple[Float[Tensor, " D"], Float[Tensor, "D P"]],
    *,
    smooth: bool,
    against: bool,
) -> ForceForm:
    """Fit energies and forces of all systems.

    Args:
        model: with the target's level.
        target: the energy.
        systems: with invariants reduced by `reduced`, at least `FOLDS`.
        reduced: (D,) and (D, P), dimensionless, see `reduction`.
        smooth: whether there are random features besides the linear ones.
        against: whether the model's own energy is the baseline.
    """
    spec = _spec(model, target, systems, reduced, smooth=smooth, against=against)
    options: Mapping[str, Any] = spec.options
    best: _Fit | None = None
    for length in LENGTHS if smooth else LENGTHS[:1]:
        head = RandomFeaturesHead(model.config.quantities[target.quantity], 0, **options)
        _draw(head, systems, reduced, length)
        candidate = _best_noise(head, systems, against)
        best = candidate if best is None or candidate.score < best.score else best
    assert best is not None
    best.fill()
    return ForceForm(
        str(options["kind"]), target, best.head, spec, *best.left_out(),
        torch.cat([s.strained for s in systems]),
    )  # fmt: skip


def install_forces(
    model: FoundationModel, form: ForceForm, targets: Sequence[Target]
) -> FoundationModel:
    """A copy of the model with the form as the head of its level's energy, and these targets."""
    grown = model.extended(targets, [form.spec])
    grown.heads[form.spec.key].load_state_dict(form.head.state_dict())
    return grown


def _spec(
    model: FoundationModel,
    target: Target,
    systems: Sequence[System],
    reduced: tuple[Tensor, Tensor],
    *,
    smooth: bool,
    against: bool,
) -> HeadSpec:
    kind = "gp" if smooth else "ridge"
    options = {
        "invariants": reduced[1].shape[0],
        "reduced": reduced[1].shape[1],
        "features": RANDOM if smooth else 0,
        "types": len(torch.unique(torch.cat([s.types for s in systems]))),
        "baseline": baselines_of(model, target)["own"] if against else None,
        "kind": f"delta {kind}" if against else kind,
    }
    return HeadSpec(target.encoder, target.quantity, RANDOM_FEATURES, options, target.level)


@torch.no_grad()
def _draw(
    head: RandomFeaturesHead,
    systems: Sequence[System],
    reduced: tuple[Tensor, Tensor],
    length: float,
) -> None:
    """Fill what does not depend on the labels."""
    generator = torch.Generator().manual_seed(SEED)
    f64 = torch.float64
    head.mean.copy_(reduced[0])
    head.rotation.copy_(reduced[1])
    head.linear.fill_(LINEAR if head.frequencies.shape[1] else 1.0)
    for row, number in enumerate(torch.unique(torch.cat([s.types for s in systems])).tolist()):
        head.row[number] = row
    drawn = torch.randn(head.frequencies.shape, generator=generator, dtype=f64)
    head.frequencies.copy_(drawn / length)
    turns = torch.rand(head.phases.shape, generator=generator, dtype=f64)
    head.phases.copy_(2 * np.pi * turns)


class _Rows:
    """Rows of the regression, and their covariances by fold."""

    def __init__(self, head: RandomFeaturesHead, systems: Sequence[System], against: bool) -> None:
        share = 0.0 if against else 1.0
        f64 = torch.float64
        self.energy = torch.tensor([s.energy + share * s.own_energy for s in systems], dtype=f64)
        counts = torch.stack(
            [torch.bincount(s.types, minlength=len(head.references)) for s in systems]
        )
        values = fit_references(counts.double().numpy(), self.energy.numpy()).values
        self.references = torch.from_numpy(values).to(f64)
        self.energy = self.energy - counts.double() @ self.references
        self.slopes = torch.cat([s.slopes + share * s.own_slopes for s in systems])
        self.strained = torch.cat([s.strained for s in systems])
        self.over = torch.cat([torch.where(s.strained, 1 / s.volume, 1.0).to(f64) for s in systems])
        self.phi = torch.stack([head.per_token(s.invariants, s.types).sum(0) for s in systems])
        self.moved = torch.cat([head.slopes(s.invariants, s.types, s.moved) for s in systems])
        self.fold = torch.arange(len(systems)) % FOLDS
        lengths = torch.tensor([len(s.slopes) for s in systems])
        self.fold_of_row = torch.repeat_interleave(self.fold, lengths)
        square = self.slopes[~self.strained].square().mean()
        self.size = float(square.sqrt()) or 1.0
        self.covariances = [self._covariance(f) for f in range(FOLDS)]

    def _covariance(self, fold: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of energies (and strains), and of forces: Phi^T Phi and Phi^T y."""
        rows, mine = self.fold_of_row == fold, self.fold == fold
        soft = torch.cat([self.phi[mine], self.moved[rows & self.strained]])
        told = torch.cat([self.energy[mine], self.slopes[rows & self.strained]])
        hard, said = self.moved[rows & ~self.strained], self.slopes[rows & ~self.strained]
        return soft.T @ soft, soft.T @ told, hard.T @ hard, hard.T @ said


class _Fit:
    """A choice of noises, and what it leaves out."""

    def __init__(self, head: RandomFeaturesHead, rows: _Rows, noise: float, ratio: float) -> None:
        self.head, self.rows = head, rows
        self.force_noise = noise * rows.size**2
        self.energy_noise = ratio * self.force_noise
        total = [sum(part) for part in zip(*rows.covariances, strict=True)]
        solved = []
        for covariance in rows.covariances:
            kept = [t - o for t, o in zip(total, covariance, strict=True)]
            solved.append(self._solve(*kept)[0])
        self.total = total
        folds = torch.stack(solved)
        self.energies = (rows.phi * folds[rows.fold]).sum(1) - rows.energy
        said = torch.empty_like(rows.slopes)
        for f in range(FOLDS):
            mine = rows.fold_of_row == f
            said[mine] = rows.moved[mine] @ folds[f]
        self.slopes = (said - rows.slopes) * rows.over
        self.score = self._score()

    def _solve(self, ee: Tensor, ey: Tensor, ff: Tensor, fy: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients, and the Cholesky factor of A; the prior has the square of the labels."""
        prior = self.rows.size**2
        a = prior * (ee / self.energy_noise + ff / self.force_noise)
        a.diagonal().add_(1.0)
        b = prior * (ey / self.energy_noise + fy / self.force_noise)
        factor = torch.linalg.cholesky(a)
        return torch.cholesky_solve(b.unsqueeze(1), factor)[:, 0], factor

    def _score(self) -> float:
        """Mean of the left-out errors of energies, forces and stress over those of no form."""
        rows = self.rows
        pairs = [
            (self.energies, rows.energy),
            (self.slopes[~rows.strained], rows.slopes[~rows.strained]),
        ]
        if rows.strained.any():
            s = rows.strained
            pairs.append((self.slopes[s], (rows.slopes * rows.over)[s]))
        # forces decide: an energy without forces is rarely wanted
        weights = [0.5, 1.0, 0.5][: len(pairs)]
        ratios = [float(e.abs().mean() / y.abs().mean().clamp(min=1e-12)) for e, y in pairs]
        return float(np.average(ratios, weights=weights))

    def left_out(self) -> tuple[Tensor, Tensor]:
        """Errors of energies and of slopes."""
        return self.energies, self.slopes

    @torch.no_grad()
    def fill(self) -> None:
        """Put the fit to all systems into the head."""
        head, rows = self.head, self.rows
        solved, factor = self._solve(*self.total)
        head.coefficients.copy_(solved)
        head.references.copy_(rows.references)
        # judged by solve_triangular(factor) Phi, times the prior
        head.cholesky.copy_(factor / rows.size)
        head.noise.fill_(self.energy_noise)
        spread = torch.linalg.solve_triangular(factor / rows.size, rows.phi.T, upper=False)
        sigma = (spread.square().sum(0) + self.energy_noise).sqrt()
        head.factor.fill_(interval_factor(self.energies.abs() / sigma))
        head.force_error.fill_(interval_factor(self.slopes[~rows.strained].abs()))


def _best_noise(head: RandomFeaturesHead, systems: Sequence[System], against: bool) -> _Fit:
    """The noises of least left-out error: first that of slopes, then that of energies over it."""
    rows = _Rows(head, systems, against)
    best = min((_Fit(head, rows, noise, RATIOS[0]) for noise in NOISES), key=lambda f: f.score)
    noise = best.force_noise / rows.size**2
    others = (_Fit(head, rows, noise, ratio) for ratio in RATIOS[1:])
    return min((best, *others), key=lambda f: f.score)
