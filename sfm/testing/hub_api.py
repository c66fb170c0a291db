"""The Hub's protocol as functions from a request to a reply. No sockets here.

Each route is a method of `HubRoutes` under a `@route(method, pattern)`; the pattern is matched on
the path before it is unquoted, because a revision such as `refs/pr/1` travels as `refs%2Fpr%2F1`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from sfm.testing.hub_store import Commit, HubFault, HubStore, Repository

_KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}


@dataclass
class User:
    """Who a token belongs to."""

    name: str
    role: str = "write"
    organisations: tuple[str, ...] = ()

    def owns(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.organisations


@dataclass
class Call:
    """One request, as a route sees it. `path` is still quoted."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    user: User | None = None
    groups: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> dict[str, Any]:
        try:
            data = json.loads(self.body or b"{}")
        except ValueError as error:
            raise HubFault(400, f"the body is not JSON: {error}") from None
        if not isinstance(data, dict):
            raise HubFault(400, "the body is not a JSON object")
        return data

    @property
    def kind(self) -> str:
        return _KINDS[self.groups.get("kind") or "models"]

    def word(self, name: str) -> str:
        return unquote(self.groups[name])

    def flag(self, name: str) -> bool:
        return self.query.get(name, ["0"])[0].lower() in ("1", "true")


@dataclass
class Reply:
    """One answer.

    Attributes:
        cut: send only so many bytes of the body and hang up.
        delay: seconds of silence before the body.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    delay: float = 0.0

    @classmethod
    def json(cls, data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
        return cls(
            status,
            json.dumps(data).encode(),
            {"Content-Type": "application/json", **(headers or {})},
        )


Handler = Callable[[Any, Call], Reply]
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []


def route(method: str, pattern: str) -> Callable[[Handler], Handler]:
    """Decorator: the function answers this method on paths of this pattern."""

    def add(handler: Handler) -> Handler:
        ROUTES.append((method, re.compile(pattern + r"/?\Z"), handler))
        return handler

    return add


class HubApi:
    """Dispatch, accounts and rights; the routes are in `hub_routes`.

    `tokens` maps a bearer token to its user, `damaged` a blob to what is sent instead of it.
    """

    def __init__(
        self, store: HubStore, *, url: str, storage_url: str, multipart_above: int | None
    ) -> None:
        self.store = store
        self.url, self.storage_url = url, storage_url
        self.multipart_above = multipart_above
        self.page_size = 1000
        self.tokens: dict[str, User] = {}
        self.parts: dict[tuple[str, int], bytes] = {}
        self.damaged: dict[str, bytes] = {}
        self._secret = secrets.token_bytes(16)

    def answer(self, call: Call) -> tuple[str, Reply]:
        """The route's name and its reply; a `HubFault` becomes a reply with its error headers."""
        name = "unknown"
        try:
            handler, name = self._match(call)
            if not call.path.startswith("/_storage/"):
                call.user = self._user(call.headers.get("authorization"))
            return name, handler(self, call)
        except HubFault as fault:
            headers = {"X-Error-Message": fault.message.splitlines()[0], **fault.headers}
            if fault.code is not None:
                headers["X-Error-Code"] = fault.code
            return name, Reply.json(fault.body, fault.status, headers)

    def _match(self, call: Call) -> tuple[Handler, str]:
        for method, pattern, handler in ROUTES:
            match = pattern.match(call.path)
            if match and method == call.method:
                call.groups = {k: v for k, v in match.groupdict().items() if v is not None}
                return handler, getattr(handler, "__name__", "route")
        raise HubFault(404, f"Sorry, we can't find the page: {call.method} {call.path}")

    # -- who may do what --------------------------------------------------------------------
    def _user(self, authorization: str | None) -> User | None:
        if authorization is None:
            return None
        user = self.tokens.get(authorization.removeprefix("Bearer ").strip())
        if user is None:
            raise HubFault(401, "Invalid credentials in Authorization header")
        return user

    def _repo(self, call: Call) -> Repository:
        """The repository of the path, if this user may see it (a private one looks absent)."""
        repo = self.store.find(call.kind, call.word("id"))
        hidden = (
            repo is not None
            and repo.private
            and not (call.user is not None and call.user.owns(repo.namespace))
        )
        if repo is None or hidden:
            raise HubFault(
                401 if call.user is None else 404, "Repository not found", "RepoNotFound"
            )
        return repo

    def _writable(self, call: Call) -> Repository:
        repo = self._repo(call)
        self._check_write(call.user, repo.namespace, f"write to {repo.id}")
        return repo

    def _check_write(self, user: User | None, namespace: str, action: str) -> User:
        if user is None:
            raise HubFault(401, f"You must be logged in to {action}")
        if user.role != "write" or not user.owns(namespace):
            raise HubFault(403, f"You don't have the rights to {action} (user {user.name})")
        return user

    def _check_gate(self, call: Call, repo: Repository) -> None:
        user = call.user
        if not repo.gated or (user and (user.owns(repo.namespace) or user.name in repo.allowed)):
            return
        text = (
            f"Access to {repo.kind} {repo.id} is restricted and you are not in the authorized list."
        )
        raise HubFault(401 if user is None else 403, text, "GatedRepo")

    # -- links and descriptions --------------------------------------------------------------
    def _storage_link(self, action: str, key: str, part: int = 0) -> str:
        signature = self._sign(action, key, part)
        return f"{self.storage_url}/_storage/{action}/{key}/{part}?signature={signature}"

    def _sign(self, action: str, key: str, part: int) -> str:
        text = f"{action} {key} {part}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:32]

    def _page(self, kind: str, repo_id: str) -> str:
        return f"{self.url}/{'' if kind == 'model' else kind + 's/'}{quote(repo_id)}"

    def _info(self, repo: Repository, commit: Commit, *, blobs: bool) -> dict[str, Any]:
        head = self._card(commit)
        siblings = []
        for path, entry in sorted(commit.files.items()):
            row: dict[str, Any] = {"rfilename": path}
            if blobs:
                row |= {"size": entry.size, "blobId": entry.oid}
                if entry.lfs:
                    row["lfs"] = {"sha256": entry.key, "size": entry.size, "pointerSize": 134}
            siblings.append(row)
        first = min(repo.commits.values(), key=lambda c: c.time)
        return {
            "_id": commit.oid[:24],
            "id": repo.id,
            "author": repo.namespace,
            "sha": commit.oid,
            "lastModified": commit.date,
            "createdAt": first.date,
            "private": repo.private,
            "gated": "manual" if repo.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": card_tags(head),
            "cardData": head,
            "siblings": siblings,
        } | (
            {"modelId": repo.id, "library_name": head.get("library_name")}
            if repo.kind == "model"
            else {}
        )

    def _card(self, commit: Commit) -> dict[str, Any]:
        entry = commit.files.get("README.md")
        if entry is None:
            return {}
        try:
            return card_head(self.store.blobs[entry.key].decode("utf-8", "replace"))
        except ValueError:
            return {}


def card_head(text: str) -> dict[str, Any]:
    """The YAML head of a README. Raises ValueError when it is not a YAML mapping."""
    match = re.match(r"\s*---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    if match is None:
        return {}
    import yaml

    try:
        head = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        raise ValueError(str(error).splitlines()[0]) from None
    if not isinstance(head, dict):
        raise ValueError("the head is not a mapping")
    plain: dict[str, Any] = json.loads(json.dumps(head, default=str))
    return plain


def card_tags(head: dict[str, Any]) -> list[str]:
    """The tags that the Hub derives from a card: its own, the library, licence, datasets, base."""

    def words(key: str) -> list[str]:
        value = head.get(key) or []
        return [str(v) for v in value] if isinstance(value, list) else [str(value)]

    tags = words("library_name") + words("tags")
    tags += [f"dataset:{name}" for name in words("datasets")]
    tags += [f"license:{name}" for name in words("license")]
    tags += [f"base_model:{name}" for name in words("base_model")]
    return list(dict.fromkeys(tags))
