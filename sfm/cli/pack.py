"""`sfm dataset pack RECIPE`: a recipe and what it uses of its datasets, in one file."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfm.train.packed import Pack, PackedDataset

LARGE = 45_000_000  # bytes; above them some hosts refuse a file
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm dataset pack`."""
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or a bundled recipe's name")
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="override a key of the recipe"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="the pack (default: NAME.pack)")
    parser.add_argument(
        "--max-size",
        type=size_of,
        metavar="SIZE",
        help="45MB: where all is more, each dataset keeps the same share of its training rows",
    )
    parser.epilog = "example: sfm dataset pack sfm-tiny; there: sfm pretrain sfm-tiny.pack"
    parser.set_defaults(handler=run)


def size_of(text: str) -> int:
    """Bytes of `45MB`, `45e6`, `800 kB`.

    Raises:
        InputError: it is no positive size.
    """
    from sfm.errors import InputError

    match = re.fullmatch(r"([0-9.]+(?:e[0-9]{1,2})?) *(?:([kMG])B|B)?", text.strip())
    try:
        size = int(float(match[1]) * UNITS[match[2] or ""]) if match else 0
    except ValueError:
        size = 0
    if size <= 0:
        raise InputError(f"--max-size {text!r}: write it as 45MB or 800kB")
    return size


def run(arguments: argparse.Namespace) -> int:
    """Check the recipe, then write the pack."""
    from sfm.cli.output import emit, note
    from sfm.cli.pretrain import recipe_path
    from sfm.recipe import load

    recipe = load(recipe_path(arguments.recipe), arguments.set)
    out = arguments.out or Path(f"{recipe.name}.pack")
    from sfm.train.pack import pack

    written = pack(recipe, out, limit=arguments.max_size)
    if arguments.json:
        _as_json(written)
        return 0
    _table(written)
    size = out.stat().st_size
    if size > LARGE and arguments.max_size is None:
        note(
            f"sfm: {size / 1e6:.1f} MB, which some hosts refuse; --max-size {LARGE / 1e6:g}MB "
            "keeps an even share of the training rows"
        )
    emit(str(out))
    return 0


def show(arguments: argparse.Namespace) -> int:
    """What a pack holds, without unpacking it."""
    from sfm.train.packed import open_pack

    opened = open_pack(arguments.name)
    if arguments.json:
        _as_json(opened)
    else:
        _table(opened)
    return 0


def _as_json(pack: Pack) -> None:
    from sfm.cli.output import emit_json

    path = pack.archive.path
    emit_json({"path": path, "bytes": path.stat().st_size, **pack.contents.to_dict()})


def _table(pack: Pack) -> None:
    from sfm.cli.output import emit, table

    path, contents = pack.archive.path, pack.contents
    held = {name: _bytes(pack, name) for name in contents.datasets}
    table(
        [_row(name, data, held[name]) for name, data in contents.datasets.items()],
        ("dataset", "MB", "train", "validation", "test", "labels left out"),
    )
    few = next((d.thinned for d in contents.datasets.values() if d.thinned), None)
    if few:
        emit(
            f"thinned: {100 * few.rows / few.of:.1f}% of the training rows of each dataset "
            f"(seed {few.seed}); validation and test are whole"
        )
    emit(
        f"{path}: recipe '{contents.name}', {len(contents.tasks)} tasks, "
        f"{path.stat().st_size / 1e6:.1f} MB; licences are in its README.md and in --json"
    )


def _row(name: str, data: PackedDataset, size: int) -> tuple[Any, ...]:
    columns = len(data.columns_left_out)
    return (name, f"{size / 1e6:.2f}", *data.rows.values(), columns or "none")


def _bytes(pack: Pack, name: str) -> int:
    members = pack.archive.members.items()
    return sum(m.size for path, m in members if path.startswith(f"datasets/{name}/"))
