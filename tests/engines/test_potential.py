"""The door that all engines and the calculator go through."""

from __future__ import annotations

import pytest

import sfm
from sfm.errors import InputError
from sfm.model.potential import Potential


@pytest.mark.parametrize("names", [(), ("ethanol.xyz", "nacl.cif")])
def test_systems_of_no_or_several_domains_are_refused(names):
    potential = Potential(sfm.load("sfm-tiny"))
    samples = [sfm.read(sfm.example(name))[0] for name in names]
    with pytest.raises(InputError, match="give those of one"):
        potential(samples, ("energy",))
