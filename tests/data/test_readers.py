"""Readers: the right plugin is asked, and mistakes are one line."""

from __future__ import annotations

import pytest

from sfm import registry
from sfm.data.readers import read_file, read_object
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.testing.distributions import install

MODULE = """
from sfm.data.sample import Sample
from sfm.errors import InputError, WrongDomain
from sfm.plugin import Plugin

class Thing:
    pass

class Child(Thing):
    pass

def read(path):
    text = path.read_text()
    if text.startswith("{other}"):
        raise WrongDomain(f"{{path.name}}: not of {name}")
    if not text:
        raise InputError(f"{{path.name}}, row 1: empty")
    if text == "none":
        return []
    return [Sample(id="{name}", domain="{name}")]

def of_thing(thing):
    return Sample(id="thing", domain="{name}")

plugin = Plugin(name="{name}", domain="{name}", summary="for tests", readers={{
    ".xyz,.zyx": "mod_{name}:read", "object:mod_{name}.Thing": "mod_{name}:of_thing"}})
"""


@pytest.fixture
def two(site, monkeypatch):
    monkeypatch.setenv("SFM_PLUGINS", "waves,tides")
    for name, other in (("waves", "tide"), ("tides", "wave")):
        text = MODULE.format(name=name, other=other)
        install(site, f"sfm-{name}", {name: f"mod_{name}:plugin"}, {f"mod_{name}": text})
    registry.clear_cache()


@pytest.mark.parametrize(("text", "domain"), [("wave 1", "waves"), ("tide 1", "tides")])
def test_the_reader_whose_domain_it_is_reads(two, tmp_path, text, domain):
    path = tmp_path / "a.zyx"
    path.write_text(text)
    assert [s.domain for s in read_file(path)] == [domain]


def test_a_domain_can_be_demanded(two, tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text("tide")
    with pytest.raises(InputError, match="not of waves"):
        read_file(path, domain="waves")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.xyz", "", "a.xyz, row 1: empty"),
        ("a.xyz", "none", "holds no system"),
        ("a.xyq", "x", r"no installed plugin reads '.xyq'.*Did you mean '.xyz'"),
    ],
)
def test_mistakes(two, tmp_path, name, text, said):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_file(path, domain="tides")


def test_a_missing_file(two, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_file(tmp_path / "a.xyz")


def test_objects_are_known_by_their_class_and_its_bases(two):
    import mod_waves

    samples = read_object([mod_waves.Thing(), mod_waves.Child(), Sample(id="s", domain="d")])
    assert [s.id for s in samples] == ["thing", "thing", "s"]
    with pytest.raises(InputError, match=r"builtins.dict.*known: mod_tides.Thing"):
        read_object({})
