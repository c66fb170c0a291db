"""The command line of the `build.py` of datasets whose numbers come out of published packages."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from sfm.data.spec import DatasetSpec
from sfm.data.storage import Column, write_dataset
from sfm.errors import InputError, one_line_errors

Rows = Callable[..., Iterable[Mapping[str, Any]]]


@one_line_errors
def main(
    text: str,
    spec: DatasetSpec,
    here: Path,
    columns: Sequence[Column],
    rows: Rows,
    argv: Sequence[str] | None = None,
    *,
    slice_of: str | None = None,
    **info: Any,
) -> int:
    """Write the dataset; the exit code. `rows` yields values by quantity; labels by `level.name`.

    Nothing is random and one process does it, so `--workers` and `--seed` change nothing; `--size`
    keeps the first rows. Where the folder holds a slice, `slice_of` says of what, such as `cases`:
    `--set cases=all` makes them all, by `rows(whole=True)`.
    """
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--size", type=int, help="at most so many rows")
    parser.add_argument("--workers", type=int, default=1, help="accepted: one process does it")
    parser.add_argument("--seed", type=int, default=0, help="accepted: nothing is random")
    parser.add_argument("--out", type=Path, default=here, help="folder to write to")
    parser.set_defaults(set=[])
    known = (f"{slice_of}=all", f"{slice_of}=slice") if slice_of else ()
    if known:
        parser.add_argument("--set", action="append", help=" or ".join(known))
    options = parser.parse_args(argv)
    for setting in options.set:
        if setting not in known:
            raise InputError(f"--set {setting}: there is {' and '.join(known)}")
    if options.size is not None and options.size < 1:
        raise InputError(f"--size {options.size}: must be at least 1")
    whole = f"{slice_of}=all" in options.set
    if (whole or options.size is not None) and options.out.resolve() == here.resolve():
        what = "these options change" if known else "--size changes"
        raise InputError(f"{what} the data: give --out FOLDER for it")
    table = (
        named(columns, row) for row in islice(rows(whole=True) if whole else rows(), options.size)
    )
    write_dataset(options.out, columns, table, spec.info(**info))
    return 0


def named(columns: Sequence[Column], row: Mapping[str, Any]) -> dict[str, Any]:
    """A row by column name. Where a label and a field share a quantity, the label is `name@`."""
    return {
        c.name: row[f"{c.quantity}@" if f"{c.quantity}@" in row and c.level else c.quantity]
        for c in columns
    }
