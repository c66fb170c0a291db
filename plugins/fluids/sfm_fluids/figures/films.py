"""What all figures of flows share: the files they go to, and films."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sfm.errors import InputError
from sfm.simulate.films import ffmpeg

STILL = (".png", ".pdf", ".svg")
MOVING = (".gif", ".mp4")
FRAMES = 120


def moves(path: Path, allowed: Sequence[str] = STILL + MOVING) -> bool:
    """Whether `path` is an animation's.

    Raises:
        InputError: a suffix that is not `allowed`.
    """
    suffix = path.suffix.lower()
    if suffix not in allowed:
        raise InputError(f"{path}: draw to {', '.join(allowed)}, not '{path.suffix}'")
    return suffix in MOVING


def film(figure: Any, count: int, path: Path, show: Callable[[int], None]) -> None:
    """A `.gif` or `.mp4` of `figure`, which `show(index)` changes; at most 120 of `count` frames.

    Raises:
        InputError: .mp4 without ffmpeg.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with _writer(path) as writer:
        FigureCanvasAgg(figure)
        with writer.saving(figure, path, dpi=100):
            for index in range(0, count, -(-count // FRAMES)):
                show(index)
                writer.grab_frame()


@contextmanager
def _writer(path: Path) -> Iterator[Any]:
    """matplotlib's writer for the suffix; ffmpeg may come from the package imageio-ffmpeg."""
    import matplotlib
    from matplotlib.animation import FFMpegWriter, PillowWriter

    if path.suffix.lower() == ".gif":
        yield PillowWriter(fps=12)
        return
    with matplotlib.rc_context({"animation.ffmpeg_path": ffmpeg(path)}):
        # even numbers of pixels, as most players need them
        filters = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]
        yield FFMpegWriter(fps=12, extra_args=filters)
