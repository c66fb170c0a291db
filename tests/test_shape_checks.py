"""Annotations that state shapes are held in tests: every such module, and a wrong call."""

from __future__ import annotations

import sys
from importlib import import_module

import jaxtyping
import pytest
import shape_checks
import torch

MODULES = sorted(shape_checks.stating())


@pytest.mark.parametrize("package", sorted({name.partition(".")[0] for name in MODULES}))
def test_every_module_that_states_shapes_is_checked(package):
    for name in MODULES:
        if name.startswith(f"{package}."):
            assert type(import_module(name).__loader__).__module__.startswith("jaxtyping")


def test_a_wrong_shape_is_refused():
    from sfm.simulate.fixed_point import attach

    value, source = torch.zeros(3), torch.zeros(2)
    assert attach(value, source, lambda g: g).shape == (3,)
    with pytest.raises(jaxtyping.TypeCheckError, match="attach"):
        attach(value.long(), source, lambda g: g)


def test_what_is_imported_already_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, MODULES[0], sys)
    with pytest.raises(RuntimeError, match=MODULES[0]):
        shape_checks.install()
