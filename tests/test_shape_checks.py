"""Annotations that state shapes are held in tests: every such module, and a wrong call."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module

import docstrings
import jaxtyping
import pytest
import shape_checks
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import PluginError

MODULES = sorted(shape_checks.stating())


@pytest.mark.parametrize("package", sorted({name.partition(".")[0] for name in MODULES}))
def test_every_module_that_states_shapes_is_checked(package):
    for name in MODULES:
        if name.startswith(f"{package}."):
            with suppress(PluginError):  # an adapter, whose engine is not here
                assert isinstance(import_module(name).__loader__, shape_checks.Loader)
    of_package = [f for f in shape_checks.functions if f.__module__.startswith(f"{package}.")]
    if package in docstrings.WHOLE:
        assert len(of_package) > 30
        assert [line for f in of_package for line in shape_checks.unreadable(f)] == []


def test_a_shape_that_cannot_be_read_is_told():
    def wrong(x: Float[Tensor, ...], y: Float[Tensor, "N 3"]) -> Absent: ...  # noqa: F821

    (line,) = shape_checks.unreadable(wrong)
    assert "Float[Tensor, ...]" in line


def test_a_wrong_shape_is_refused():
    from sfm.simulate.fixed_point import attach

    value, source = torch.zeros(3), torch.zeros(2)
    assert attach(value, source, lambda g: g).shape == (3,)
    with pytest.raises(jaxtyping.TypeCheckError, match="attach"):
        attach(value.long(), source, lambda g: g)


def test_calls_are_sampled():
    """The first ones of a test, and then one in `EVERY`."""
    from sfm.data.tokens import system_sum

    def refused():
        with pytest.raises(jaxtyping.TypeCheckError, match="system_sum"):
            system_sum(torch.ones(3), torch.ones(3, dtype=torch.long), 2.0)

    for _ in range(shape_checks.FIRST):
        refused()
    passed = 0
    for _ in range(shape_checks.EVERY):
        try:
            system_sum(torch.ones(2, 1), torch.zeros(3, dtype=torch.long), 2)
        except jaxtyping.TypeCheckError:
            passed += 1
        except RuntimeError:
            pass
    assert passed == 1
    shape_checks.begin_test()
    refused()


def test_fields_of_a_dataclass_are_held():
    from sfm.nn.derive import Handle

    with pytest.raises(jaxtyping.TypeCheckError, match="Handle"):
        Handle(torch.zeros(4, 2), None, torch.zeros(1))


def test_what_is_imported_already_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, MODULES[0], sys)
    with pytest.raises(RuntimeError, match=MODULES[0]):
        shape_checks.install()
