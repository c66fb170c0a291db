"""The page as a Space: what is written, and who may call it there."""

from __future__ import annotations

import pytest
from huggingface_hub import SpaceCard

from sfm.errors import InputError
from sfm.serve.space import export


def test_a_space_names_its_models_and_how_it_is_run(tmp_path):
    from sfm.data.bundled import models_dir

    mine = tmp_path / "mine"
    mine.mkdir()
    source = models_dir() / "sfm-tiny"
    files = [*source.glob("*.json"), *source.glob("*.safetensors")]
    for path in files:
        (mine / path.name).write_bytes(path.read_bytes())
    (mine / "secrets.txt").write_text("stays here")
    folder = export(["sfm-tiny", "owner/name", str(mine)], tmp_path / "space")
    card = SpaceCard.load(folder / "README.md")
    assert (card.data.sdk, card.data.app_port, card.data.models) == ("docker", 7860, ["owner/name"])
    last = (folder / "Dockerfile").read_text().splitlines()[-1]
    assert '"sfm-tiny", "owner/name", "./models/mine", "--public", "--host", "0.0.0.0"' in last
    copied = sorted(p.name for p in (folder / "models" / "mine").iterdir())
    assert copied == sorted(path.name for path in files)
    with pytest.raises(InputError, match="not empty"):
        export(["sfm-tiny"], folder)


def test_a_public_page_answers_any_name_but_no_other_site():
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    from sfm.serve.app import create_app

    client = TestClient(create_app([], public=True), base_url="https://you-page.hf.space")
    answer = client.get("/api/about")
    assert answer.status_code == 200
    assert "https://huggingface.co" in answer.headers["content-security-policy"]
    other = client.get("/api/about", headers={"origin": "https://evil.example"})
    assert other.status_code == 403
    closed = TestClient(create_app([]), base_url="https://you-page.hf.space")
    assert closed.get("/api/about").status_code == 421
