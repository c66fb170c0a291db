"""Answers that never end, or drip, are cut; other users of the client are left alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sfm.errors import HubError
from sfm.hub import client as hub_client
from sfm.hub import push_folder
from sfm.hub.client import bounded
from sfm.hub.errors import HubUnavailable, hub_errors
from sfm.hub.resolve import resolve

COMMIT = "1" * 40


class Endless(BaseHTTPRequestHandler):
    """`/short` ends, `/drip` is slow, the tree of a repository and `/forever` never end."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._endless()

    def do_GET(self) -> None:
        if "/tree/" not in self.path and "/api/" in self.path:
            return self._answer(b'{"id": "a/b", "sha": "%s"}' % COMMIT.encode())
        if self.path == "/short":
            return self._answer(b"x" * 1000)
        self._endless()

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while not self.server.stopped.wait(0.02 if self.path == "/drip" else 0):
                data = b"x" if self.path == "/drip" else b" " * 65536
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        except OSError:  # the client has gone
            self.close_connection = True

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endless() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    server.daemon_threads = True
    server.stopped = threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.stopped.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_never_ends_is_cut(endless):
    from huggingface_hub.utils import get_session

    with hub_errors("a/b"), bounded(2000):
        assert len(get_session().get(f"{endless}/short").content) == 1000
    with pytest.raises(HubUnavailable, match="beyond the 2000 bytes"), hub_errors("a/b"):  # noqa: SIM117
        with bounded(2000):
            get_session().get(f"{endless}/forever")
    with pytest.raises(HubUnavailable, match="not complete after 1 s"), hub_errors("a/b"):  # noqa: SIM117
        with bounded(2000, seconds=0.6):
            get_session().get(f"{endless}/drip")
    with bounded(10):
        pass
    assert len(get_session().get(f"{endless}/short").content) == 1000  # not ours: not bounded


def test_a_listing_that_never_ends_is_one_line(endless, client, monkeypatch):
    client.point_at(endless)
    monkeypatch.setattr(hub_client, "LARGEST", 1_000_000)
    with pytest.raises(HubError, match="beyond the 1000000 bytes"):
        resolve("a/b")


def test_nor_may_an_answer_to_a_publication(endless, client, monkeypatch, model_folder):
    client.point_at(endless)
    monkeypatch.setattr(hub_client, "LARGEST", 1_000_000)
    with pytest.raises(HubError, match="beyond the 1000000 bytes"):
        push_folder(model_folder, "a/b", token="hf_x")
