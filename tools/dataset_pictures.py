"""The pictures on the cards of measured and simulated fields, from the bundled data.

python tools/dataset_pictures.py       # writes datasets/*/flows.png and fields.png
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from pictures import shrink

from sfm.data.sample import Sample
from sfm.data.storage import open_dataset

DATASETS = Path(__file__).resolve().parents[1] / "datasets"
FLOWS = ("kolmogorov", "ring", "decaying", "shear", "jet")


def rows(name: str) -> Iterator[tuple[str, Sample]]:
    """Id and sample of each row of a bundled dataset."""
    for sample in open_dataset(DATASETS / name):
        yield sample.id, sample


def vorticity(velocity: np.ndarray) -> np.ndarray:
    """dv/dx - du/dy, (n, n), of a velocity (2, n, n) in a periodic box of side 2 pi, by Fourier."""
    n = velocity.shape[-1]
    waves = 1j * np.fft.fftfreq(n, 1 / n)
    u, v = np.fft.fft2(velocity)
    return np.fft.ifft2(waves * v - waves[:, None] * u).real


def bare(axis: Any, title: str) -> None:
    """An axis without ticks."""
    axis.set_title(title, fontsize=6)
    axis.set_xticks([])
    axis.set_yticks([])


def turbulence() -> tuple[str, Figure]:
    """Vorticity at the end of one trajectory of each flow at two Reynolds numbers."""
    last: dict[tuple[str, str], np.ndarray] = {}
    for name, sample in rows("turbulence-2d"):
        reynolds, flow = name.removeprefix("re").split("-")[:2]
        last[flow, reynolds] = sample.fields["velocity"]
    figure, axes = plt.subplots(2, 5, figsize=(4.8, 2.3))
    for line, reynolds in zip(axes, ("125", "1000"), strict=True):
        for axis, flow in zip(line, FLOWS, strict=True):
            field = vorticity(last[flow, reynolds])
            most = abs(field).max()
            axis.imshow(field, origin="lower", cmap="RdBu_r", vmin=-most, vmax=most)
            bare(axis, f"{flow}, Re {reynolds}")
    return "turbulence-2d/flows.png", figure


def velocimetry() -> tuple[str, Figure]:
    """Speed in the soap film as given and as measured; the jet of four pieces, upwards."""
    samples = dict(rows("piv-measured"))
    film = samples["soap-film-1"]
    scale = 100 * float(film.conditions["velocity_scale"])  # cm/s
    figure, axes = plt.subplots(1, 3, figsize=(4.8, 1.6))
    measured = film.labels["velocity"]
    for axis, seen, title in zip(
        axes[:2], ("given", "valid"), ("soap film: given vectors, cm/s", "measured"), strict=True
    ):
        speed = np.where(film.fields[seen], scale * np.hypot(*measured), np.nan)
        image = axis.imshow(speed, origin="lower")
        bare(axis, title)
    figure.colorbar(image, ax=axes[:2])
    pieces = [[samples[f"jet-1-{i}{j}"] for j in range(2)] for i in range(2)]
    jet = np.block([[_upwards(piece) for piece in line] for line in pieces])
    image = axes[2].imshow(jet)  # its second axis runs down the picture
    bare(axes[2], "jet, upwards, m/s")
    figure.colorbar(image, ax=axes[2])
    return "piv-measured/fields.png", figure


def _upwards(piece: Sample) -> np.ndarray:
    scale = float(piece.conditions["velocity_scale"])
    return np.where(piece.fields["valid"], -scale * piece.labels["velocity"][1], np.nan)


def temperature() -> tuple[str, Figure]:
    """The equator in a usual August and in November of the El Nino year."""
    samples = dict(rows("sst-ostia"))
    figure, axes = plt.subplots(2, 1, figsize=(4.5, 1.2), sharex=True)
    for axis, month in zip(axes, ("2006-08", "2009-11"), strict=True):
        sample = samples[month]
        seen = np.where(sample.fields["ocean"], sample.fields["sea_surface_temperature"], np.nan)
        kind = {"origin": "lower", "aspect": "auto", "cmap": "turbo", "vmin": 293, "vmax": 304}
        image = axis.imshow(seen, extent=(0, 360, -5, 5), **kind)
        axis.set_ylabel(month, fontsize=5)
        axis.tick_params(labelsize=5)
    figure.colorbar(image, ax=axes, label="K")
    return "sst-ostia/fields.png", figure


PICTURES: tuple[Callable[[], tuple[str, Figure]], ...] = (turbulence, velocimetry, temperature)


def main() -> None:
    """Draw them all."""
    plt.rcParams["font.size"] = 6
    for picture in PICTURES:
        path, figure = picture()
        figure.savefig(DATASETS / path, dpi=100, bbox_inches="tight")
        shrink(DATASETS / path)
        print(DATASETS / path)


if __name__ == "__main__":
    main()
