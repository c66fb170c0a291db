"""torch-sim: a model as its `ModelInterface`, for batched dynamics and relaxation.

Tested with torch-sim 0.3.0 (Python 3.11), and by hand with the source of 0.6.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.conditions import meaning, read_conditions
from sfm.data.sample import Sample
from sfm.errors import InputError, PluginError
from sfm.model.potential import Potential

try:
    from torch_sim.models.interface import ModelInterface
except ModuleNotFoundError as error:
    raise PluginError(
        f"the torch-sim adapter needs the package '{error.name}'; install it with: "
        "pip install 'sfm-hub[torch-sim]'"
    ) from None

if TYPE_CHECKING:
    from sfm.model.foundation import FoundationModel


class SfmTorchSim(ModelInterface):  # type: ignore[misc]  # torch-sim is no dependency
    """`state -> {energy (S,), forces (N, 3), stress (S, 3, 3)}` in eV and angstrom.

    Units and the sign of stress (positive under tension) are torch-sim's, which are ASE's.
    Neighbours are those of the model's own encoder, at every call. The network runs in the
    precision in which the model is (`model.double()` for smoother dynamics); positions and answers
    are in `dtype`. Charge and spin are those that the state's system extras state, whatever they
    are called (`sfm.data.conditions`), or the two arguments, which hold for every system.

    Args:
        model: a model with an energy head for molecules or crystals.
        level: level of theory; needed where the model knows several.
        domain: `crystals` for periodic, `molecules` for open states if None.
        compute_stress: give the stress of periodic states; None: where `domain` may be crystals.
        charge: total charge of each system, e. spin: number of its unpaired electrons.
        extrapolate: warn of what lies outside the training data instead of refusing it.
        compiled: use compiled kernels on a CPU (`sfm.nn.compiled`), twice as fast.
        dtype: of positions and answers.

    Raises:
        InputError: an unknown domain or level, several levels of which none is named, or stress
            of molecules. In a call: mixed boundaries with stress, an impossible charge or spin.
        OutsideError: in a call, elements, charge, spin or distances outside the training data.
    """

    def __init__(
        self,
        model: FoundationModel,
        *,
        level: str | None = None,
        domain: str | None = None,
        compute_stress: bool | None = None,
        charge: float | None = None,
        spin: float | None = None,
        extrapolate: bool = False,
        compiled: bool = False,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        self.potential = Potential(
            model, level=level, domain=domain, extrapolate=extrapolate, compiled=compiled
        )
        periodic = "crystals" in self.potential.encoders
        if compute_stress and not periodic:
            raise InputError("compute_stress: molecules have no stress; domain='crystals' has one")
        self.network = model  # so that parameters and modules are seen from outside
        given = {"charge": charge, "spin": spin}
        self._given = {name: value for name, value in given.items() if value is not None}
        self._dtype = dtype
        self._compute_stress = periodic if compute_stress is None else compute_stress
        self._compute_forces = True

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.device

    @property
    def memory_scales_with(self) -> str:
        """The measure by which torch-sim fills batches: neighbours within a cutoff."""
        return "n_atoms_x_density"

    def forward(self, state: Any, **_: Any) -> dict[str, Float[Tensor, "_ ..."]]:
        """Energies, forces and, of periodic states, stress; see the class.

        Args:
            state: a `torch_sim.SimState`, or a mapping with its tensors: N atoms, S systems.
        """
        samples = self._samples(state)
        stress = self._compute_stress and bool(samples[0].pbc.any())
        names = ("energy", "forces", "stress") if stress else ("energy", "forces")
        values = self.potential(samples, names).values
        answer = {name: values[name].to(self._dtype) for name in names}
        if self._compute_stress and not stress:  # open systems have no volume to speak of
            answer["stress"] = answer["energy"].new_zeros(len(samples), 3, 3)
        return answer

    def _samples(self, state: Any) -> list[Sample]:
        """One for each system, in their order."""

        def numbers(name: str) -> np.ndarray:
            value = state[name] if isinstance(state, Mapping) else getattr(state, name)
            return np.asarray(torch.as_tensor(value).detach().cpu().numpy())

        system, pbc = numbers("system_idx"), np.broadcast_to(numbers("pbc"), (3,))
        rows = numbers("cell").reshape(-1, 3, 3).transpose(0, 2, 1)  # torch-sim's are columns
        extras = {} if isinstance(state, Mapping) else getattr(state, "system_extras", {})
        ends = np.cumsum(np.bincount(system, minlength=len(rows)))[:-1]
        domain = self.potential.domain_of(bool(pbc.any()))
        atoms = zip(
            np.split(numbers("positions"), ends),
            np.split(numbers("atomic_numbers"), ends),
            strict=True,
        )
        return [
            Sample(
                id=f"system {n + 1}",
                domain=domain,
                positions=positions,
                types=types,
                cell=rows[n] if pbc.any() else None,
                pbc=pbc,
                conditions=self._conditions(extras, n, types),
            )
            for n, (positions, types) in enumerate(atoms)
        ]

    def _conditions(
        self, extras: Mapping[str, Tensor], n: int, types: np.ndarray
    ) -> dict[str, float]:
        """Charge and spin of system `n`.

        Raises:
            InputError: they are impossible, or stated both by the state and by the arguments.
        """
        name = f"system {n + 1}"
        stated = {k: v[n].item() for k, v in extras.items() if v[n].numel() == 1}
        for key in stated:
            if meaning(key) in self._given:
                raise InputError(
                    f"{name}: the state says {key}={stated[key]:g}; leave {meaning(key)} out of "
                    "the arguments"
                )
        return read_conditions({**stated, **self._given}, types, name)
