"""The program that writes films to .mp4."""

from __future__ import annotations

import shutil
from pathlib import Path

from sfm.errors import InputError


def ffmpeg(path: Path) -> str:
    """Where ffmpeg is, for a film at `path`; it may come from the package imageio-ffmpeg.

    Raises:
        InputError: there is none.
    """
    import matplotlib

    program: str | None = shutil.which(matplotlib.rcParams["animation.ffmpeg_path"])
    if program is not None:
        return program
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise InputError(
            f"{path.name}: .mp4 needs ffmpeg, which is not here (pip install imageio-ffmpeg); "
            f"draw to {path.stem}.gif instead"
        ) from None
