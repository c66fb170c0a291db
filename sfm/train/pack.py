"""Writing a pack: what a recipe uses of its datasets (`sfm.train.pack_parts`), in one file."""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from sfm.data.archive import write_archive
from sfm.data.atomic import disk_errors, refuse_unwritable
from sfm.data.splits import SPLITS
from sfm.data.storage import KEY, LEFT_OUT, PACKED, write_part
from sfm.errors import InputError, InputWarning
from sfm.hub.markdown import table
from sfm.progress import report
from sfm.recipe import Recipe
from sfm.registry import find
from sfm.train.pack_parts import Part, outside, parts_of
from sfm.train.packed import (
    DATASETS,
    FORMAT,
    KIND,
    README,
    RECIPE,
    Contents,
    Pack,
    PackedDataset,
    Thinned,
    open_pack,
)
from sfm.train.tasks import revision
from sfm.version import __version__

TRIES = 5
BESIDE = 100_000  # bytes of a pack beside its data: manifest, recipe, cards


def pack(recipe: Recipe, out: str | Path, *, limit: int | None = None) -> Pack:
    """Write the recipe and what it uses of its datasets into one file, whole or not at all.

    The same recipe and data give the same file. What it does not hold (a model to start from that
    is a folder here, a theory's files) is an `InputWarning`.

    Args:
        recipe: checked, see `sfm.recipe.load`.
        out: the file; what it was before is replaced.
        limit: bytes that it may have: where all rows are more, each dataset keeps the same share of
            its training rows, drawn with the recipe's seed, and validation and test stay whole.

    Raises:
        InputError: data are missing or lack a label, the file cannot be written, or not even
            validation and test fit below the limit.
        RunError: the disk is full.
    """
    refuse_unwritable(out)
    for line in outside(recipe):
        warnings.warn(line, InputWarning, stacklevel=2)
    parts, names = parts_of(recipe)
    with disk_errors(out):
        scratch = tempfile.TemporaryDirectory(
            dir=Path(out).absolute().parent, prefix=".sfm-pack-", ignore_cleanup_errors=True
        )
    with scratch as place, disk_errors(out):
        folder, datasets = _fitting(parts, recipe.training.seed, limit, Path(place))
        contents = Contents(
            kind=KIND,
            format=FORMAT,
            sfm=__version__,
            name=recipe.name,
            tasks=tuple(names),
            datasets={part.name: data for part, data in zip(parts, datasets, strict=True)},
        )
        for name, text in {RECIPE: recipe.to_yaml(), README: readme(contents)}.items():
            (folder / name).write_text(text, encoding="utf-8")
        files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        write_archive(out, dict(sorted(files.items())), contents.to_dict())
    return open_pack(out)


def _fitting(
    parts: Sequence[Part], seed: int, limit: int | None, scratch: Path
) -> tuple[Path, list[PackedDataset]]:
    """A folder with as much of the training rows as fits below `limit` bytes, and what it holds.

    Raises:
        InputError: not even validation and test do.
    """

    def attempt(share: float) -> tuple[int, Path, list[PackedDataset]]:
        folder = scratch / f"share-{share:.9f}"
        said = list(_write(parts, seed, share, folder))
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return size + BESIDE, folder, said

    size, folder, said = attempt(1.0)
    if limit is None or size <= limit:
        return folder, said
    least = attempt(0.0)[0]
    share = 1.0
    for _ in range(TRIES if least < limit else 0):
        # as if bytes were in proportion to rows; a little less, for they are not quite
        share *= 0.995 * (limit - least) / (size - least)
        size, folder, said = attempt(share)
        if size <= limit:
            return folder, said
    raise InputError(
        f"--max-size: what is never thinned (validation, test, runs behind a simulator) is "
        f"{least / 1e6:.1f} MB; allow more, or leave out tasks"
    )


def _write(parts: Sequence[Part], seed: int, share: float, folder: Path) -> Iterator[PackedDataset]:
    """Writes the datasets into `folder`, one after another, and says what each holds."""
    done, total = 0, sum(len(part.whole.paths) for part in parts)
    for part in parts:
        target = folder / DATASETS / part.name
        (target / "data").mkdir(parents=True)
        cards = [place / README for place in (part.whole.folder, part.spec.folder)]
        for card in [card for card in cards if card.is_file()][:1]:
            (target / README).write_bytes(card.read_bytes())
        rows, said = _rows(part, share if part.thinned else 1.0, seed)
        first, files = 0, len(part.whole.paths)
        for number, path in enumerate(part.whole.paths):
            report("packing: file", done, total, part.name)
            name = f"part-{number:05d}-of-{files:05d}.parquet"
            first = _copy(part, path, rows, first, said, target / "data" / name)
            done += 1
        yield said


def _rows(part: Part, share: float, seed: int) -> tuple[Bool[np.ndarray, " rows"], PackedDataset]:
    """(rows,) whether a row is written, and what there is to say of the dataset."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = pa.concat_tables([pq.read_table(p, columns=["id", "split"]) for p in part.whole.paths])
    split = ids.column("split").to_numpy(zero_copy_only=False)
    training = np.flatnonzero(part.rows & (split == "train"))
    rows, thinned = part.rows.copy(), None
    if share < 1.0:
        names = ids.column("id").take(training).to_pylist()
        order = np.argsort([hashlib.sha256(f"{seed} {n}".encode()).hexdigest() for n in names])
        few = max(1, round(share * len(training)))
        rows[training[order[few:]]] = False
        thinned = Thinned(rows=few, of=len(training), seed=seed)
    labels = [c for c in part.columns if c.level]
    levels = [c.level for c in part.left_out if c.level not in {c.level for c in labels}]
    said = PackedDataset(
        part=find("datasets", part.spec.name).full_name,
        levels=tuple(dict.fromkeys(str(c.level) for c in labels)),
        quantities=tuple(dict.fromkeys(c.quantity for c in labels)),
        rows={name: int((rows & (split == name)).sum()) for name in SPLITS},
        columns_left_out=tuple(c.name for c in part.left_out),
        levels_left_out=tuple(dict.fromkeys(map(str, levels))),
        thinned=thinned,
        revision=revision(part.whole.folder),
        licence=part.spec.licence,
        origin=part.spec.origin,
        citation=tuple(part.spec.citation),
    )
    return rows, said


def _copy(
    part: Part,
    path: Path,
    rows: Bool[np.ndarray, " rows"],
    first: int,
    said: PackedDataset,
    target: Path,
) -> int:
    """One file, of which row 0 is row `first` of the dataset; the number after its last row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    last = first + int(pq.read_metadata(path).num_rows)
    chosen = rows[first:last]
    if rows.all() and not part.left_out:
        target.write_bytes(path.read_bytes())
    elif chosen.any():
        packed = {"revision": said.revision, "columns_left_out": list(said.columns_left_out)}
        if said.thinned:
            packed["thinned"] = said.thinned.to_dict()
        info = part.whole.info | {PACKED: packed, LEFT_OUT: list(said.levels_left_out)}
        content = pq.read_table(path).select([c.name for c in part.columns])
        content = content.replace_schema_metadata({KEY: json.dumps(info).encode()})
        write_part(content.filter(pa.array(chosen)), part.columns, target)
    return last


def readme(contents: Contents) -> str:
    """What a pack says to people: what is in it, how to train from it, under which licences."""
    rows: list[dict[str, Any]] = []
    for name, data in contents.datasets.items():
        few = data.thinned
        rows.append(
            {
                "dataset": data.part + (f" ({name})" if name != data.part.split("/")[1] else ""),
                **data.rows,
                "levels": data.levels,
                "labels": data.quantities,
                "left out": f"{few.of - few.rows} training rows" if few else "",
                "licence": data.licence,
            }
        )
    return (
        f"# Recipe and data of {contents.name}\n\n"
        "Made by `sfm dataset pack`. To train from this one file, on any machine with the same\n"
        f"plugins: `sfm pretrain {contents.name}.pack`. It is a zip: each folder of `datasets/`\n"
        "is a dataset folder with its card; `manifest.json` says what was left out of it, and the\n"
        f"checksum of every file.\n\n{table(rows)}\n"
    )
