"""How well a dataset's trajectories were resolved: `quality.csv`, and the table of its card."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from sfm.data.atomic import atomic, write_text


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """One line per trajectory; floats have three digits where they come as texts."""
    with atomic(path) as scratch, scratch.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with one line per trajectory."""
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def measured(quality: object, length: str) -> list[str]:
    """The measures that all trajectories have, as the table prints them.

    Args:
        quality: their values by name.
        length: which of them is the smallest length times the largest kept wavenumber.
    """
    printed = {
        "rms_velocity": ".2f",
        length: ".2f",
        "spectrum_tail": ".1e",
        "budget_residual": ".1e",
        "max_divergence": ".0e",
        "equation_residual": ".1e",
        "courant": ".2f",
    }
    return [format(getattr(quality, name), how) for name, how in printed.items()]


def write_to_card(folder: Path, table: str) -> None:
    """Put the table between the marks `<!-- resolution -->` of the folder's card, if it has one."""
    card = folder / "README.md"
    if not card.is_file():
        return
    start, end = "<!-- resolution -->", "<!-- /resolution -->"
    head, _, rest = card.read_text().partition(start)
    _, _, tail = rest.partition(end)
    write_text(card, f"{head}{start}\n{table}\n{end}{tail}")
