"""Fixtures of the core's tests. The outside plugin that they use is the scaffold's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sfm.testing.distributions import install


@pytest.fixture
def site(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty folder on the path, in front of everything, where tests install distributions."""
    from sfm import registry

    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delenv("SFM_PLUGINS", raising=False)
    monkeypatch.delenv("SFM_PLUGINS_STRICT", raising=False)
    known = set(sys.modules)
    registry.clear_cache()
    yield folder
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(folder)):
            del sys.modules[name]
    registry.clear_cache()


@pytest.fixture(scope="session")
def toy_site(tmp_path_factory) -> Iterator[Path]:
    """The scaffold's plugin `toy`, importable and discovered for the whole session."""
    from sfm import registry
    from sfm.scaffold import write_plugin

    folder = write_plugin("toy", folder=tmp_path_factory.mktemp("toy") / "package")
    install(folder, "sfm-toy", {"toy": "sfm_toy:plugin"}, version="0.1.0")
    sys.path.insert(0, str(folder))
    registry.clear_cache()
    yield folder
    sys.path.remove(str(folder))
    registry.clear_cache()


@pytest.fixture
def toy(toy_site, monkeypatch) -> Path:
    """The plugin `toy` and no other."""
    from sfm import registry

    monkeypatch.setenv("SFM_PLUGINS", "toy")
    monkeypatch.delenv("SFM_PLUGINS_STRICT", raising=False)
    registry.clear_cache()
    return toy_site


@pytest.fixture(scope="session")
def e3nn_o3():
    """`e3nn.o3`; importing it warns of a deprecated torch.jit, which is not ours."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from e3nn import o3
    return o3
