"""What stands for a functional: a name, a published model, or the thing itself."""

from __future__ import annotations

from pathlib import Path

from sfm.errors import InputError, did_you_mean
from sfm_dft.xc import FUNCTIONALS, Functional, functional


def find_functional(wanted: Functional | str | Path) -> Functional:
    """A functional by name: of `sfm_dft.xc.FUNCTIONALS`, bundled, a folder or `owner/name`.

    Raises:
        InputError: nothing has this name, or it is no functional.
        HubError: a folder or repository that holds something else or cannot be read.
    """
    if isinstance(wanted, str) and wanted in FUNCTIONALS:
        return functional(wanted)
    if isinstance(wanted, str | Path):
        from sfm_dft.neural.saving import load

        try:
            return load(wanted)
        except InputError as error:
            raise InputError(
                f"functional '{wanted}' is none of {', '.join(FUNCTIONALS)}, and {error}"
                f"{did_you_mean(str(wanted), FUNCTIONALS)}"
            ) from None
    if not isinstance(wanted, Functional):
        raise InputError(
            f"{type(wanted).__name__} is no sfm_dft.xc.Functional: give one, a name "
            f"({', '.join(FUNCTIONALS)}), or a folder or Hub id of a learned functional"
        )
    return wanted
