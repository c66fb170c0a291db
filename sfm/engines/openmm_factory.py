"""What OpenMM-ML finds under the entry points `sfm-tiny` and `sfm`; it imports nothing heavy.

OpenMM-ML loads every entry point when it is imported, in the middle of its own module.
"""

from __future__ import annotations

from typing import Any


class SfmPotentialFactory:
    """`createImpl` of OpenMM-ML's `MLPotentialImplFactory`."""

    def createImpl(self, name: str, **options: Any) -> Any:
        """What `MLPotential(name, ...)` holds; options as in `sfm.engines.openmm.SfmPotential`.

        Raises:
            HubError: there is no such model.
            InputError: an unknown level or domain; `sfm` without `model`.
        """
        from sfm.engines.openmm import SfmPotential

        return SfmPotential(name, **options)
