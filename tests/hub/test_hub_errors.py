"""Each way a Hub can fail has its own line, and exit code 4."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest
from huggingface_hub import HfApi, constants

from sfm.errors import HubError, InputError, SfmError, SfmWarning
from sfm.hub import check_folder, list_models, pull, push_folder, resolve
from sfm.hub.publish import push
from sfm.testing.hub_server import HubServer


def line(caught: pytest.ExceptionInfo[SfmError]) -> str:
    """The message, which must be one line with exit code 4."""
    assert isinstance(caught.value, HubError)
    assert caught.value.exit_code == 4
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_missing_repository(client):
    with pytest.raises(HubError) as caught:
        resolve("tester/absent")
    assert "no repository 'tester/absent'" in line(caught)
    assert "(404)" in str(caught.value)
    client.log_in(None)
    with pytest.raises(HubError) as caught:
        resolve("tester/absent")
    assert "(401)" in line(caught)
    assert "HF_TOKEN" in str(caught.value)


def test_missing_revision_and_file(client, model_folder):
    push_folder(model_folder, "tester/tiny")
    with pytest.raises(HubError) as caught:
        resolve("tester/tiny@v9")
    assert "'tester/tiny' has no revision 'v9' (404)" in line(caught)
    HfApi().delete_file("model.safetensors", "tester/tiny")
    with pytest.raises(HubError) as caught:
        resolve("tester/tiny")
    assert "lacks model.safetensors" in line(caught)


def test_a_file_that_vanishes_between_listing_and_download(client, server, model_folder):
    push_folder(model_folder, "tester/tiny")
    repo = server.store.repositories["model", "tester/tiny"]
    original = server.api.answer

    def answer(call):
        if call.method == "HEAD" and call.path.endswith("training.json"):
            repo.commit("main").files.pop("training.json", None)
        return original(call)

    server.api.answer = answer
    with pytest.raises(HubError) as caught:
        resolve("tester/tiny")
    assert "lacks a file (404)" in line(caught)
    assert "training.json" in str(caught.value)


def test_gated(client, server, model_folder):
    server.add_user("stranger", "hf_stranger")
    push_folder(model_folder, "tester/tiny")
    server.gate("tester/tiny")
    client.log_in("hf_stranger")
    with pytest.raises(HubError) as caught:
        resolve("tester/tiny")
    assert "gated" in line(caught)
    assert f"ask for access at {server.url}/tester/tiny" in str(caught.value)
    server.gate("tester/tiny", allowed=("stranger",))
    assert resolve("tester/tiny").is_dir()


def test_private(client, server, model_folder):
    server.add_user("stranger", "hf_stranger")
    push_folder(model_folder, "tester/hidden", private=True)
    assert resolve("tester/hidden").is_dir()
    client.fresh_cache("stranger")
    with pytest.raises(HubError) as caught:
        resolve("tester/hidden", token="hf_stranger")
    assert "no repository 'tester/hidden'" in line(caught)
    assert [r for r in list_models(remote=True, token="hf_stranger") if r.where == "hub"] == []


def test_wrong_token(client, model_folder):
    client.log_in("hf_wrong")
    for action in (
        lambda: resolve("tester/tiny"),
        lambda: push_folder(model_folder, "tester/tiny"),
        lambda: list_models(remote=True),
    ):
        with pytest.raises(HubError) as caught:
            action()
        assert "no valid token (401)" in line(caught)
        assert "hf auth login" in str(caught.value)


def test_no_token_and_no_right_to_write(client, server, model_folder):
    client.log_in(None)
    with pytest.raises(HubError) as caught:
        push_folder(model_folder, "tester/tiny")
    assert "(401)" in line(caught)
    server.add_user("reader", "hf_reader", role="read")
    for token, repo in (("hf_reader", "reader/x"), (server.token, "somebody/x")):
        with pytest.raises(HubError) as caught:
            push_folder(model_folder, repo, token=token)
        assert f"this token may not write to '{repo}' (403)" in line(caught)


def test_no_network(client, model_folder):
    push_folder(model_folder, "tester/tiny")
    folder = resolve("tester/tiny")
    client.point_at(f"http://127.0.0.1:{free_port()}")
    with pytest.warns(SfmWarning, match=r"cannot reach the Hub .* in the cache is used"):
        assert resolve("tester/tiny") == folder, "what is in the cache still loads"
    with pytest.raises(HubError) as caught:
        resolve("tester/other")
    assert "cannot reach the Hub at http://127.0.0.1:" in line(caught)
    with pytest.raises(HubError) as caught:
        push_folder(model_folder, "tester/other")
    assert "cannot reach the Hub" in line(caught)
    with pytest.raises(HubError) as caught:
        list_models(remote=True)
    assert "cannot reach the Hub" in line(caught)


def test_offline_and_local_files_only(client, server, model_folder, monkeypatch):
    push_folder(model_folder, "tester/tiny")
    with pytest.raises(HubError) as caught:
        resolve("tester/tiny", local_files_only=True)
    assert "only local files were allowed" in line(caught)
    folder = resolve("tester/tiny")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    server.requests.clear()
    assert resolve("tester/tiny") == folder
    with pytest.raises(HubError) as caught:
        resolve("tester/other")
    assert "HF_HUB_OFFLINE is set" in line(caught)
    (folder / "config.json").unlink()
    with pytest.raises(HubError) as caught:
        resolve("tester/tiny")
    assert "incomplete in the cache" in line(caught)
    with pytest.raises(HubError) as caught:
        push_folder(model_folder, "tester/tiny")
    assert "HF_HUB_OFFLINE" in line(caught)
    assert server.requests == []


def test_server_errors(client, server, model_folder):
    push_folder(model_folder, "tester/tiny")
    server.fail("/api/models/tester/tiny", status=500)
    with pytest.raises(HubError) as caught:
        resolve("tester/tiny")
    assert "failed (500)" in line(caught)
    server.fail("/preupload/", status=503)
    (model_folder / "training.json").write_text("{}")
    push_folder(model_folder, "tester/tiny")
    assert 503 in {r.status for r in server.requests}, "the client tried again by itself"


def test_conflicting_commit(client, server, model_folder):
    push_folder(model_folder, "tester/tiny")
    server.fail("/commit/", status=412)
    (model_folder / "training.json").write_text("{}")
    with pytest.raises(HubError) as caught:
        push_folder(model_folder, "tester/tiny")
    assert "changed by someone else" in line(caught)


def test_bad_card_is_refused_before_the_weights_move(client, server, model_folder):
    (model_folder / "README.md").write_text("---\nlicense: [\n---\n# broken\n")
    with pytest.raises(HubError) as caught:
        push_folder(model_folder, "tester/tiny")
    assert "refused the card" in line(caught)
    assert "README.md: while parsing" in str(caught.value)
    assert "storage_put" not in server.routes()


def test_damaged_download(client, server, model_folder):
    push_folder(model_folder, "tester/tiny")
    server.damage("tester/tiny", "model.safetensors")
    with pytest.raises(HubError) as caught:
        resolve("tester/tiny")
    assert "model.safetensors of 'tester/tiny' arrived damaged" in line(caught)
    server.api.damaged.clear()
    assert resolve("tester/tiny").is_dir(), "the damaged copy was removed: trying again works"


def test_truncated_download(client, server, model_folder):
    push_folder(model_folder, "tester/tiny")
    server.damage("tester/tiny", "model.safetensors", truncate=True)
    with pytest.raises(HubError) as caught:
        resolve("tester/tiny")
    assert "wrong size" in line(caught)


def test_file_damaged_in_the_cache(client, model_folder):
    push_folder(model_folder, "tester/tiny")
    path = resolve("tester/tiny") / "model.safetensors"
    path.resolve().write_bytes(path.read_bytes()[:-4])
    with pytest.raises(HubError) as caught:
        resolve("tester/tiny", local_files_only=True)
    assert "model.safetensors of 'tester/tiny' is damaged in the cache" in line(caught)
    assert resolve("tester/tiny").is_dir(), "with a network it is fetched again"
    assert path.read_bytes() == (model_folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("content", [b"", b"\x00" * 4, b"\xff" * 64, b"PK\x03\x04" * 8])
def test_not_safetensors(model_folder, content):
    (model_folder / "model.safetensors").write_bytes(content)
    with pytest.raises(HubError, match="is damaged"):
        check_folder(model_folder)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_pickles_are_neither_sent_nor_fetched_nor_read(client, server, model_folder):
    for name in ("pytorch_model.bin", "last.ckpt", "extra.pt", "x.pkl"):
        (model_folder / name).write_bytes(b"\x80\x04.")
    push_folder(model_folder, "tester/tiny")
    assert not [f for f in HfApi().list_repo_files("tester/tiny") if f.endswith((".bin", ".pt"))]
    HfApi().upload_file(
        path_or_fileobj=b"\x80\x04.", path_in_repo="pytorch_model.bin", repo_id="tester/tiny"
    )
    assert not (resolve("tester/tiny") / "pytorch_model.bin").exists()
    HfApi().delete_file("model.safetensors", "tester/tiny")
    with pytest.raises(HubError, match=r"lacks model\.safetensors"):
        resolve("tester/tiny")
    (model_folder / "model.safetensors").unlink()
    with pytest.raises(HubError) as caught:
        resolve(model_folder)
    assert "sfm reads safetensors only" in line(caught)
    with pytest.raises(HubError, match="safetensors only"):
        push_folder(model_folder, "tester/tiny")


def test_an_index_may_only_name_safetensors_beside_it(model_folder):
    for name in ("pytorch_model.bin", "../other/model.safetensors", "/etc/passwd"):
        index = {"weight_map": {"w": name}}
        (model_folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(HubError, match="only safetensors beside it"):
            check_folder(model_folder)


def test_model_of_another_library(model_folder):
    (model_folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(HubError, match="model_type is 'bert'"):
        check_folder(model_folder)
    (model_folder / "config.json").write_text("{")
    with pytest.raises(HubError, match="not JSON"):
        check_folder(model_folder)


def test_names(model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve("tiny").name == "tiny"
    assert resolve("./tiny").resolve() == model_folder
    (tmp_path / "org").mkdir()
    model_folder.rename(tmp_path / "org" / "tiny")
    assert resolve("org/tiny").resolve() == tmp_path / "org" / "tiny"
    for wrong, words in (
        ("nothing-here", "no bundled model and no folder"),
        ("./nothing", "no folder nothing"),
        ("a/b/c", "neither a folder nor a repository"),
        ("hf://a", "neither a folder nor a repository"),
        ("a/b@", "neither a folder nor a repository"),
    ):
        with pytest.raises(InputError, match=words):
            resolve(wrong)
    with pytest.raises(InputError, match="has no revision 'v1'"):
        resolve("org/tiny", revision="v1")
    with pytest.raises(InputError, match="two revisions"):
        resolve("hf://org/tiny@v1", revision="v2")
    with pytest.raises(InputError, match="owner/name"):
        push("org/tiny", "tiny")
    with pytest.raises(InputError, match="is not empty"):
        pull("org/tiny", folder=tmp_path)


def test_bundled_names_come_first(model_folder, tmp_path, monkeypatch):
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    model_folder.rename(shelf / "tiny")
    monkeypatch.setitem(resolve.__globals__, "models_dir", lambda: shelf)
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve("tiny") == shelf / "tiny"
    assert [r.name for r in list_models(cache_dir=tmp_path / "empty")] == ["tiny"]
    with pytest.raises(InputError, match="Did you mean 'tiny'"):
        resolve("tinny")
    with pytest.raises(HubError, match=r"no config\.json"):
        resolve("./tiny")


XET = """
import sys
from sfm.hub import push_folder
from sfm.errors import SfmError
try:
    push_folder(sys.argv[1], "tester/tiny")
except SfmError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def test_xet_is_named_with_its_remedy(server: HubServer, model_folder, tmp_path):
    env = server.environment(tmp_path / "home")
    del env["HF_HUB_DISABLE_XET"]
    done = subprocess.run(
        [sys.executable, "-c", XET, str(model_folder)],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode == 0:  # an older client takes Git LFS where a Hub does not speak Xet
        assert {"storage_put", "commit"} <= set(server.routes())
        return
    assert done.returncode == 4, done.stderr
    assert "HF_HUB_DISABLE_XET=1" in done.stderr.splitlines()[-1]
