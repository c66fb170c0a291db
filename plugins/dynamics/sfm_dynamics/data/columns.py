"""Columns of this plugin's datasets of states and of their rates of change."""

from __future__ import annotations

from collections.abc import Iterable

from sfm.data.storage import GROUP, ID, SPLIT, Column


def state_columns(levels: Iterable[str], *conditions: Column) -> tuple[Column, ...]:
    """A state (n,), its time, more conditions, and the rate (n,) at each level, dimensionless."""
    return (
        ID,
        SPLIT,
        GROUP,
        Column("state", role="field", shape=(-1,)),
        Column("time", role="condition"),
        *conditions,
        *(Column("rate", role="label", level=level, shape=(-1,)) for level in levels),
    )
