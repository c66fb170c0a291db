"""What closed forms of energies and forces rest on: invariants of tokens, and how they move.

Energies give one row of the regression each, forces one for every Cartesian component: the
derivative of the invariants by that coordinate, which forward differences in float64 give. Of a
system with many components a random choice is taken; of a stress, all six.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.config import Target
from sfm.data.budget import filled
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.model import FoundationModel
from sfm.nn.trunk import INVARIANTS
from sfm.progress import report
from sfm.train.data import INFERENCE

# angstrom: the error of a slope is some 1e-5 of it
STEP = 1e-5
# components of forces of a system at least, and of all systems where these are few
COMPONENTS, ROWS = 24, 3_000
STRAINS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


@dataclass(frozen=True)
class System:
    """One labelled system; N tokens, K rows of derivatives, P reduced invariants.

    Attributes:
        id: its name.
        types: (N,) of the tokens.
        invariants: (N, P), reduced, dimensionless.
        moved: (K, N, P) their derivatives by what each row moves, per angstrom; for the stress by
            the strain.
        energy, own_energy: label minus what the model says already, and that alone (eV).
        slopes, own_slopes: (K,) dE/d(coordinate) of the labels minus those of the model, and the
            latter (eV/angstrom; eV for a strain).
        strained: (K,) bool, rows of the stress.
        volume: of the cell, angstrom^3; 1 without one.
    """

    id: str
    types: Int[Tensor, " N"]
    invariants: Float[Tensor, "N P"]
    moved: Float[Tensor, "K N P"]
    energy: float
    own_energy: float
    slopes: Float[Tensor, " K"]
    own_slopes: Float[Tensor, " K"]
    strained: Tensor
    volume: float


def gather_rows(
    model: FoundationModel,
    target: Target,
    samples: Sequence[Sample],
    reduce: Callable[[Float[Tensor, "*rows D"]], Float[Tensor, "*rows P"]],
    *,
    seed: int = 0,
) -> list[System]:
    """Systems of the samples, which have energy and forces.

    Args:
        model: in float64, with the target's level among its contexts.
        target: the energy.
        samples: at the target's level; those with a stress give rows for it.
        reduce: (..., D) -> (..., P), an affine map of the invariants, dimensionless.
        seed: of the choice of components.
    """
    systems, count = [], max(COMPONENTS, ROWS // max(len(samples), 1))
    for done, sample in enumerate(samples):
        report(f"{target.encoder}: features and slopes", done, len(samples))
        systems.append(_system(model, target, sample, reduce, count, seed + done))
    return systems


def tokens_at(model: FoundationModel, target: Target, sample: Sample) -> Tokens:
    """The sample's tokens at the target's level."""
    tokens = model.encoder(target.encoder).tokenize(sample)
    context = torch.full_like(tokens.context, model.context(target.encoder, target.level))
    return tokens.replace(context=context).to(model.device, model.dtype)


@torch.no_grad()
def token_invariants(
    model: FoundationModel, target: Target, samples: Sequence[Sample]
) -> Float[Tensor, "N D"]:
    """(N, D) float64 invariants of the tokens of all samples, dimensionless."""
    part = target.encoder
    rows = [
        model.features({part: tokens_at(model, target, s)}, invariants=True)[part].extras[
            INVARIANTS
        ]
        for s in samples
    ]
    return torch.cat(rows).double().cpu()


def _system(
    model: FoundationModel,
    target: Target,
    sample: Sample,
    reduce: Callable[[Tensor], Tensor],
    count: int,
    seed: int,
) -> System:
    part, tokens = target.encoder, tokens_at(model, target, sample)
    names = [q for q in ("energy", "forces", "stress") if q in sample.labels]
    key = f"{part}:{target.quantity}"
    n, stressed = tokens.n_tokens, "stress" in names
    said_already = {q: torch.zeros(np.shape(sample.labels[q]), dtype=torch.float64) for q in names}
    if key in model.heads:
        said = model({part: tokens}, {part: names})[part]
        said_already = {
            q: v.detach().double().cpu().reshape(said_already[q].shape) for q, v in said.items()
        }
    labels = {q: torch.tensor(np.array(sample.labels[q]), dtype=torch.float64) for q in names}
    drawn = np.random.default_rng([seed, n]).permutation(3 * n)[:count]
    picked = torch.from_numpy(np.sort(drawn))
    volume = float(torch.linalg.det(tokens.cell[0]).abs()) if stressed else 1.0
    base, moved = _differences(model, part, tokens, picked, stressed, reduce)

    def slopes(values: dict[str, Tensor]) -> Tensor:
        rows = [-values["forces"].reshape(-1)[picked]]
        if stressed:
            stress = values["stress"].reshape(3, 3)
            rows.append(volume * torch.stack([stress[a, b] for a, b in STRAINS]))
        return torch.cat(rows)

    strained = torch.arange(len(moved)) >= len(picked)
    return System(
        id=sample.id,
        types=tokens.types.cpu(),
        invariants=base,
        moved=moved,
        energy=float(labels["energy"].sum() - said_already["energy"].sum()),
        own_energy=float(said_already["energy"].sum()),
        slopes=slopes(labels) - slopes(said_already),
        own_slopes=slopes(said_already),
        strained=strained,
        volume=volume or 1.0,
    )


@torch.no_grad()
def _differences(
    model: FoundationModel,
    part: str,
    tokens: Tokens,
    picked: Tensor,
    stressed: bool,
    reduce: Callable[[Tensor], Tensor],
) -> tuple[Float[Tensor, "N P"], Float[Tensor, "K N P"]]:
    """Reduced invariants (N, P), and their slopes (K, N, P) by picked coordinates and strains."""
    rows: list[Tensor] = []

    def displaced() -> Iterator[Tokens]:
        yield tokens
        for flat in picked.tolist():
            positions = tokens.positions.clone()
            positions.view(-1)[flat] += STEP
            yield tokens.replace(positions=positions)
        for a, b in STRAINS if stressed else ():
            strain = torch.zeros(3, 3, dtype=tokens.positions.dtype, device=tokens.positions.device)
            strain[a, b] += STEP / 2
            strain[b, a] += STEP / 2
            yield tokens.replace(
                positions=tokens.positions + tokens.positions @ strain,
                cell=tokens.cell + tokens.cell @ strain,
            )

    limit = INFERENCE.tokens_per_batch
    for chunk in filled(displaced(), lambda t: (t.n_tokens, t.n_edges), tokens=limit):
        batch = Tokens.cat(chunk)
        invariants = model.features({part: batch}, invariants=True)[part].extras[INVARIANTS]
        rows.append(reduce(invariants.double().cpu()).reshape(len(chunk), tokens.n_tokens, -1))
    values = torch.cat(rows)
    return values[0], (values[1:] - values[0]) / STEP
