"""Fixtures of the core's tests. The outside plugin that they use is the scaffold's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sfm.testing.distributions import install

if TYPE_CHECKING:
    from sfm.testing.hub_server import HubServer


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


@pytest.fixture
def server() -> Iterator[HubServer]:
    from sfm.testing.hub_server import HubServer

    with HubServer() as running:
        yield running


@dataclass
class Client:
    """This process as a client of `server`: huggingface_hub reads its constants at call time."""

    home: Path
    monkeypatch: pytest.MonkeyPatch

    def point_at(self, url: str) -> None:
        from huggingface_hub import constants

        self.monkeypatch.setattr(constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        self.monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    def fresh_cache(self, name: str) -> Path:
        """An empty cache: what wiping it is."""
        from huggingface_hub import constants

        self.monkeypatch.setattr(constants, "HF_HUB_CACHE", str(self.home / name))
        return self.home / name

    def log_in(self, token: str | None) -> None:
        if token is None:
            self.monkeypatch.delenv("HF_TOKEN", raising=False)
        else:
            self.monkeypatch.setenv("HF_TOKEN", token)


@pytest.fixture
def client(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    ours = Client(tmp_path / "home", monkeypatch)
    ours.point_at(server.url)
    ours.fresh_cache("cache")
    ours.log_in(server.token)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "home" / "token"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    disable_progress_bars()
    huggingface_hub.close_session()
    yield ours
    huggingface_hub.close_session()
    enable_progress_bars()


@pytest.fixture
def benchmarks(monkeypatch) -> Path:
    """The folder `benchmarks`, whose modules import each other by their plain names."""
    folder = Path(__file__).resolve().parent.parent / "benchmarks"
    monkeypatch.syspath_prepend(folder)
    return folder
