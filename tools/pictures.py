"""Pictures of the docs in a third of the bytes, and they look the same.

    python tools/pictures.py docs/images/*.png docs/images/*.gif   # rewrites them in place

A PNG keeps 256 colours of its own, dithered where there were more. A GIF's frames share one
palette, and so store only what moves. What has a palette or would grow stays as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

COLOURS = 256


def shrink(path: Path) -> None:
    """Rewrite a `.png` or `.gif` in place, where that makes it smaller."""
    before = path.read_bytes()
    with Image.open(path) as picture:
        if path.suffix == ".gif":
            _film(picture, path)
        elif picture.mode != "P":
            dithered(picture).save(path, optimize=True)
    if path.stat().st_size >= len(before):
        path.write_bytes(before)


def dithered(picture: Image.Image) -> Image.Image:
    """The picture in 256 colours that cover all of its own; shades between them are mixed."""
    flat = picture.convert("RGB")
    return _mapped(flat, _palette(flat), Image.Dither.FLOYDSTEINBERG)


def _palette(picture: Image.Image) -> Image.Image:
    """256 colours, none far from the picture's: a median cut loses rare ones."""
    return picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=1)


def _mapped(picture: Image.Image, palette: Image.Image, dither: Image.Dither) -> Image.Image:
    """The picture in the palette's colours; that of its corner, the background, is left as it is.

    Pillow looks colours up by six bits each, so that white would become grey.
    """
    corner = np.array(picture.getpixel((0, 0)))
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    nearest = np.abs(colours - corner).sum(1).argmin()
    colours[nearest] = corner
    pixels = np.array(picture.quantize(palette=palette, dither=dither))
    pixels[(np.asarray(picture) == corner).all(-1)] = nearest
    mapped = Image.fromarray(pixels, mode="P")
    mapped.putpalette(colours.ravel().tolist())
    return mapped


def _film(picture: Image.Image, path: Path) -> None:
    """One palette for all frames, not dithered, for noise would move; times stay as they are."""
    frames, times = [], []
    for frame in ImageSequence.Iterator(picture):
        frames.append(frame.convert("RGB"))
        times.append(frame.info["duration"])
    width, height = picture.size
    column = Image.new("RGB", (width, height * len(frames)))
    for number, frame in enumerate(frames):
        column.paste(frame, (0, number * height))
    shared = _palette(column)
    first, *rest = (_mapped(frame, shared, Image.Dither.NONE) for frame in frames)
    loop = {"loop": picture.info["loop"]} if "loop" in picture.info else {}
    first.save(path, save_all=True, append_images=rest, duration=times, optimize=True, **loop)


def main() -> int:
    """Shrink the files that are named, and say what that saved."""
    if not sys.argv[1:]:
        print(__doc__)
        return 2
    for path in map(Path, sys.argv[1:]):
        before = path.stat().st_size
        shrink(path)
        print(f"{path}: {before:,} bytes, now {path.stat().st_size:,}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
