"""Encoders of the dft domain: bare atoms, and atoms that carry a projected electron density."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.guard import Guard
from sfm.nn.encoder import PointEncoder
from sfm.nn.symmetry import tensor_rotation
from sfm_dft.density_basis import COUNTS, DIM
from sfm_dft.energy import DensityFeatures

if TYPE_CHECKING:
    from sfm.model import FoundationModel

Move = Callable[[Sample], Sample]
MoveOutput = Callable[[str, Tensor], Tensor]
PROJECTIONS = "density_projections"
ON_ATOMS = (PROJECTIONS, "density_coefficients")


def split_irreps(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, 45) in e3nn's order -> scalars (N, 10), vectors (N, 3, 5), tensors (N, 5, 4)."""
    s, p, d = COUNTS
    scalars, vectors, tensors = values.split([s, 3 * p, 5 * d], dim=-1)
    return (
        scalars,
        vectors.reshape(-1, p, 3).transpose(1, 2),
        tensors.reshape(-1, d, 5).transpose(1, 2),
    )


def join_irreps(scalars: Tensor, vectors: Tensor, tensors: Tensor) -> Tensor:
    """The inverse of `split_irreps`."""
    rows = len(scalars)
    flat = [x.transpose(1, 2).reshape(rows, -1) for x in (vectors, tensors)]
    return torch.cat([scalars, *flat], dim=-1)


def rotate_irreps(values: Tensor, rotation: Tensor) -> Tensor:
    """(N, 45) of the turned system; `rotation` is (3, 3) orthogonal."""
    scalars, vectors, tensors = split_irreps(values)
    turn = rotation.to(values)
    return join_irreps(
        scalars,
        torch.einsum("ij,njc->nic", turn, vectors),
        torch.einsum("ij,njc->nic", tensor_rotation(turn), tensors),
    )


def _atomic_symmetries(
    plain: Iterator[tuple[str, Move, MoveOutput]],
) -> Iterator[tuple[str, Move, MoveOutput]]:
    """Symmetries of points, extended to quantities that are stored as irreps on atoms."""
    for name, move, move_output in plain:
        probe = np.vstack([np.zeros(3), np.eye(3)])
        moved = move(Sample(id="probe", domain="dft", positions=probe, types=np.ones(4))).positions
        rotation = torch.from_numpy((moved[1:] - moved[0]).T.copy())

        def on_sample(sample: Sample, move: Move = move, rotation: Tensor = rotation) -> Sample:
            def turned(values: Any) -> dict[str, np.ndarray]:
                return {
                    k: rotate_irreps(torch.tensor(np.array(v)).double(), rotation).numpy()
                    if k in ON_ATOMS
                    else v
                    for k, v in values.items()
                }

            result = move(sample)
            return result.replace(fields=turned(result.fields), labels=turned(result.labels))

        def on_output(
            quantity: str,
            value: Tensor,
            move_output: MoveOutput = move_output,
            rotation: Tensor = rotation,
        ) -> Tensor:
            if quantity in ON_ATOMS:
                return rotate_irreps(value, rotation)
            return move_output(quantity, value)

        yield name, on_sample, on_output


class AtomsEncoder(PointEncoder):
    """Nuclei and total charge only: what a model needs to predict densities and energies."""

    part: ClassVar[str] = "dft/atoms"
    domain: ClassVar[str] = "dft"
    conditions: ClassVar[tuple[str, ...]] = ("charge",)
    default_cutoff: ClassVar[float] = 5.0

    def symmetries(self, generator: torch.Generator) -> Iterator[tuple[str, Move, MoveOutput]]:
        yield from _atomic_symmetries(super().symmetries(generator))


@cache
def projection_statistics() -> tuple[Tensor, Tensor]:
    """Mean of each scalar projection by element (119, 45) and scale of each projection (45,).

    Fitted on the training split of dft-small and shipped with the plugin (`projections.json`);
    an element that is not in it has mean zero.
    """
    table = json.loads(Path(__file__).with_name("projections.json").read_text())
    mean = torch.zeros(119, DIM, dtype=torch.float64)
    for number, row in table["mean"].items():
        mean[int(number), : COUNTS[0]] = torch.tensor(row, dtype=torch.float64)
    return mean, torch.tensor(table["scale"], dtype=torch.float64)


def standardise(projections: Tensor, numbers: Tensor) -> Tensor:
    """Projections (N, 45) less the mean of their element, over their scale; equivariant."""
    mean, scale = (x.to(projections) for x in projection_statistics())
    return (projections - mean[numbers]) / scale


class DensityEncoder(PointEncoder):
    """Nuclei that carry the projected electron density: raw features 10x0e + 5x1o + 4x2e.

    The density comes from `Sample.fields['density_projections']` if the user gives one, else from
    the label of that name, (A, 45) as `sfm_dft.density_basis.project` makes it. The head
    `xc_correction` on this encoder is the hole in Kohn-Sham theory that the model fills:
    `closure` gives the module that `dft/kohn-sham` takes.
    """

    part: ClassVar[str] = "dft/density"
    domain: ClassVar[str] = "dft"
    raw: ClassVar[tuple[int, int, int]] = COUNTS  # type: ignore[assignment]
    default_cutoff: ClassVar[float] = 5.0

    def accepts(self, sample: Sample) -> bool:
        return sample.domain == self.domain and _projections(sample) is not None

    def features(self, sample: Sample) -> dict[str, Tensor]:
        values = _projections(sample)
        if values is None:
            raise InputError(
                f"{sample.id}: no '{PROJECTIONS}', which encoder '{self.part}' needs; make them "
                "with sfm_dft.density_basis.project, or use encoder 'dft/atoms'"
            )
        if values.shape != (len(sample.types), DIM):
            raise InputError(
                f"{sample.id}: '{PROJECTIONS}' has shape {values.shape}, "
                f"expected ({len(sample.types)}, {DIM})"
            )
        projections = torch.tensor(np.array(values), dtype=torch.float64)
        return self.raw_features(projections, torch.tensor(np.array(sample.types)))

    @staticmethod
    def raw_features(projections: Tensor, numbers: Tensor) -> dict[str, Tensor]:
        """Raw features of the tokens from projections (A, 45), differentiable."""
        parts = split_irreps(standardise(projections, numbers))
        return dict(zip(("scalars", "vectors", "tensors"), parts, strict=True))

    def symmetries(self, generator: torch.Generator) -> Iterator[tuple[str, Move, MoveOutput]]:
        yield from _atomic_symmetries(super().symmetries(generator))

    def closure(
        self, model: FoundationModel, *, level: str | None = None, **options: Any
    ) -> nn.Module:
        """Module for `dft/kohn-sham`: projections -> exchange-correlation energy beyond LDA, eV.

        The only option is `extrapolate`: warn of what lies outside the training data, do not
        refuse it.

        Raises:
            InputError: the model does not predict `xc_correction` at `level`, or other options.
        """
        extrapolate = bool(options.pop("extrapolate", False))
        if options:
            raise InputError(f"closure of '{self.part}': unknown options {sorted(options)}")
        return DensityClosure(model, self.part, level, extrapolate=extrapolate)


def _projections(sample: Sample) -> np.ndarray | None:
    for source in (sample.fields, sample.labels):
        if PROJECTIONS in source:
            return np.asarray(source[PROJECTIONS])
    return None


class DensityClosure(nn.Module):
    """A model's `xc_correction` as a functional of the density: the closure of `dft/kohn-sham`.

    Maps `sfm_dft.energy.DensityFeatures` to an energy in eV, (), differentiable in the projections
    and in the model's weights. The base functional is LDA: that is what the correction corrects.

    Args:
        model: trained on `xc_correction` with encoder `dft/density`.
        part: the encoder's name. level: level of theory; the only one there is if None.
        extrapolate: warn of what lies outside the training data instead of refusing it.

    Raises:
        InputError: the model has no such target, or the level is ambiguous.
        OutsideError: in a call, elements, charge or distances outside the training data.
    """

    base: ClassVar[str] = "LDA"

    def __init__(
        self,
        model: FoundationModel,
        part: str,
        level: str | None,
        *,
        extrapolate: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.part = part
        self.level = model.level(part, level, "xc_correction")
        self.guard = Guard(model, part, self.level, extrapolate=extrapolate)

    def tokens(self, density: DensityFeatures) -> Tokens:
        """Tokens in float64; features depend on the projections, edges on the positions."""
        blank = Sample(
            id="density",
            domain="dft",
            positions=density.positions.detach().cpu().numpy(),
            types=density.numbers.cpu().numpy(),
            fields={PROJECTIONS: np.zeros((len(density.numbers), DIM))},
            conditions={"charge": density.charge},
        )
        tokens = self.model.encoder(self.part).tokenize(blank)
        context = self.model.context(self.part, self.level)
        tokens = tokens.replace(context=torch.full_like(tokens.context, context))
        tokens = tokens.to(density.projections.device, density.projections.dtype)
        return tokens.replace(
            positions=density.positions.to(tokens.positions),
            **DensityEncoder.raw_features(density.projections, density.numbers),
        )

    def forward(self, density: DensityFeatures) -> Tensor:
        tokens = self.tokens(density)
        self.guard.check(tokens, [{"charge": density.charge}], ["xc_correction"])
        # a float32 network is too noisy for self-consistency to 1e-8: its weights are cast for the
        # call, and gradients still reach the originals
        values = self.model.in_precision(
            density.projections.dtype,
            {self.part: tokens},
            {self.part: ["xc_correction"]},
        )
        return values[self.part]["xc_correction"].to(density.projections).reshape(())
