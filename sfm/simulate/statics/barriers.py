"""What a search for the barrier between two minima is told, for every plugin that has one."""

from __future__ import annotations

from collections.abc import Sequence

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate.base import Setting

METHOD = Setting(
    "method", "neb", ("neb", "dimer"), summary="a band between two ends, or a climb from one"
)
BAND = (
    Setting("images", 5, summary="images between the ends"),
    Setting("spring", 2.0, unit="eV/angstrom**2", summary="k between images"),
)
DISPLACEMENT = Setting(
    "displacement", 0.3, unit="angstrom", summary="largest, of the dimer's first place"
)
TURNS = Setting("turns", 4, summary="that the dimer takes in a step, at most")
RELAX_ENDS = Setting("relax_ends", True, (True, False), summary="relax the ends first")
DESCEND = Setting(
    "descend",
    True,
    (True, False),
    summary="go down from the saddle point to the minima that it joins",
)
SAME = 0.02  # angstrom, root mean square: two places that are one minimum
ASIDE = 0.05  # angstrom, of the atom that moves most: where the way down from a saddle point begins


def elsewhere(distances: Sequence[float], names: Sequence[str]) -> str:
    """What a user should know of the minima that a saddle point joins; nothing if it is the ends.

    Args:
        distances: angstrom, root mean square, from the ends.
        names: of the ends, the first ones.
    """
    others = [
        f"{distance:.2g} angstrom from the {name}"
        for name, distance in zip(names, distances, strict=False)
        if distance > SAME
    ]
    where = " and ".join(others)
    return f"the saddle point joins another minimum, {where}" if others else ""


def refuse_other_atoms(part: str, start: Sample, end: Sample) -> None:
    """Of ends that are no two places of the same atoms.

    Args:
        part: the simulator, for the message.
        start, end: of the way.

    Raises:
        InputError: their atoms differ, or the order of them.
    """
    if len(start.types) != len(end.types) or bool((start.types != end.types).any()):
        raise InputError(
            f"{part}: {start.id} and {end.id} hold different atoms, or in another order"
        )
