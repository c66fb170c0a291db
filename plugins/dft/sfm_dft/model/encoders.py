"""Encoders of the dft domain: bare atoms, and atoms that carry a projected electron density.

Raw features are dimensionless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.nn.encoder import PointEncoder
from sfm_dft.basis.density_basis import COUNTS, DIM
from sfm_dft.model.irreps import rotate_irreps
from sfm_dft.model.projections import PROJECTIONS, raw_features

if TYPE_CHECKING:
    from sfm.model import FoundationModel

Move = Callable[[Sample], Sample]
MoveOutput = Callable[[str, Tensor], Tensor]
ON_ATOMS = (PROJECTIONS, "density_coefficients")


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


class AtomEncoder(PointEncoder):
    """Nuclei and total charge only: what a model needs to predict densities and energies."""

    part: ClassVar[str] = "dft/atoms"
    domain: ClassVar[str] = "dft"
    conditions: ClassVar[tuple[str, ...]] = ("charge",)
    default_cutoff: ClassVar[float] = 5.0

    def symmetries(self, generator: torch.Generator) -> Iterator[tuple[str, Move, MoveOutput]]:
        yield from _atomic_symmetries(super().symmetries(generator))


class DensityEncoder(PointEncoder):
    """Nuclei that carry the projected electron density: raw features 10x0e + 5x1o + 4x2e.

    The density comes from `Sample.fields['density_projections']` if the user gives one, else from
    the label of that name, (A, 45) as `sfm_dft.basis.density_basis.project` makes it. The head
    `xc_correction` on this encoder is the hole in Kohn-Sham theory that the model fills:
    `closure` gives the module that `dft/kohn-sham` takes.
    """

    part: ClassVar[str] = "dft/density"
    domain: ClassVar[str] = "dft"
    raw: ClassVar[tuple[int, int, int]] = COUNTS  # type: ignore[assignment]
    label_inputs: ClassVar[tuple[str, ...]] = (PROJECTIONS,)
    default_cutoff: ClassVar[float] = 5.0

    def accepts(self, sample: Sample) -> bool:
        return sample.domain == self.domain and _projections(sample) is not None

    def features(self, sample: Sample) -> dict[str, Float[Tensor, "A ..."]]:
        values = _projections(sample)
        if values is None:
            raise InputError(
                f"{sample.id}: no '{PROJECTIONS}', which encoder '{self.part}' needs; make them "
                "with sfm_dft.basis.density_basis.project, or use encoder 'dft/atoms'"
            )
        if values.shape != (len(sample.types), DIM):
            raise InputError(
                f"{sample.id}: '{PROJECTIONS}' has shape {values.shape}, "
                f"expected ({len(sample.types)}, {DIM})"
            )
        projections = torch.tensor(np.array(values), dtype=torch.float64)
        return raw_features(projections, torch.tensor(np.array(sample.types)))

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
        from sfm_dft.model.closure import DensityClosure  # brings the whole engine

        return DensityClosure(model, self.part, level, extrapolate=extrapolate)


def _projections(sample: Sample) -> np.ndarray | None:
    for source in (sample.fields, sample.labels):
        if PROJECTIONS in source:
            return np.asarray(source[PROJECTIONS])
    return None
