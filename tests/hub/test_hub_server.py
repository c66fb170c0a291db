"""The local Hub itself, through the client's own calls, and as a separate process."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from sfm.testing.hub_server import HubServer

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_the_protocol_call_by_call(client, server, model_folder):
    api = HfApi()
    assert api.whoami()["name"] == "tester"
    url = api.create_repo("tester/a")
    assert (url.repo_id, url.repo_type) == ("tester/a", "model")
    assert api.create_repo("a", exist_ok=True).repo_id == "tester/a"
    with pytest.raises(HfHubHTTPError, match="already created"):
        api.create_repo("tester/a")
    first = api.upload_folder(folder_path=model_folder, repo_id="tester/a")
    assert api.repo_info("tester/a").sha == first.oid
    info = api.model_info("tester/a", files_metadata=True)
    sizes = {f.rfilename: f.size for f in info.siblings}
    assert sizes["model.safetensors"] == (model_folder / "model.safetensors").stat().st_size
    assert info.library_name == "sfm"
    files = {f.path: f for f in api.list_repo_tree("tester/a", recursive=True)}
    assert files["model.safetensors"].lfs is not None
    assert files["config.json"].lfs is None
    paths = api.get_paths_info("tester/a", ["config.json", "absent"])
    assert [p.path for p in paths] == ["config.json"]
    api.create_branch("tester/a", branch="b/c")
    api.create_tag("tester/a", tag="v1", revision="b/c")
    refs = api.list_repo_refs("tester/a", include_pull_requests=True)
    assert {b.name for b in refs.branches} == {"main", "b/c"}
    assert [t.target_commit for t in refs.tags] == [first.oid]
    api.delete_tag("tester/a", tag="v1")
    api.delete_branch("tester/a", branch="b/c")
    addition = CommitOperationAdd("sub/note.json", b"{}")
    second = api.create_commit(
        "tester/a", [addition], commit_message="two", parent_commit=first.oid
    )
    with pytest.raises(HfHubHTTPError, match="412"):
        api.create_commit(
            "tester/a",
            [CommitOperationAdd("x.json", b"1")],
            commit_message="late",
            parent_commit=first.oid,
        )
    assert next(c.title for c in api.list_repo_commits("tester/a")) == "two"
    assert {p.path for p in api.list_repo_tree("tester/a")} >= {"sub", "config.json"}
    api.delete_folder("sub", "tester/a")
    assert not api.file_exists("tester/a", "sub/note.json")
    assert api.file_exists("tester/a", "sub/note.json", revision=second.oid)
    api.update_repo_settings("tester/a", private=True)
    assert api.model_info("tester/a").private is True
    assert [m.id for m in api.list_models(author="tester", search="A", filter="sfm")] == [
        "tester/a"
    ]
    api.create_repo("tester/d", repo_type="dataset")
    assert [d.id for d in api.list_datasets(author="tester")] == ["tester/d"]
    api.delete_repo("tester/d", repo_type="dataset")
    assert not api.repo_exists("tester/d", repo_type="dataset")
    unknown = {r.path for r in server.requests if r.route == "unknown"}
    assert unknown <= {"/api/agent-harnesses"}, "the client asks this once, and takes 404"


def test_errors_arrive_as_the_clients_own_types(client, server, model_folder):
    api = HfApi()
    api.create_repo("tester/a")
    api.upload_folder(folder_path=model_folder, repo_id="tester/a")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("tester/absent")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("tester/a", revision="absent")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("tester/a", "absent.json")
    server.add_user("stranger", "hf_stranger")
    server.gate("tester/a")
    with pytest.raises(GatedRepoError):
        snapshot_download("tester/a", token="hf_stranger")
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token="hf_wrong")


def get(url: str, **headers: str) -> tuple[int, bytes, str]:
    """Status, body and Content-Range of a plain GET, without the client."""
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read(), answer.headers.get("Content-Range", "")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers.get("Content-Range", "")


def test_storage_links_ranges_and_signatures(server):
    data = bytes(range(256)) * 4
    link = server.api._storage_link("get", server.store.put(data))
    assert get(link, Range="bytes=100-199") == (206, data[100:200], "bytes 100-199/1024")
    assert get(link, Range="bytes=1019-")[1] == data[-5:]
    assert get(link, Range="bytes=1024-")[0] == 416
    assert get(link)[:2] == (200, data)
    assert get(link.replace("signature=", "signature=0"))[0] == 403
    assert get(link, Authorization="Bearer x")[0] == 400
    assert get(server.url + "/nowhere")[0] == 404


def test_interrupted_download_is_resumed_with_a_range(client, server, model_folder):
    """The client keeps what it has of a file and asks for the rest only."""
    from huggingface_hub.file_download import http_get

    data = (model_folder / "model.safetensors").read_bytes()
    link = server.api._storage_link("get", server.store.put(data))
    target = model_folder / "part"
    target.write_bytes(data[:1000])
    with target.open("ab") as file:
        http_get(link, file, resume_size=1000, expected_size=len(data))
    assert target.read_bytes() == data
    assert [(r.status, r.headers.get("range")) for r in server.requests] == [(206, "bytes=1000-")]


def test_pages_of_a_long_tree(client, server):
    api = HfApi()
    api.create_repo("tester/a")
    names = [f"n{i:02}.json" for i in range(25)]
    operations = [CommitOperationAdd(name, b"{}") for name in names]
    api.create_commit("tester/a", operations, commit_message="many")
    server.api.page_size = 10
    assert sorted(api.list_repo_files("tester/a")) == [".gitattributes", *names]
    assert server.routes().count("list_tree") == 3


def test_repositories_survive_a_restart(client, model_folder, tmp_path):
    with HubServer(root=tmp_path / "hub") as one:
        client.point_at(one.url)
        HfApi().create_repo("tester/a")
        commit = HfApi().upload_folder(folder_path=model_folder, repo_id="tester/a")
    with HubServer(root=tmp_path / "hub") as two:
        client.point_at(two.url)
        folder = Path(snapshot_download("tester/a"))
        assert folder.name == commit.oid
        for path in model_folder.iterdir():
            assert (folder / path.name).read_bytes() == path.read_bytes()


def test_as_a_process_of_its_own(client, tmp_path):
    command = [sys.executable, "-m", "sfm.testing.hub_server", "--root", str(tmp_path / "hub")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url, export = process.stdout.readline().strip(), process.stdout.readline()
            assert export.startswith(f"export HF_ENDPOINT={url} HF_TOKEN=")
            assert "HF_HUB_DISABLE_XET=1" in export
            client.point_at(url)
            assert HfApi().whoami()["name"] == "tester"
        finally:
            process.terminate()


def test_it_listens_on_this_machine_only(server):
    assert server.url.startswith("http://127.0.0.1:")
    assert server._http.server_address[0] == "127.0.0.1"


def test_the_demo_is_a_client_of_its_own_hub_only(tmp_path, monkeypatch):
    """Whatever the user's shell says of caches, proxies and offline mode."""
    from sfm.demo import local_hub

    theirs = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": "/elsewhere", "HTTP_PROXY": "http://proxy:1"}
    monkeypatch.setattr(os, "environ", {**os.environ, **theirs})
    with local_hub(tmp_path) as url:
        assert os.environ["HF_ENDPOINT"] == url
        assert os.environ["HF_HUB_OFFLINE"] == "0"
        assert os.environ["HF_HUB_CACHE"] == str(tmp_path / "hub")
        assert "127.0.0.1" in os.environ["NO_PROXY"]
