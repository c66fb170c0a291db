"""The calls of the Hub's protocol, as the client of huggingface_hub 2.4 makes them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs

from sfm.testing.hub_api import Call, HubApi, Reply, card_head, route
from sfm.testing.hub_store import Commit, Entry, HubFault, wants_lfs

_ID = r"(?P<id>[^/]+/[^/]+)"
_API = rf"/api/(?P<kind>models|datasets|spaces)/{_ID}"
_GIT = rf"/(?:(?P<kind>datasets|spaces)/)?{_ID}"


class HubRoutes(HubApi):
    """All routes."""

    # -- account and listing ----------------------------------------------------------------
    @route("GET", "/api/whoami-v2")
    def whoami(self, call: Call) -> Reply:
        if call.user is None:
            raise HubFault(401, "Invalid username or password.")
        user = call.user
        token = {"type": "access_token", "accessToken": {"displayName": "local", "role": user.role}}
        orgs = [{"type": "org", "name": name} for name in user.organisations]
        return Reply.json({"type": "user", "name": user.name, "orgs": orgs, "auth": token})

    @route("POST", "/api/validate-yaml")
    def validate_yaml(self, call: Call) -> Reply:
        try:
            card_head(str(call.json.get("content", "")))
        except ValueError as error:
            body = {
                "errors": [{"message": f"Invalid metadata in README.md: {error}"}],
                "warnings": [],
            }
            raise HubFault(400, f"Invalid metadata in README.md: {error}", body=body) from None
        return Reply.json({"errors": [], "warnings": []})

    @route("GET", r"/api/(?P<kind>models|datasets|spaces)")
    def list_repositories(self, call: Call) -> Reply:
        asked = set(call.query.get("filter", []))
        author, search = call.query.get("author", [None])[0], call.query.get("search", [""])[0]
        rows = []
        for (kind, repo_id), repo in self.store.repositories.items():
            visible = not repo.private or (call.user and call.user.owns(repo.namespace))
            if kind != call.kind or not visible:
                continue
            info = self._info(repo, repo.commit("main"), blobs=False)
            matches = asked <= set(info["tags"]) and search.lower() in repo_id.lower()
            if matches and author in (None, repo.namespace):
                if not call.flag("full"):
                    info.pop("siblings")
                rows.append(info)
        if call.query.get("sort", [""])[0] == "lastModified":
            rows.sort(key=lambda row: row["lastModified"], reverse=True)
        limit = int(call.query.get("limit", [str(len(rows) or 1)])[0])
        return Reply.json(rows[:limit])

    # -- repositories -----------------------------------------------------------------------
    @route("POST", "/api/repos/create")
    def create_repo(self, call: Call) -> Reply:
        data, kind = call.json, call.json.get("type") or "model"
        namespace = data.get("organization") or (call.user.name if call.user else "?")
        user = self._check_write(call.user, namespace, f"create a {kind} under {namespace!r}")
        repo_id = f"{namespace}/{data['name']}"
        answer = {"url": self._page(kind, repo_id), "name": repo_id, "id": repo_id}
        with self.store.lock:
            if self.store.find(kind, repo_id) is not None:
                text = f"You already created this {kind} repo: {repo_id}"
                raise HubFault(409, text, body={**answer, "error": text})
            private = data.get("visibility") == "private" or bool(data.get("private"))
            self.store.create(kind, repo_id, private=private, author=user.name)
        return Reply.json(answer)

    @route("DELETE", "/api/repos/delete")
    def delete_repo(self, call: Call) -> Reply:
        data, kind = call.json, call.json.get("type") or "model"
        namespace = data.get("organization") or (call.user.name if call.user else "?")
        self._check_write(call.user, namespace, f"delete in {namespace!r}")
        with self.store.lock:
            if self.store.repositories.pop((kind, f"{namespace}/{data['name']}"), None) is None:
                raise HubFault(404, "Repository not found", "RepoNotFound")
            self.store.save()
        return Reply.json({"ok": True})

    @route("PUT", rf"{_API}/settings")
    def settings(self, call: Call) -> Reply:
        repo, data = self._writable(call), call.json
        if "visibility" in data:
            repo.private = data["visibility"] == "private"
        repo.private = bool(data.get("private", repo.private))
        repo.gated = bool(data.get("gated", repo.gated))
        self.store.save()
        return Reply.json({"private": repo.private, "gated": repo.gated})

    @route("GET", rf"{_API}(?:/revision/(?P<rev>[^/]+))?")
    def repo_info(self, call: Call) -> Reply:
        repo = self._repo(call)
        revision = call.word("rev") if "rev" in call.groups else "main"
        return Reply.json(self._info(repo, repo.commit(revision), blobs=call.flag("blobs")))

    @route("GET", rf"{_API}/refs")
    def list_refs(self, call: Call) -> Reply:
        repo = self._repo(call)

        def rows(table: dict[str, str], prefix: str) -> list[dict[str, str]]:
            return [
                {"name": name, "ref": prefix + name, "targetCommit": oid}
                for name, oid in table.items()
            ]

        return Reply.json(
            {
                "branches": rows(repo.branches, "refs/heads/"),
                "tags": rows(repo.tags, "refs/tags/"),
                "converts": [],
                "pullRequests": rows(repo.pull_requests, ""),
            }
        )

    @route("GET", rf"{_API}/commits/(?P<rev>[^/]+)")
    def list_commits(self, call: Call) -> Reply:
        repo = self._repo(call)
        rows, oid = [], repo.commit(call.word("rev")).oid
        current: Commit | None = repo.commits[oid]
        while current is not None:
            rows.append(
                {
                    "id": current.oid,
                    "title": current.title,
                    "message": current.message,
                    "date": current.date,
                    "authors": [{"user": current.author}],
                }
            )
            current = repo.commits[current.parent] if current.parent else None
        return Reply.json(rows)

    @route("POST", rf"{_API}/branch/(?P<name>[^/]+)")
    def create_branch(self, call: Call) -> Reply:
        repo, name = self._writable(call), call.word("name")
        if name in repo.branches:
            raise HubFault(409, f"Reference already exists: {name}")
        self.store.branch(repo, name, repo.commit(call.json.get("startingPoint") or "main").oid)
        return Reply.json({"ok": True})

    @route("POST", rf"{_API}/tag/(?P<rev>[^/]+)")
    def create_tag(self, call: Call) -> Reply:
        repo, name = self._writable(call), str(call.json["tag"])
        if name in repo.tags:
            raise HubFault(409, f"Tag reference exists already: {name}")
        repo.tags[name] = repo.commit(call.word("rev")).oid
        self.store.save()
        return Reply.json({"ok": True})

    @route("DELETE", rf"{_API}/(?P<what>branch|tag)/(?P<name>[^/]+)")
    def delete_ref(self, call: Call) -> Reply:
        repo = self._writable(call)
        table = repo.branches if call.groups["what"] == "branch" else repo.tags
        if table.pop(call.word("name"), None) is None:
            raise HubFault(404, f"Invalid rev id: {call.word('name')}", "RevisionNotFound")
        self.store.save()
        return Reply.json({"ok": True})

    # -- reading files ----------------------------------------------------------------------
    @route("GET", rf"{_API}/tree/(?P<rev>[^/]+)(?:/(?P<path>.+))?")
    def list_tree(self, call: Call) -> Reply:
        commit = self._repo(call).commit(call.word("rev"))
        prefix = call.word("path").rstrip("/") + "/" if "path" in call.groups else ""
        rows = list(tree(commit, prefix, recursive=call.flag("recursive")))
        if prefix and not rows:
            raise HubFault(404, f"{prefix} does not exist on this revision", "EntryNotFound")
        start = int(call.query.get("cursor", ["0"])[0])
        headers = {}
        if start + self.page_size < len(rows):
            more = "recursive=True&" if call.flag("recursive") else ""
            url = f"{self.url}{call.path}?{more}cursor={start + self.page_size}"
            headers["Link"] = f'<{url}>; rel="next"'
        return Reply.json(rows[start : start + self.page_size], headers=headers)

    @route("POST", rf"{_API}/paths-info/(?P<rev>[^/]+)")
    def paths_info(self, call: Call) -> Reply:
        commit = self._repo(call).commit(call.word("rev"))
        if "json" in call.headers.get("content-type", ""):
            paths = call.json.get("paths", [])
        else:
            paths = parse_qs(call.body.decode()).get("paths", [])
        rows = []
        for path in paths:
            if path in commit.files:
                rows.append(describe(path, commit.files[path]))
            elif any(name.startswith(path.rstrip("/") + "/") for name in commit.files):
                rows.append({"type": "directory", "path": path, "size": 0, "oid": commit.oid})
        return Reply.json(rows)

    @route("HEAD", rf"{_GIT}/resolve/(?P<rev>[^/]+)/(?P<path>.+)")
    def resolve_head(self, call: Call) -> Reply:
        return self._resolve(call)

    @route("GET", rf"{_GIT}/resolve/(?P<rev>[^/]+)/(?P<path>.+)")
    def resolve_get(self, call: Call) -> Reply:
        return self._resolve(call)

    def _resolve(self, call: Call) -> Reply:
        repo, path = self._repo(call), call.word("path")
        self._check_gate(call, repo)
        commit = repo.commit(call.word("rev"))
        headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        entry = commit.files.get(path)
        if entry is None:
            raise HubFault(404, f"Entry not found: {path}", "EntryNotFound", headers)
        headers["ETag"] = f'"{entry.etag}"'
        if not entry.lfs:
            return self._bytes(call, entry.key, headers)
        headers["X-Linked-ETag"], headers["X-Linked-Size"] = f'"{entry.key}"', str(entry.size)
        headers["Location"] = self._storage_link("get", entry.key)
        return Reply(302, b"", headers)

    def _bytes(self, call: Call, key: str, headers: dict[str, str]) -> Reply:
        data = self.damaged.get(key, self.store.blobs[key])
        headers = {**headers, "Content-Type": "application/octet-stream"}
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", call.headers.get("range", ""))
        if match is None:
            return Reply(200, data, headers)
        first, last = int(match[1]), int(match[2] or len(data) - 1)
        if first >= len(data):
            raise HubFault(
                416, "range not satisfiable", None, {"Content-Range": f"bytes */{len(data)}"}
            )
        last = min(last, len(data) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return Reply(206, data[first : last + 1], headers)

    # -- writing files ----------------------------------------------------------------------
    @route("POST", rf"{_API}/preupload/(?P<rev>[^/]+)")
    def preupload(self, call: Call) -> Reply:
        repo = self._writable(call)
        files = repo.commit(call.word("rev")).files
        rows = []
        for item in call.json["files"]:
            lfs = wants_lfs(item["path"], item["size"], base64.b64decode(item.get("sample", "")))
            row = {
                "path": item["path"],
                "uploadMode": "lfs" if lfs else "regular",
                "shouldIgnore": False,
            }
            if item["path"] in files:
                row["oid"] = files[item["path"]].etag
            rows.append(row)
        return Reply.json({"files": rows})

    @route("POST", rf"{_GIT}\.git/info/lfs/objects/batch")
    def lfs_batch(self, call: Call) -> Reply:
        self._writable(call)
        rows = []
        for item in call.json["objects"]:
            row: dict[str, Any] = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.store.blobs:
                row["actions"] = self._upload_actions(call.path, item["oid"], item["size"])
            rows.append(row)
        return Reply.json({"transfer": "basic", "objects": rows})

    def _upload_actions(self, path: str, oid: str, size: int) -> dict[str, Any]:
        upload: dict[str, Any] = {"href": self._storage_link("put", oid)}
        if self.multipart_above is not None and size > self.multipart_above:
            count = -(-size // self.multipart_above)
            header = {str(i + 1): self._storage_link("part", oid, i + 1) for i in range(count)}
            header["chunk_size"] = str(self.multipart_above)
            upload = {"href": self._storage_link("complete", oid), "header": header}
        verify = f"{self.url}{path.removesuffix('/objects/batch')}/verify"
        return {"upload": upload, "verify": {"href": verify}}

    @route("POST", rf"{_GIT}\.git/info/lfs/verify")
    def lfs_verify(self, call: Call) -> Reply:
        self._writable(call)
        data = self.store.blobs.get(call.json["oid"])
        if data is None or len(data) != call.json["size"]:
            raise HubFault(404, f"LFS object {call.json['oid']} was not uploaded")
        return Reply.json({"ok": True})

    @route("POST", rf"{_API}/commit/(?P<rev>[^/]+)")
    def commit(self, call: Call) -> Reply:
        repo, revision = self._writable(call), call.word("rev")
        files = dict(repo.commit(revision).files)
        head: dict[str, Any] = {}
        for line in call.body.splitlines():
            if line.strip():
                item = json.loads(line)
                self._operation(item["key"], item["value"], files, head)
        written, ref = self.store.change(
            repo,
            revision,
            files,
            title=head.get("summary", ""),
            message=head.get("description", ""),
            author=call.user.name if call.user else "",
            expected_parent=head.get("parentCommit"),
            pull_request=call.flag("create_pr"),
        )
        page = self._page(repo.kind, repo.id)
        answer = {
            "success": True,
            "commitOid": written.oid,
            "commitUrl": f"{page}/commit/{written.oid}",
        }
        if ref is not None:
            answer["pullRequestUrl"] = f"{page}/discussions/{ref.rsplit('/', 1)[1]}"
        return Reply.json(answer)

    def _operation(
        self, key: str, value: dict[str, Any], files: dict[str, Entry], head: dict[str, Any]
    ) -> None:
        """Apply one line of the commit to the table of files."""
        if key == "header":
            head.update(value)
        elif key == "file":
            data = value["content"]
            raw = base64.b64decode(data) if value.get("encoding") == "base64" else data.encode()
            files[value["path"]] = self.store.entry(raw, lfs=False)
        elif key == "lfsFile":
            blob = self.store.blobs.get(value["oid"])
            if blob is None:
                raise HubFault(
                    400, f"LFS object {value['oid']} of {value['path']} was not uploaded"
                )
            files[value["path"]] = self.store.entry(blob, lfs=True)
        elif key == "deletedFile":
            if files.pop(value["path"], None) is None:
                raise HubFault(404, "A file with this name doesn't exist", "EntryNotFound")
        elif key == "deletedFolder":
            folder = value["path"].rstrip("/") + "/"
            for path in [path for path in files if path.startswith(folder)]:
                del files[path]
        else:
            raise HubFault(400, f"unknown operation {key!r}")

    # -- storage: another origin, signed links, no token ------------------------------------
    def _check_signature(self, call: Call, action: str) -> tuple[str, int]:
        key, part = call.groups["key"], int(call.groups["part"])
        if "authorization" in call.headers:
            raise HubFault(400, "a token was sent to the storage host: clients must not do that")
        given = call.query.get("signature", [""])[0]
        if not hmac.compare_digest(given, self._sign(action, key, part)):
            raise HubFault(403, "the signature of this link is wrong")
        return key, part

    @route("GET", r"/_storage/get/(?P<key>[0-9a-f]{64})/(?P<part>\d+)")
    def storage_get(self, call: Call) -> Reply:
        key, _ = self._check_signature(call, "get")
        return self._bytes(call, key, {"ETag": f'"{key}"'})

    @route("PUT", r"/_storage/put/(?P<key>[0-9a-f]{64})/(?P<part>\d+)")
    def storage_put(self, call: Call) -> Reply:
        key, _ = self._check_signature(call, "put")
        self._keep(key, call.body)
        return Reply(200, b"", {"ETag": f'"{key}"'})

    @route("PUT", r"/_storage/part/(?P<key>[0-9a-f]{64})/(?P<part>\d+)")
    def storage_part(self, call: Call) -> Reply:
        key, part = self._check_signature(call, "part")
        self.parts[key, part] = call.body
        return Reply(200, b"", {"ETag": f'"{hashlib.sha256(call.body).hexdigest()[:32]}"'})

    @route("POST", r"/_storage/complete/(?P<key>[0-9a-f]{64})/(?P<part>\d+)")
    def storage_complete(self, call: Call) -> Reply:
        key, _ = self._check_signature(call, "complete")
        numbers = [item["partNumber"] for item in call.json["parts"]]
        self._keep(key, b"".join(self.parts.pop((key, number)) for number in numbers))
        return Reply.json({"ok": True})

    def _keep(self, key: str, data: bytes) -> None:
        if hashlib.sha256(data).hexdigest() != key:
            raise HubFault(400, "the bytes received do not have the announced sha256")
        self.store.put(data)


def describe(path: str, entry: Entry) -> dict[str, Any]:
    """A file as the Hub lists it."""
    row: dict[str, Any] = {"type": "file", "path": path, "size": entry.size, "oid": entry.oid}
    if entry.lfs:
        row["lfs"] = {"oid": entry.key, "size": entry.size, "pointerSize": 134}
    return row


def tree(commit: Commit, prefix: str, *, recursive: bool) -> Iterable[dict[str, Any]]:
    """Files under `prefix`, and the folders directly in it (all folders when recursive)."""
    folders: set[str] = set()
    for path, entry in sorted(commit.files.items()):
        if not path.startswith(prefix):
            continue
        parents = path[len(prefix) :].split("/")[:-1]
        names = [prefix + "/".join(parents[: i + 1]) for i in range(len(parents))]
        for name in names if recursive else names[:1]:
            if name not in folders:
                folders.add(name)
                oid = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
                yield {"type": "directory", "path": name, "size": 0, "oid": oid}
        if recursive or not parents:
            yield describe(path, entry)
