"""The plugin contract."""

from __future__ import annotations

import dataclasses

import pytest

from sfm.errors import PluginError
from sfm.plugin import Plugin


def make(**changes):
    return Plugin(**{"name": "waves", "domain": "waves", "summary": "waves", **changes})


def test_parts_are_listed_with_their_kind():
    plugin = make(heads={"energy": "a.b:C"}, datasets={"d": "a:D"})
    assert list(plugin.parts()) == [("datasets", "d", "a:D"), ("heads", "energy", "a.b:C")]


@pytest.mark.parametrize("name", ["Waves", "1waves", "wa ves", "", "wa_ves"])
def test_bad_names_are_refused(name):
    with pytest.raises(PluginError, match="lower case"):
        make(name=name)


@pytest.mark.parametrize("target", ["module", "module.attribute", ":x", "a b:c", dict])
def test_a_part_is_a_module_and_an_attribute(target):
    with pytest.raises(PluginError, match="module:attribute"):
        make(encoders={"e": target})


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().name = "other"
