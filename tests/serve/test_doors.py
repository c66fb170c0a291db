"""Who may call the page: hosts, origins, tokens, sizes. A bare application stands behind."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from sfm.serve.doors import COOKIE, Doors

HERE = "http://127.0.0.1:8321"


async def echo(request: Request) -> JSONResponse:
    return JSONResponse({"read": len(await request.body())})


def client(*, token: str | None = None, base: str = HERE) -> TestClient:
    routes = [Route("/api/echo", echo, methods=["GET", "POST"]), Route("/", echo)]
    app = Doors(Starlette(routes=routes), body=1000, token=token)
    return TestClient(app, base_url=base, follow_redirects=False)


@pytest.mark.parametrize("host", ["127.0.0.1:8321", "localhost", "[::1]:9", "LOCALHOST:1"])
def test_own_names_are_answered(host):
    assert client().get("/api/echo", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8321", ""])
def test_another_name_of_this_address_is_refused(host):  # DNS rebinding
    answer = client().get("/api/echo", headers={"host": host})
    assert answer.status_code == 421
    assert "answers to 127.0.0.1" in answer.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_a_page_of_another_site_is_refused(headers):
    for send in (client().get, client().post):
        answer = send("/api/echo", headers=headers)
        assert answer.status_code == 403
        assert "another site" in answer.json()["error"]


def test_the_page_itself_may_call_and_a_link_may_open_it():
    headers = {"origin": HERE, "sec-fetch-site": "same-origin"}
    assert client().post("/api/echo", headers=headers).status_code == 200
    assert client().get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200


def test_large_bodies_are_refused_before_and_while_they_are_read():
    assert client().post("/api/echo", content=b"x" * 1000).json() == {"read": 1000}
    stated = client().post("/api/echo", content=b"x" * 1001)
    unstated = client().post("/api/echo", content=iter([b"x" * 600, b"x" * 600]))
    for answer in (stated, unstated):
        assert answer.status_code == 413
        assert "0.001 MB" in answer.json()["error"]
    assert client().post("/api/echo", headers={"content-length": "-1"}).status_code == 400


def test_a_token_is_asked_for_and_becomes_a_cookie():
    door = client(token="secret", base="http://10.0.0.7")
    for headers in ({}, {"authorization": "Bearer wrong"}, {"cookie": f"{COOKIE}=secre"}):
        answer = door.get("/api/echo", headers=headers)
        assert answer.status_code == 401
        assert "sfm serve" in answer.json()["error"]
    assert door.get("/api/echo", headers={"authorization": "Bearer secret"}).status_code == 200
    first = door.get("/?token=secret&a=b")
    assert (first.status_code, first.headers["location"]) == (303, "/?a=b")
    assert "HttpOnly; SameSite=Strict" in first.headers["set-cookie"]
    assert door.get("/api/echo").status_code == 200  # the client kept it


def test_the_token_sends_nobody_elsewhere():
    first = client(token="secret").get(f"{HERE}//evil.example/?token=secret")
    assert first.headers["location"].startswith("/evil.example")


def test_every_answer_forbids_foreign_scripts_and_frames():
    for answer in (client().get("/"), client().get("/", headers={"host": "evil.example"})):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert json.loads(client().get("/").text) == {"read": 0}
