"""Servers that are broken, hostile or no Hub: one line and exit code 4, each in a fresh process.

A fresh process is what a user has: the client sets up its logger when it is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest

from sfm.errors import HubError, InputError, SfmError, SfmWarning
from sfm.hub import list_models, pull, push_folder, resolve
from sfm.hub.files import repo_files
from sfm.testing.hub_api import Call, Reply
from sfm.testing.hub_server import HubServer


def sfm(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sfm", *words], env=env, capture_output=True, text=True, timeout=300
    )


PORTAL = Reply(200, b"<html><body>Log in to the hotel</body></html>", {"Content-Type": "text/html"})
EVERYTHING = "/"
INFO = "/revision/main"
TREE = "/tree/"
FILES = "/resolve/"


def answer(place: str, reply: Reply):
    return lambda call: reply if place in call.path else None


def html_instead_of(call: Call) -> Reply:
    return PORTAL


STRANGERS = {
    "429": (answer(INFO, Reply.json({"error": "slow down"}, 429)), "limits requests (429)"),
    "429 without end": (
        answer(INFO, Reply.json({}, 429, {"Retry-After": "9" * 30})),
        "limits requests (429): try again in 999999999 s",
    ),
    "500": (answer(INFO, Reply(500, b"oops")), "failed (500)"),
    "502": (answer(INFO, Reply(502, b"<html>bad gateway</html>")), "failed (502)"),
    "503": (answer(INFO, Reply(503)), "failed (503)"),
    "503 of a file": (answer(FILES, Reply(503)), "failed (503)"),
    "a stall": (answer(INFO, Reply(200, b"{}", delay=30)), "cannot reach the Hub"),
    "a body that breaks off": (
        answer("/_storage/get/", Reply(200, b"x" * 1000, cut=10)),
        "cannot reach the Hub",
    ),
    "a captive portal": (answer(EVERYTHING, PORTAL), "does not answer like a Hub"),
    "a redirect loop": (
        answer(EVERYTHING, Reply(302, b"", {"Location": "/round"})),
        "does not answer like a Hub",
    ),
    "junk": (answer(INFO, Reply.json([["junk"]])), "does not answer like a Hub"),
    "deep junk": (answer(INFO, Reply(200, b"[" * 100_000)), "does not answer like a Hub"),
    "no commit": (answer(INFO, Reply.json({"id": "tester/tiny", "sha": "../../x"})), "commit"),
    "a file outside": (
        answer(TREE, Reply.json([{"type": "file", "path": "../evil.json", "size": 1, "oid": "0"}])),
        "lists a file '../evil.json' whose name, size or hash cannot be",
    ),
    "a terminal's command": (
        answer(TREE, Reply.json([{"type": "file", "path": "\x1b[2J.json", "size": 1, "oid": "0"}])),
        "lists a file",
    ),
    "a size that is text": (
        answer(
            TREE, Reply.json([{"type": "file", "path": "a.json", "size": "1", "oid": "0" * 40}])
        ),
        "lists a file 'a.json'",
    ),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_one_line_and_exit_code_4(server, model_folder, tmp_path, client, stranger):
    if "file" in stranger or "body" in stranger:
        push_folder(model_folder, "tester/tiny")
    server.stranger, said = STRANGERS[stranger]
    env = {**server.environment(tmp_path / "fresh"), "HF_HUB_ETAG_TIMEOUT": "2"}
    env["HF_HUB_DOWNLOAD_TIMEOUT"] = "2"
    if stranger in ("a file outside", "a terminal's command", "a size that is text"):
        server.stranger = both(server.stranger)
    done = sfm("pull", "tester/tiny", env=env)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 4, done.stderr
    assert len(lines) == 1, done.stderr
    assert said in lines[0]
    assert "unexpected" not in lines[0]
    assert "\x1b" not in lines[0]
    assert done.stdout == ""


def both(stranger):
    """`stranger`, and a commit for it to be asked about."""
    info = Reply.json({"id": "tester/tiny", "sha": "a" * 40})
    return lambda call: info if INFO in call.path else stranger(call)


@pytest.mark.parametrize("tag", ["../../../evil", "a/b", "..", "\x1b[2J", "x" * 500])
def test_a_tag_that_is_a_path_writes_nothing(client, server, model_folder, tmp_path, tag):
    push_folder(model_folder, "tester/tiny")
    cache = client.fresh_cache("empty/deep/cache")
    real = server.api.answer

    def tagged(call: Call):
        name, reply = real(call)
        if call.method == "HEAD":
            reply.headers["ETag"] = reply.headers["X-Linked-ETag"] = f'"{tag}"'
        return name, reply

    server.api.answer = tagged
    with pytest.raises(HubError, match="no plain name"):
        resolve("tester/tiny")
    assert not [p for p in (tmp_path / "home").rglob("*") if "evil" in p.name]
    assert not list(cache.rglob("blobs/*"))


def test_a_commit_that_is_a_path_writes_nothing(client, server, model_folder):
    push_folder(model_folder, "tester/tiny")
    client.fresh_cache("empty")
    real = server.api.answer

    def elsewhere(call: Call):
        name, reply = real(call)
        if call.method == "HEAD":
            reply.headers["X-Repo-Commit"] = "../../../../evil"
        return name, reply

    server.api.answer = elsewhere
    with pytest.raises(HubError, match="no plain name"):
        resolve("tester/tiny")


def test_a_file_is_held_against_the_tree_not_against_its_tag(client, server, model_folder):
    """A tag that is no hash was never compared."""
    push_folder(model_folder, "tester/tiny")
    client.fresh_cache("empty")
    real = server.api.answer

    def other(call: Call):
        name, reply = real(call)
        if call.path.endswith("training.json"):
            reply.headers["ETag"] = '"some-tag"'
            reply.body = reply.body.replace(b"0", b"7")
        return name, reply

    server.api.answer = other
    with pytest.raises(HubError, match=r"training\.json of 'tester/tiny' arrived damaged"):
        resolve("tester/tiny")
    server.api.answer = real
    assert json.loads((resolve("tester/tiny") / "training.json").read_text())["seeds"] == [0]


def test_what_a_killed_pull_left_is_checked(client, server, model_folder):
    """The blob lies under its right name, but nobody had compared it."""
    push_folder(model_folder, "tester/tiny")
    blob = (resolve("tester/tiny") / "model.safetensors").resolve()
    content = blob.read_bytes()
    cache = client.fresh_cache("second")
    left = cache / "models--tester--tiny" / "blobs" / blob.name
    left.parent.mkdir(parents=True)
    left.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(HubError, match=r"model\.safetensors of 'tester/tiny' arrived damaged"):
        resolve("tester/tiny")
    assert (resolve("tester/tiny") / "model.safetensors").read_bytes() == content


def test_a_copy_that_another_program_fetched_is_checked_offline(client, server, model_folder):
    from huggingface_hub import snapshot_download

    push_folder(model_folder, "tester/tiny")
    folder = Path(snapshot_download("tester/tiny"))
    assert resolve("tester/tiny", local_files_only=True) == folder
    blob = (folder / "training.json").resolve()
    blob.write_bytes(blob.read_bytes().replace(b"0", b"7"))
    with pytest.raises(HubError, match=r"training\.json .* is damaged in the cache"):
        resolve("tester/tiny", local_files_only=True)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_usable_copy_stands_in_with_a_warning(client, server, model_folder, status):
    push_folder(model_folder, "tester/tiny")
    folder = resolve("tester/tiny")
    server.stranger = answer(INFO, Reply(status))
    with pytest.warns(SfmWarning, match=rf"{status}.*the copy of commit {folder.name[:8]}"):
        assert resolve("tester/tiny") == folder
    with pytest.raises(HubError):
        resolve("tester/tiny", force_download=True)


def test_a_refusal_is_no_reason_for_the_copy(client, server, model_folder):
    push_folder(model_folder, "tester/tiny")
    resolve("tester/tiny")
    with pytest.raises(HubError, match="401"):
        resolve("tester/tiny", token="hf_wrong")


def test_a_read_only_cache_while_main_moved(client, server, model_folder, tmp_path):
    """Its copy of the old commit is used; a new one could not be stored."""
    push_folder(model_folder, "tester/tiny")
    old = resolve("tester/tiny")
    (model_folder / "training.json").write_text('{"seeds": [1]}')
    push_folder(model_folder, "tester/tiny")
    place = tmp_path / "read-only"
    place.mkdir()
    mounted = subprocess.run(["mount", "--bind", str(client.home / "cache"), str(place)])
    if os.geteuid() != 0 or mounted.returncode:
        pytest.skip("cannot mount a file system here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
        with pytest.warns(SfmWarning, match=r"Read-only file system.*copy of commit"):
            folder = resolve("tester/tiny", cache_dir=place)
        assert folder.name == old.name
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_one_line(client, model_folder, tmp_path):
    """In the cache, and in the folder of a copy; what is there stays whole."""
    push_folder(model_folder, "tester/tiny")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("cannot mount a file system here")
    try:
        with pytest.raises(SfmError, match="No space left on device") as caught:
            resolve("tester/tiny", cache_dir=disk / "cache")
        assert "\n" not in str(caught.value)
        if int(huggingface_hub.__version__.partition(".")[0]) >= 2:  # older ones keep it, to resume
            assert not list(disk.rglob("*.incomplete*"))
        subprocess.run(["rm", "-r", str(disk / "cache")], check=True)
        (disk / "copy").mkdir()
        (disk / "copy" / "model.safetensors").write_text("old")
        with pytest.raises(SfmError, match="No space left on device"):
            pull("tester/tiny", folder=disk / "copy", force_download=True)
        assert [p.name for p in (disk / "copy").iterdir()] == ["model.safetensors"]
        assert (disk / "copy" / "model.safetensors").read_text() == "old"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_places_and_tokens_that_cannot_be(server, model_folder, tmp_path, client):
    push_folder(model_folder, "tester/tiny")
    file = tmp_path / "file"
    file.write_text("")
    env = server.environment(tmp_path / "fresh")
    cases = [
        (("pull", "tester/tiny"), {"HF_HUB_CACHE": str(file)}, (2, 4), "cannot be used"),
        (("pull", "tester/tiny"), {"HF_HUB_CACHE": "/proc/no"}, (2, 4), "cannot be used"),
        (("pull", "tester/tiny", "--out", str(file)), {}, (2,), "is a file; name a folder"),
        (("pull", "tester/tiny", "--out", str(file / "in")), {}, (2,), "cannot be used"),
        (("pull", "tester/tiny"), {"HF_TOKEN": "hf_ü€"}, (4,), "token (HF_TOKEN)"),
        (("push", str(model_folder), "tester/x"), {"HF_TOKEN": "hf_ü€"}, (4,), "token (HF_TOKEN)"),
        (("models", "--remote"), {"HF_TOKEN": "hf_ü€"}, (4,), "token (HF_TOKEN)"),
        (("pull", "tester/tiny@../../x"), {}, (2,), "not the name of a branch"),
    ]
    for words, changes, codes, said in cases:
        done = sfm(*words, env={**env, **changes})
        lines = done.stderr.strip().splitlines()
        assert done.returncode in codes, (words, changes, done.stderr)
        assert len(lines) == 1, done.stderr
        assert said in lines[0]
        assert "unexpected" not in lines[0]


def test_a_pull_over_another_model_leaves_none_of_its_weights(client, model_folder, tmp_path):
    push_folder(model_folder, "tester/tiny")
    target = tmp_path / "copy"
    target.mkdir()
    (target / "model.safetensors.index.json").write_text('{"weight_map": {"w": "old.safetensors"}}')
    (target / "old.safetensors").write_text("old")
    (target / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        pull("tester/tiny", folder=target)
    pull("tester/tiny", folder=target, force_download=True)
    assert not list(target.glob("*index*"))
    assert not (target / "old.safetensors").exists()
    assert (target / "mine.txt").read_text() == "mine"


def test_a_link_out_of_the_folder_is_not_published(client, server, model_folder, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_text('{"password": 1}')
    (model_folder / "extra.json").symlink_to(secret)
    with pytest.raises(HubError, match=r"extra\.json is a link out of the folder"):
        push_folder(model_folder, "tester/tiny")
    assert server.requests == []
    (model_folder / "extra.json").unlink()
    (model_folder / "same.json").symlink_to("training.json")
    assert model_folder / "same.json" in repo_files(model_folder)


def test_hostile_rows_of_a_listing(client, server: HubServer):
    hostile = [{"id": "evil\x1b[2J/x", "tags": ["sfm"], "sha": None}, {"id": "a/b", "tags": None}]
    server.stranger = answer("/api/models", Reply.json(hostile))
    rows = [row for row in list_models(remote=True) if row.where == "hub"]
    assert [row.name for row in rows] == ["evil\x1b[2J/x", "a/b"]
