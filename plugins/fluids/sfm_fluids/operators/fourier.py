"""The Fourier neural operator of the package `neuraloperator`, as a module of plain options.

Source: Z. Li et al., Fourier Neural Operator for Parametric Partial Differential Equations, ICLR
2021, arXiv:2010.08895; J. Kossaifi et al., arXiv:2412.10354 (the package).
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import PluginError


class FourierOperator(nn.Module):
    """(B, C, *grid) -> (B, K, *grid), dimensionless; takes any grid that holds its modes.

    Args:
        inputs: C, channels in.
        outputs: K, channels out.
        axes: of the grid.
        periodic: else the field is padded by a quarter for the transforms, and told its place.
        width: channels inside.
        modes: Fourier modes along each axis.
        layers: Fourier layers.

    Raises:
        PluginError: the package `neuraloperator` is not installed.
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        axes: int,
        periodic: bool = False,
        width: int = 32,
        modes: int = 8,
        layers: int = 4,
    ) -> None:
        super().__init__()
        self.network = _fno()(
            n_modes=(modes,) * axes,
            in_channels=inputs,
            out_channels=outputs,
            hidden_channels=width,
            n_layers=layers,
            positional_embedding=None if periodic else "grid",
            domain_padding=None if periodic else 0.25,
        )
        self.register_state_dict_post_hook(_weights_alone)  # type: ignore[no-untyped-call]

    def forward(self, field: Float[Tensor, "B C *grid"]) -> Float[Tensor, "B K *grid"]:
        values: Tensor = self.network(field)
        return values


def _weights_alone(module: nn.Module, state: dict[str, Any], *_: Any) -> None:
    """Take out the package's note of its version, which is no tensor."""
    state.pop("_metadata", None)


def _fno() -> Any:
    """The class `neuralop.models.FNO`.

    Raises:
        PluginError: its package is not installed.
    """
    try:
        from neuralop.models import FNO
    except ImportError as error:
        raise PluginError(
            f"a Fourier operator needs the package 'neuraloperator' ({error}); install it with: "
            "pip install 'sfm-hub[operators]'"
        ) from None
    return FNO
