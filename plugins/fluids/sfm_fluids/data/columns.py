"""The columns that every dataset of this plugin has."""

from __future__ import annotations

from sfm.data.storage import GROUP, ID, SPLIT, Column, cell_column

PERIODIC = Column("pbc", shape=(3,), dtype="bool")
ROW = (ID, SPLIT, GROUP, cell_column("1"), PERIODIC)  # its names, its box
