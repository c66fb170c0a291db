"""What stands for a functional: a name, a published model, or the thing itself."""

from __future__ import annotations

from pathlib import Path

from sfm.errors import InputError, did_you_mean
from sfm_dft.xc import FUNCTIONALS, Functional, functional


def find_functional(name: Functional | str | Path) -> Functional:
    """A functional by name: of `sfm_dft.xc.FUNCTIONALS`, bundled, a folder or `owner/name`.

    Raises:
        InputError: nothing has this name, or it is no functional.
        HubError: a folder or repository that holds something else or cannot be read.
    """
    if isinstance(name, str) and name in FUNCTIONALS:
        return functional(name)
    if isinstance(name, str | Path):
        from sfm_dft.neural.saving import load

        try:
            return load(name)
        except InputError as error:
            raise InputError(
                f"functional '{name}' is none of {', '.join(FUNCTIONALS)}, and {error}"
                f"{did_you_mean(str(name), FUNCTIONALS)}"
            ) from None
    if not isinstance(name, Functional):
        raise InputError(
            f"{type(name).__name__} is no sfm_dft.xc.Functional: give one, a name "
            f"({', '.join(FUNCTIONALS)}), or a folder or Hub id of a learned functional"
        )
    return name
