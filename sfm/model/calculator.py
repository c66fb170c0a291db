"""An ASE calculator around a model."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from sfm.data import ase_atoms
from sfm.data.sample import Sample
from sfm.errors import PluginError
from sfm.model.potential import Potential

try:
    from ase.calculators.calculator import (
        Calculator,
        PropertyNotImplementedError,
        all_changes,
    )
    from ase.stress import full_3x3_to_voigt_6_stress
except ModuleNotFoundError:
    raise PluginError(
        "the calculator needs ASE; install it with: pip install 'sfm-hub[molecules]'"
    ) from None

if TYPE_CHECKING:
    from ase import Atoms

    from sfm.data.tokens import Tokens
    from sfm.model.foundation import FoundationModel

ALWAYS = ("energy", "free_energy", "forces")
HEADS = ("dipole", "charges")  # what ASE calls as we do, besides energies and their derivatives


class SfmCalculator(Calculator):
    """Energy (eV), forces (eV/angstrom), stress (eV/angstrom^3, ASE's sign) and more of a model.

    `free_energy` is the energy; `energies`, each atom's share of it; `dipole` (e angstrom) and
    `charges` (e) are there where the model was trained on them. Charge and spin are read from
    `atoms.info` (whatever they are called), initial charges and initial magnetic moments at every
    call, so an answer belongs to what `atoms` says now. The calculator can be pickled and copied;
    one that is shared by threads serves them one after another.

    Args:
        model: a model with an energy head for molecules or crystals.
        level: level of theory; needed where the model knows several.
        domain: `crystals` for periodic, `molecules` for open atoms if None.
        extrapolate: warn of what lies outside the training data instead of refusing it.
        compiled: use compiled kernels on a CPU (`sfm.nn.compiled`), twice as fast.

    Raises:
        InputError: an unknown domain or level, or several levels of which none is named.
    """

    def __init__(
        self,
        model: FoundationModel,
        *,
        level: str | None = None,
        domain: str | None = None,
        extrapolate: bool = False,
        compiled: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # ASE has no annotations
        self.model = model
        self._potential = Potential(
            model, level=level, domain=domain, extrapolate=extrapolate, compiled=compiled
        )
        encoders = self._potential.encoders.values()
        known = {t.quantity for encoder in encoders for t in model.targets(encoder=encoder)}
        self.implemented_properties = [*ALWAYS, *(n for n in HEADS if n in known)]
        if all(hasattr(model.heads[f"{encoder}:energy"], "per_token") for encoder in encoders):
            self.implemented_properties.append("energies")
        if domain is None or domain == "crystals":
            self.implemented_properties.append("stress")
        self._lock = threading.RLock()

    @property
    def level(self) -> str | None:
        """Level of theory, as it was named; another one needs another calculator."""
        return self._potential.level

    @property
    def domain(self) -> str | None:
        """Domain, as it was named."""
        return self._potential.domain

    @property
    def extrapolate(self) -> bool:
        """Whether what lies outside the training data is answered."""
        return self._potential.extrapolate

    @property
    def compiled(self) -> bool:
        """Whether compiled kernels were asked for."""
        return self._potential.compiled

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.RLock())

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation; charge and spin count."""
        changes = list(super().check_state(atoms, tol))  # type: ignore[no-untyped-call]  # as above
        if self.atoms is not None and not changes:
            before = ase_atoms.conditions(self.atoms, "the last atoms")
            if before != ase_atoms.conditions(atoms, atoms.get_chemical_formula()):
                changes.append("info")
        return changes

    def get_property(self, name: str, atoms: Any = None, allow_calculation: bool = True) -> Any:
        """A property of `atoms`, calculated if it is not there yet."""
        with self._lock:
            return super().get_property(name, atoms, allow_calculation)  # type: ignore[no-untyped-call]

    def calculate(
        self,
        atoms: Any = None,
        properties: Collection[str] = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Energy and forces, and whatever else of `properties`, into `results`.

        Raises:
            InputError: an impossible charge or spin, or stress without three periodic directions.
            OutsideError: elements, charge, spin or distances outside the training data.
            PropertyNotImplementedError: the model does not say it of such a system.
        """
        with self._lock:
            super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
            self.results.update(self._results(self.atoms, properties))

    def _results(self, atoms: Any, properties: Collection[str]) -> dict[str, Any]:
        potential, name = self._potential, atoms.get_chemical_formula()
        domain = potential.domain_of(bool(atoms.pbc.any()))
        encoder, level = potential.place(domain)
        sample = Sample(
            id=name,
            domain=domain,
            positions=atoms.get_positions(),
            types=atoms.get_atomic_numbers(),
            cell=np.asarray(atoms.cell.array) if atoms.pbc.any() else None,
            pbc=atoms.pbc,
            conditions=ase_atoms.conditions(atoms, name),
        )
        said = {t.quantity for t in self.model.targets(encoder=encoder, level=level)}
        from_heads = [n for n in HEADS if n in properties]
        if missing := [n for n in from_heads if n not in said]:
            raise PropertyNotImplementedError(
                f"model '{self.model.config.name}' says no {missing[0]} of {domain} at {level}"
            )
        names = ["energy", "forces", *from_heads]
        if "stress" in properties:
            names.append("stress")
        answer = potential([sample], names)
        arrays = {
            key: value.cpu().numpy().astype(np.float64) for key, value in answer.values.items()
        }
        results: dict[str, Any] = {"energy": float(arrays["energy"][0]), "forces": arrays["forces"]}
        results["free_energy"] = results["energy"]
        if "energies" in properties:
            shares = _energy_shares(self.model, encoder, answer.tokens, answer.features)
            # what belongs to no atom alone, and rounding: the sum is the energy
            results["energies"] = shares + (results["energy"] - shares.sum()) / len(shares)
        if "stress" in names:
            results["stress"] = full_3x3_to_voigt_6_stress(arrays["stress"][0])
        if "dipole" in names:
            results["dipole"] = arrays["dipole"][0]
        if "charges" in names:
            results["charges"] = arrays["charges"]
        return results


def _energy_shares(
    model: FoundationModel, encoder: str, tokens: Tokens, features: Tokens
) -> np.ndarray:
    """(n,) eV, the head's number for each atom and the reference of its element."""
    key = f"{encoder}:energy"
    head: Any = model.heads[key]
    normaliser: Any = model.normalisers[key]
    context = tokens.context[tokens.system]
    scaled = head.per_token(features).double() * normaliser.scale[context, 0]
    shares = scaled + normaliser.shift[context, tokens.types, 0]
    return np.asarray(shares.detach().cpu().numpy())


def calculator(model: FoundationModel, **options: Any) -> SfmCalculator:
    """`SfmCalculator(model, ...)`; see there."""
    return SfmCalculator(model, **options)
