"""Discovery: lazy, isolated, and clear about what is wrong."""

from __future__ import annotations

import sys

import pytest

from sfm import registry
from sfm.errors import PluginError
from sfm.testing.distributions import install

PLUGIN = """
from sfm.plugin import Plugin
from sfm.quantity import Quantity
plugin = Plugin(name="{name}", domain="waves", summary="for tests", {more})
"""


def module(name: str, more: str = "") -> dict[str, str]:
    return {f"mod_{name}": PLUGIN.format(name=name, more=more)}


def add(site, name: str, more: str = "", distribution: str | None = None) -> None:
    distribution = distribution or f"sfm-{name}"
    install(site, distribution, {name: f"mod_{name}:plugin"}, module(name, more))
    registry.clear_cache()


def row(name: str) -> registry.Found:
    return next(r for r in registry.discover() if r.name == name)


def test_an_installed_plugin_is_found(site):
    add(site, "waves", "heads={'energy': 'sfm.nn.head:ScalarSum'}")
    assert registry.plugin("waves").domain == "waves"
    assert row("waves").distribution == "sfm-waves"
    assert row("waves").version == "1.0"
    assert registry.find("heads", "waves/energy").target == "sfm.nn.head:ScalarSum"


def test_a_broken_plugin_stops_nobody(site):
    add(site, "waves")
    install(site, "sfm-bad", {"bad": "mod_bad:plugin"}, {"mod_bad": "raise RuntimeError('oops')"})
    registry.clear_cache()
    assert "waves" in registry.plugins()
    assert "bad" not in registry.plugins()
    assert row("bad").error == "RuntimeError: oops"
    with pytest.raises(PluginError, match=r"'bad' \(sfm-bad 1.0\) is broken: RuntimeError: oops"):
        registry.plugin("bad")


def test_strict_raises_at_once(site, monkeypatch):
    install(site, "sfm-bad", {"bad": "mod_bad:plugin"}, {"mod_bad": "raise RuntimeError('oops')"})
    monkeypatch.setenv("SFM_PLUGINS_STRICT", "1")
    registry.clear_cache()
    with pytest.raises(PluginError, match="bad"):
        registry.plugins()


def test_two_distributions_with_one_name_are_both_named(site):
    add(site, "waves")
    other = {"mod_other": PLUGIN.format(name="waves", more="")}
    install(site, "other-dist", {"waves": "mod_other:plugin"}, other)
    registry.clear_cache()
    with pytest.raises(PluginError, match="'other-dist' and 'sfm-waves'"):
        registry.plugin("waves")


def test_the_same_entry_twice_is_no_duplicate(site, tmp_path, monkeypatch):
    add(site, "waves")
    second = tmp_path / "second"
    install(second, "sfm-waves", {"waves": "mod_waves:plugin"})
    monkeypatch.syspath_prepend(str(second))
    registry.clear_cache()
    assert row("waves").error is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("mod_x:nothing", "AttributeError"),
        ("mod_x:text", "is a str, not an sfm Plugin"),
        ("mod_x:renamed", "its entry point is 'x', its name is 'y'"),
        ("mod_x:newer", "written for plugin API 99.*upgrade sfm-hub"),
    ],
)
def test_what_is_wrong_with_an_entry_point_is_said(site, value, said):
    text = (
        "from sfm.plugin import Plugin\ntext = 'hello'\n"
        "renamed = Plugin(name='y', domain='d', summary='s')\n"
        "newer = Plugin(name='x', domain='d', summary='s', api=99)\n"
    )
    install(site, "sfm-x", {"x": value}, {"mod_x": text})
    registry.clear_cache()
    with pytest.raises(PluginError, match=said):
        registry.plugin("x")


def test_environment_restricts_and_disables(site, monkeypatch):
    add(site, "waves")
    add(site, "tides")
    monkeypatch.setenv("SFM_PLUGINS", "tides")
    assert list(registry.plugins()) == ["tides"]
    monkeypatch.setenv("SFM_PLUGINS", "")
    assert registry.plugins() == {}


def test_unknown_names_get_a_suggestion(site):
    add(site, "waves", "encoders={'patches': 'a:B'}")
    with pytest.raises(PluginError, match="Did you mean 'waves'"):
        registry.plugin("wave")
    with pytest.raises(PluginError, match="Did you mean 'waves/patches'"):
        registry.find("encoders", "waves/patch")


def test_a_short_name_is_enough_where_it_is_unique(site, monkeypatch):
    monkeypatch.setenv("SFM_PLUGINS", "waves,tides")
    add(site, "waves", "encoders={'patches': 'a:B'}")
    assert registry.find("encoders", "patches").full_name == "waves/patches"
    add(site, "tides", "encoders={'patches': 'a:B'}")
    with pytest.raises(PluginError, match=r"ambiguous.*tides/patches, waves/patches"):
        registry.find("encoders", "patches")


def test_finding_a_part_does_not_import_it(site):
    add(site, "waves", "encoders={'e': 'mod_heavy:E'}")
    (site / "mod_heavy.py").write_text("E = 1\n")
    part = registry.find("encoders", "waves/e")
    assert "mod_heavy" not in sys.modules
    assert part.load() == 1


def test_a_missing_package_of_a_part_is_named(site):
    add(site, "waves", "encoders={'e': 'mod_needs:E'}")
    (site / "mod_needs.py").write_text("import no_such_package\n")
    with pytest.raises(PluginError, match="needs the package 'no_such_package'"):
        registry.find("encoders", "waves/e").load()


def test_a_missing_extra_of_a_first_party_plugin_says_how_to_get_it(site, monkeypatch):
    (site / "mod_needs.py").write_text("import no_such_package\n")
    part = registry.Part("crystals", "crystals", "encoders", "e", "mod_needs:E")
    with pytest.raises(PluginError, match=r"pip install 'sfm-hub\[crystals\]'"):
        part.load()


def test_redefining_a_quantity_breaks_the_redefiner_only(site, monkeypatch):
    monkeypatch.setenv("SFM_PLUGINS", "waves,tides")
    add(site, "tides", "quantities=(Quantity('height', 'metre', summary='h'),)")
    add(site, "waves", "quantities=(Quantity('height', 'second', summary='h'),)")
    assert list(registry.plugins()) == ["tides"]
    assert "plugin 'tides' as [metre" in str(row("waves").error)
    assert registry.quantities()["height"].unit == "metre"


def test_redefining_a_core_quantity_is_refused(site, monkeypatch):
    monkeypatch.setenv("SFM_PLUGINS", "waves")
    add(site, "waves", "quantities=(Quantity('energy', 'metre', summary='h'),)")
    assert "the core as [eV" in str(row("waves").error)
