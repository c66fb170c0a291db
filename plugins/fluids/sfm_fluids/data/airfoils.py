"""Polars of NACA's four-digit airfoils by NeuralFoil, a network that learned XFoil's answers.

Outlines are made here (E. N. Jacobs, K. E. Ward, R. M. Pinkerton, NACA Report 460, 1933; the last
coefficient of the thickness is -0.1036, which closes the trailing edge); lift, drag and moment are
what `neuralfoil` says of them: P. Sharpe, R. J. Hansman, NeuralFoil, arXiv:2503.16323 (2025). Each
is per dynamic pressure and chord (moment: about the quarter chord), without unit; lengths are in
chords, angles in degrees.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from jaxtyping import Float, Num, Shaped

from sfm.data.splits import assign
from sfm.data.storage import GROUP, ID, SPLIT, Column
from sfm.errors import InputError
from sfm_fluids.data.specs import NEURALFOIL

VERSION, SIZE = "0.3.3", "xlarge"
POINTS = 31  # of each surface
BY_NAME = {"lift_coefficient": "CL", "drag_coefficient": "CD", "moment_coefficient": "CM"}
COLUMNS = (
    ID,
    SPLIT,
    GROUP,
    Column("airfoil_outline", role="field", shape=(-1, 2)),
    Column("angle_of_attack", "degree", role="condition"),
    Column("reynolds_number", role="condition"),
    Column("teacher_confidence", role="condition"),
    *(Column(name, role="label", level=NEURALFOIL) for name in BY_NAME),
)


def outline(
    camber: float, place: float, thickness: float, points: int = POINTS
) -> Float[np.ndarray, "k 2"]:
    """(k, 2) of a four-digit airfoil, in chords, from the tail over the top to it again.

    k is 2 points - 1.

    Args:
        camber: largest height of the camber line. place: where it is; ignored without camber.
        thickness: largest one. points: of each surface, denser at both ends.

    Raises:
        InputError: no thickness, or a place that is not within the chord.
    """
    if not 0 < thickness < 1 or (camber and not 0 < place < 1):
        raise InputError(f"an airfoil of camber {camber} at {place} and thickness {thickness}")
    x = 0.5 * (1 - np.cos(np.linspace(0, np.pi, points)))
    powers = (0.2969 * np.sqrt(x), -0.1260 * x, -0.3516 * x**2, 0.2843 * x**3, -0.1036 * x**4)
    half = 5 * thickness * np.sum(powers, axis=0)
    line, slope = np.zeros_like(x), np.zeros_like(x)
    if camber:
        scale = np.where(x < place, camber / place**2, camber / (1 - place) ** 2)
        line = scale * np.where(
            x < place, 2 * place * x - x**2, 1 - 2 * place + 2 * place * x - x**2
        )
        slope = 2 * scale * (place - x)
    angle = np.arctan(slope)
    normal = np.stack((-np.sin(angle), np.cos(angle)), 1) * half[:, None]
    middle = np.stack((x, line), 1)
    return np.concatenate(((middle + normal)[::-1], (middle - normal)[1:]))


def polars(
    shape: Float[np.ndarray, "k 2"], angles: Num[np.ndarray, " n"], reynolds: float
) -> dict[str, Shaped[np.ndarray, " ..."]]:
    """Coefficients (n,) of an outline (k, 2) at angles (n,) in degrees, and their confidence.

    Raises:
        InputError: `neuralfoil` is not installed, or in another version.
    """
    try:
        installed = version("neuralfoil")
        import neuralfoil
    except (PackageNotFoundError, ImportError) as error:
        raise InputError(
            f"airfoil polars need the package 'neuralfoil' ({error}); install it with: "
            "pip install 'sfm-hub[airfoils]'"
        ) from None
    if installed != VERSION:
        raise InputError(
            f"neuralfoil {installed} is installed, and the level of these labels says {VERSION}: "
            f"pip install neuralfoil=={VERSION}"
        )
    said = neuralfoil.get_aero_from_coordinates(
        coordinates=shape, alpha=angles, Re=reynolds, model_size=SIZE
    )
    names = {**BY_NAME, "teacher_confidence": "analysis_confidence"}
    return {name: np.asarray(said[key]) for name, key in names.items()}


def rows(*, whole: bool = False) -> Iterator[dict[str, Any]]:
    """Rows by quantity: airfoils at angles and Reynolds numbers; few of them unless `whole`."""
    step = 1 if whole else 3
    angles = np.arange(-6.0, 15.0, step)
    reynolds = np.geomspace(1e5, 1e7, 9)[:: 4 if not whole else 1]
    cases = [
        (m, p, t)
        for m in (0, 1, 2, 3, 4, 5, 6)
        for p in ((0,) if m == 0 else (2, 3, 4, 5, 6))
        for t in (6, 8, 10, 12, 15, 18, 21, 24)
    ]
    for m, p, t in cases if whole else cases[::9]:
        name = f"naca{m}{p}{t:02d}"
        shape = outline(0.01 * m, 0.1 * p, 0.01 * t)
        for number in reynolds:
            said = polars(shape, angles, float(number))
            for i, angle in enumerate(angles):
                yield {
                    "id": f"{name}-{number:.3g}-{angle:+.0f}",
                    "split": assign(name, (0.7, 0.15, 0.15)),
                    "group": name,
                    "airfoil_outline": shape,
                    "angle_of_attack": angle,
                    "reynolds_number": number,
                    **{quantity: values[i] for quantity, values in said.items()},
                }
