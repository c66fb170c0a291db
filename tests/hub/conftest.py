"""A local Hub, a client that talks to it, and a small model folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy
import pytest

from sfm.testing.hub_server import HubServer


@pytest.fixture
def server() -> Iterator[HubServer]:
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
def model_folder(tmp_path: Path) -> Path:
    """A folder with every file that a model repository may hold, and some that it may not."""
    from safetensors.numpy import save_file

    folder = tmp_path / "tiny"
    folder.mkdir()
    random = numpy.random.default_rng(0)
    save_file({"w": random.normal(size=(64, 64)), "b": numpy.ones(3)}, folder / "model.safetensors")
    config = {
        "model_type": "sfm",
        "format": 1,
        "name": "tiny",
        "encoders": {"molecules/atoms": {"cutoff": 5.0}},
        "encoder_domains": {"molecules/atoms": "molecules"},
        "targets": [{"encoder": "molecules/atoms", "level": "GFN2-xTB", "quantity": "energy"}],
        "quantities": {"energy": {"name": "energy", "unit": "eV", "per": "system"}},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "training.json").write_text(json.dumps({"seeds": [0], "licence": "Apache-2.0"}))
    (folder / "references.bib").write_text("@misc{a,\n  doi = {10.1000/x}\n}\n")
    head = "---\nlicense: apache-2.0\nlibrary_name: sfm\ntags: [sfm, molecules]\n---\n"
    (folder / "README.md").write_text(head + "# tiny\n\nA test model.\n")
    (folder / "notes.txt").write_text("stays here")
    return folder
