"""`fluids/flow`: a flow that is about to move becomes tokens; what a next-state surrogate reads.

Adds to the patches of `fluids/patches` what decides where the flow goes: its velocity relative to
its mean, the force, the interval, viscosity and drag, and the first two time derivatives that the
equation of motion gives. All in units of the cell and of the flow's own strain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.nn.encoder import Encoder
from sfm.nn.harmonics import from_matrix
from sfm_fluids.box import square_spacing
from sfm_fluids.patches.cell_tensors import N_MATRICES, N_SCALARS, N_VECTORS, offsets, patches_of
from sfm_fluids.patches.encoder import PatchEncoder
from sfm_fluids.patches.taylor import Motion, derivatives

N_BASIS = 8  # vectors of every cell that the head combines


class Bridge(NamedTuple):
    """What a flow is carried across, in box units: (B,) but for the spacing of the cells."""

    spacing: float
    interval: Tensor
    viscosity: Tensor
    drag: Tensor


class FlowEncoder(PatchEncoder):
    """Periodic velocity (2, H, W) with conditions -> tokens with the flow's tendency.

    Conditions: `interval` (time to bridge), `viscosity`, `drag`; box units. Field `force`
    (2, H, W), steady, is taken as zero where a sample has none. The spacing comes from the cell.

    Raw features besides those of `fluids/patches`: 5 scalars (logarithms of interval and
    viscosity, drag times interval, size of velocity and of its change), 4 vectors (velocity, its
    first and second change, force times interval) and 1 tensor (gradient of the first change).

    Args:
        channels: width of the trunk.
        cutoff: interaction range in cells; default 2.5 patches.
        patch: s, cells along a patch's side.

    Raises:
        InputError: no interval, no box, or a force together with a mean flow (their steady frame
            differs).
    """

    part: ClassVar[str] = "fluids/flow"
    raw: ClassVar[tuple[int, int, int]] = (N_SCALARS + 5, N_VECTORS + 4, N_MATRICES + 2)

    def accepts(self, sample: Sample) -> bool:
        return super().accepts(sample) and "interval" in sample.conditions

    def tokenize(self, sample: Sample) -> Tokens:
        if "interval" not in sample.conditions:
            raise InputError(f"{sample.id}: no condition 'interval', which '{self.part}' needs")
        plain = super().tokenize(sample)
        velocity = torch.from_numpy(np.array(sample.fields["velocity"], dtype=np.float64))[None]
        force = sample.fields.get("force")
        spacing = square_spacing(sample, f"encoder '{self.part}'")
        if spacing is None:
            raise InputError(
                f"{sample.id}: states no box, so interval and viscosity have no meaning; give "
                "length_x (the cell)"
            )

        def number(name: str) -> Tensor:
            return torch.tensor([float(sample.conditions.get(name, 0.0))], dtype=torch.float64)

        bridge = Bridge(spacing, number("interval"), number("viscosity"), number("drag"))
        given = None if force is None else torch.from_numpy(np.array(force, dtype=np.float64))[None]
        return self._with_motion(plain, _motion(plain, velocity, given, bridge))

    def tokenize_flow(
        self,
        velocity: Float[Tensor, "B 2 H W"],
        force: Float[Tensor, "B 2 H W"] | None,
        *,
        spacing: float,
        interval: Float[Tensor, " B"],
        viscosity: Float[Tensor, " B"],
        drag: Float[Tensor, " B"],
    ) -> Tokens:
        """Tokens of B flows (B, 2, H, W); differentiable. Numbers are (B,), in box units."""
        tokens = self.tokenize_field(velocity)
        bridge = Bridge(spacing, interval, viscosity, drag)
        return self._with_motion(tokens, _motion(tokens, velocity, force, bridge))

    def _with_motion(self, tokens: Tokens, motion: Motion) -> Tokens:
        """The patches' tokens with the flow's motion: more features, and extras `change`.

        Extras: `change` (N, s^2, 2, K), the vectors of each cell that the head combines.
        """
        first, second = derivatives(motion)
        size = self.patch
        t = motion.interval[:, None, None, None]

        def on_cells(field: Tensor) -> Tensor:
            """(B, 2, H, W) -> (N, s^2, 2)."""
            return patches_of(field.movedim(1, -1), size).flatten(0, 1)

        u, b1, b2, f = (on_cells(x) for x in (motion.velocity, first, second, t * motion.force))
        tokens = tokens.replace(extras={**tokens.extras, "interval": motion.interval})
        basis = self._basis(tokens, u, b1, b2)
        damped1, damped2 = basis[..., 5], basis[..., 6]
        vectors = torch.stack([v.mean(1) for v in (u, damped1, damped2, f)], -1)
        pad = nn.functional.pad
        gradient = _deviator(torch.einsum("nci,cj->nij", damped1, offsets(size, u)))
        tensors = from_matrix(pad(gradient, (0, 1, 0, 1)).unsqueeze(-1))
        of_flow = torch.stack(
            (
                torch.log(motion.interval + 1e-6),
                torch.log(motion.viscosity + 1e-6),
                motion.drag * motion.interval,
            ),
            -1,
        )[tokens.system]
        sizes = torch.stack([torch.log1p(x.square().sum(-1).mean(1)) for x in (u, b1)], -1)
        return tokens.replace(
            scalars=torch.cat((tokens.scalars, of_flow, sizes), 1),
            vectors=torch.cat((tokens.vectors, pad(vectors, (0, 0, 0, 1))), 2),
            tensors=torch.cat((tokens.tensors, tensors), 2),
            extras={**tokens.extras, "change": basis},
        )

    @staticmethod
    def _basis(tokens: Tokens, u: Tensor, b1: Tensor, b2: Tensor) -> Tensor:
        """(N, s^2, 2, K): u', L, q T S u', q T W u', q^3 B1, q B1, q^2 B2, q^2 T (S - W) B1.

        q = 1 / sqrt(1 + T^2 (S:S/2 + w^2)) tames what the series would make of strong gradients.
        """
        a, b, w = tokens.extras["strain"].unbind(-1)
        lap = tokens.extras["laplacian"]
        t = tokens.extras["interval"][tokens.system][:, None]
        q = torch.rsqrt(1 + t**2 * (a * a + b * b + w * w))

        def strained(v: Tensor) -> Tensor:
            x, y = v.unbind(-1)
            return torch.stack((a * x + b * y, b * x - a * y), -1) * (q * t)[..., None]

        def turned(v: Tensor) -> Tensor:
            x, y = v.unbind(-1)
            return torch.stack((w * y, -w * x), -1) * (q * t)[..., None]

        q1 = q[..., None]
        vectors = (u, lap, strained(u), turned(u), q1**3 * b1, q1 * b1, q1**2 * b2)
        return torch.stack((*vectors, strained(q1 * b1) - turned(q1 * b1)), -1)

    closure = Encoder.closure  # supplies none

    def symmetries(
        self, generator: torch.Generator
    ) -> Iterator[tuple[str, Callable[[Sample], Sample], Callable[[str, Tensor], Tensor]]]:
        """The grid's rotation, reflection and shift by a patch (a boost moves the answer)."""
        from sfm_fluids.patches.grid_symmetry import grid_symmetries

        for name, move, output in grid_symmetries(self.patch, generator):
            if name != "boost":
                yield name, move, output


def _motion(tokens: Tokens, velocity: Tensor, force: Tensor | None, bridge: Bridge) -> Motion:
    """The flow (B, 2, H, W) without its mean, in units of the cell and of its own strain.

    Raises:
        InputError: a force together with a mean flow.
    """
    g = tokens.extras["velocity_scale"]
    by = g[:, None, None, None]
    mean = velocity.mean((-2, -1), keepdim=True)
    if force is None:
        force = torch.zeros_like(velocity)
    elif bool((mean.detach().abs() > 1e-3 * by).any()):
        raise InputError(
            f"{tokens.ids[0]}: a steady force and a mean flow at once: take the mean off, or "
            "leave the force out"
        )
    return Motion(
        (velocity - mean) / by,
        force * bridge.spacing / by**2,
        bridge.interval * g / bridge.spacing,
        bridge.viscosity / (g * bridge.spacing),
        bridge.drag * bridge.spacing / g,
    )


def _deviator(matrix: Tensor) -> Tensor:
    """The symmetric part of (N, 2, 2) without its trace."""
    symmetric = 0.5 * (matrix + matrix.transpose(1, 2))
    trace = 0.5 * symmetric.diagonal(dim1=1, dim2=2).sum(-1)[:, None, None]
    return symmetric - trace * torch.eye(2, dtype=matrix.dtype, device=matrix.device)
