"""Push, wipe the cache, pull: through the unmodified client, over HTTP, against the local Hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from sfm.errors import HubError, InputWarning
from sfm.hub import list_models, pull, push, push_folder, resolve
from sfm.testing.hub_server import HubServer

FILES = ["README.md", "config.json", "model.safetensors", "references.bib", "training.json"]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_push_wipe_pull_is_byte_identical(client, server, model_folder):
    url = push_folder(model_folder, "tester/tiny", commit_message="first")
    assert url.startswith(f"{server.url}/tester/tiny/commit/")
    pulled = resolve("tester/tiny")
    assert pulled.name == url.rsplit("/", 1)[1]
    assert contents(pulled) == {name: (model_folder / name).read_bytes() for name in FILES}
    client.fresh_cache("second")
    again = resolve("tester/tiny")
    assert again != pulled
    assert contents(again) == contents(pulled)


def test_the_token_never_reaches_the_storage_host(client, server, model_folder):
    push_folder(model_folder, "tester/tiny")
    resolve("tester/tiny")
    stored = [r for r in server.requests if r.path.startswith("/_storage/")]
    assert {r.method for r in stored} == {"PUT", "GET"}
    assert all("authorization" not in r.headers and r.status == 200 for r in stored)
    sent = {r.headers.get("host", "").split(":")[0] for r in stored}
    assert sent == {"localhost"}, "bytes come from another origin"
    assert all("sfm/" in r.headers["user-agent"] for r in server.requests if r.route == "repo_info")


def test_unchanged_files_are_not_sent_again(client, server, model_folder):
    first = push_folder(model_folder, "tester/tiny")
    server.requests.clear()
    assert push_folder(model_folder, "tester/tiny") == first
    assert not {"commit", "storage_put"} & set(server.routes())
    (model_folder / "training.json").write_text('{"seeds": [1]}')
    server.requests.clear()
    assert push_folder(model_folder, "tester/tiny") != first
    assert "commit" in server.routes()
    assert "storage_put" not in server.routes()


def test_cached_snapshot_is_fetched_once(client, server, model_folder):
    push_folder(model_folder, "tester/tiny")
    folder = resolve("tester/tiny")
    server.requests.clear()
    assert resolve("tester/tiny") == folder
    assert server.routes() == ["repo_info"]
    server.requests.clear()
    assert resolve("tester/tiny", revision=folder.name) == folder
    assert server.routes() == []
    assert resolve("tester/tiny", force_download=True) == folder
    assert "storage_get" in server.routes()


def test_branch_tag_commit_and_pull_request(client, server, model_folder):
    old = push_folder(model_folder, "tester/tiny").rsplit("/", 1)[1]
    api = HfApi()
    api.create_tag("tester/tiny", tag="v1")
    (model_folder / "training.json").write_text('{"seeds": [7]}')
    new = push_folder(model_folder, "tester/tiny", revision="wide/branch").rsplit("/", 1)[1]
    assert resolve("tester/tiny@v1").name == old
    assert resolve("tester/tiny").name == old
    assert resolve("tester/tiny@wide/branch").name == new
    assert resolve("hf://tester/tiny", revision=new).name == new
    url = push_folder(model_folder, "tester/tiny", create_pr=True)
    assert url == f"{server.url}/tester/tiny/discussions/1"
    proposed = resolve("tester/tiny", revision="refs/pr/1")
    assert (proposed / "training.json").read_text() == '{"seeds": [7]}'
    assert resolve("tester/tiny").name == old


def test_stale_shards_leave_with_the_next_commit(client, model_folder):
    from safetensors.numpy import save_file

    shards = model_folder.parent / "shards"
    shards.mkdir()
    for name in ("README.md", "config.json"):
        (shards / name).write_bytes((model_folder / name).read_bytes())
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    import numpy

    for key, name in zip("ab", names, strict=True):
        save_file({key: numpy.arange(5.0)}, shards / name)
    index = {"metadata": {}, "weight_map": dict(zip("ab", names, strict=True))}
    (shards / "model.safetensors.index.json").write_text(json.dumps(index))
    push_folder(shards, "tester/tiny")
    assert {p.name for p in resolve("tester/tiny").glob("*.safetensors")} == set(names)
    push_folder(model_folder, "tester/tiny")
    files = set(HfApi().list_repo_files("tester/tiny"))
    assert files == {*FILES, ".gitattributes"}


def test_multipart_upload(client, model_folder):
    with HubServer(multipart_above=10_000) as server:
        client.point_at(server.url)
        push_folder(model_folder, "tester/tiny")
        assert server.routes().count("storage_part") == 4
        pulled = resolve("tester/tiny")
        assert (
            contents(pulled)["model.safetensors"]
            == (model_folder / "model.safetensors").read_bytes()
        )


def test_pull_copies_real_files(client, model_folder, tmp_path):
    push_folder(model_folder, "tester/tiny")
    target = pull("tester/tiny", folder=tmp_path / "copy")
    assert not any(p.is_symlink() for p in target.rglob("*"))
    assert set(contents(target)) == set(FILES)
    push(target, "tester/copy")
    push("tester/copy", "tester/third")
    assert contents(resolve("tester/third")) == contents(target)


def test_subfolder(client, model_folder):
    outer = model_folder.parent / "outer"
    outer.mkdir()
    for name in FILES:
        (outer / name).write_bytes((model_folder / name).read_bytes())
    model_folder.rename(outer / "inner")
    push_folder(outer, "tester/tiny")
    assert resolve("tester/tiny", subfolder="inner").name == "inner"
    with pytest.raises(HubError, match="no folder 'other'"):
        resolve("tester/tiny", subfolder="other")


def test_dataset_repository(client, tmp_path):
    import pyarrow
    import pyarrow.parquet

    folder = tmp_path / "waves"
    (folder / "data").mkdir(parents=True)
    table = pyarrow.table({"energy[eV]": [1.0, 2.0]})
    pyarrow.parquet.write_table(table, folder / "data" / "train.parquet")
    (folder / "README.md").write_text("---\nlicense: mit\ntags: [sfm, fluids]\n---\n# waves\n")
    (folder / "build.py").write_text("raise SystemExit('never run')\n")
    with pytest.warns(InputWarning, match="without Croissant metadata: .* not written by sfm"):
        url = push_folder(folder, "tester/waves", repo_type="dataset")
    assert "/datasets/tester/waves/commit/" in url
    pulled = resolve("tester/waves", repo_type="dataset")
    assert set(contents(pulled)) == {"README.md", "data/train.parquet"}
    assert pyarrow.parquet.read_table(pulled / "data" / "train.parquet").equals(table)
    listed = list_models(repo_type="dataset", remote=True, tags=["fluids"])
    places = [(row.name, row.where) for row in listed if row.where != "bundled"]
    assert places == [("tester/waves", "cached"), ("tester/waves", "hub")]


def test_listing(client, server, model_folder):
    push_folder(model_folder, "tester/tiny")
    HfApi().create_repo("tester/other-library")
    assert [r for r in list_models() if r.where == "cached"] == []
    resolve("tester/tiny")
    rows = {row.where: row for row in list_models(remote=True, search="tiny")}
    assert rows["cached"].summary == "A test model."
    assert rows["cached"].licence == rows["hub"].licence == "apache-2.0"
    assert rows["cached"].size == sum((model_folder / name).stat().st_size for name in FILES)
    assert rows["cached"].revision == rows["hub"].revision
    assert rows["hub"].name == "tester/tiny"
    assert "molecules" in rows["hub"].tags
    names = [r.name for r in list_models(remote=True) if r.where == "hub"]
    assert names == ["tester/tiny"]
    assert [r for r in list_models(remote=True, tags=["fluids"]) if r.where != "bundled"] == []
    assert list(list_models(remote=True, author="nobody")) == []


CHILD = """
import json, sys
from sfm.hub import resolve
from sfm.errors import SfmError
try:
    folder = resolve(sys.argv[1])
    print(json.dumps({p.name: p.read_bytes().hex() for p in folder.iterdir()}))
except SfmError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def child(repo: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD, repo], env=env, capture_output=True, text=True, timeout=60
    )


def test_fresh_processes_online_then_offline(client, server, model_folder, tmp_path):
    """The variables, not patched constants: what a user's shell does."""
    push_folder(model_folder, "tester/tiny")
    env = server.environment(tmp_path / "other-home")
    online = child("tester/tiny", env)
    assert online.returncode == 0, online.stderr
    expected = {name: (model_folder / name).read_bytes().hex() for name in FILES}
    assert json.loads(online.stdout) == expected
    server.requests.clear()
    offline = child("tester/tiny", {**env, "HF_HUB_OFFLINE": "1"})
    assert json.loads(offline.stdout) == expected
    assert server.requests == []
    missing = child("tester/never-seen", {**env, "HF_HUB_OFFLINE": "1"})
    assert missing.returncode == 4
    assert "HF_HUB_OFFLINE" in missing.stderr
    assert len(missing.stderr.strip().splitlines()) == 1


def test_importing_resolve_is_light():
    code = (
        "import sys, sfm.hub, sfm.hub.resolve, sfm.hub.publish, sfm.hub.cards, sfm.hub.catalogue\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
