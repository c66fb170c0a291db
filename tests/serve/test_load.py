"""Fifty clients for a minute: no error, and memory stays flat."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from importlib import import_module
from urllib.parse import quote

import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")

CLIENTS, SECONDS, GROWTH = 50, 60.0, 1.15
PAGES = ("", "page.js", "api/about", "api/models", "api/simulators", "api/plugins")
MOLECULES = ("CCO", "c1ccccc1", "CC(=O)N", "O")


@pytest.fixture
def server(tmp_path):
    command = [sys.executable, "-m", "sfm", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout is not None
    yield process.stdout.readline().strip(), process.pid
    process.terminate()
    process.wait(60)
    process.stdout.close()


def ask(address: str, what: str, body: bytes | None = None) -> int:
    request = urllib.request.Request(f"{address}{what}", data=body)
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as error:
        error.read()
        return error.code


def predict(address: str, smiles: str) -> int:
    return ask(
        address, f"api/predict?model=sfm-tiny&name={quote('molecules.smi')}", smiles.encode()
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.usefixtures("benchmarks")
def test_fifty_clients_for_a_minute(server):
    resident = import_module("page").resident  # MiB of a process and its descendants
    address, pid = server
    for name in MOLECULES:  # whatever is loaded or compiled once
        assert predict(address, name) == 200
    for page in PAGES:
        assert ask(address, page) == 200
    counts: Counter = Counter()
    sizes: list[float] = []
    end = time.monotonic() + SECONDS

    def client(number: int) -> None:
        turn = number
        while time.monotonic() < end:
            if turn % 5 == 0:
                counts["predict", predict(address, MOLECULES[turn % len(MOLECULES)])] += 1
            else:
                counts["page", ask(address, PAGES[turn % len(PAGES)])] += 1
            turn += 1

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        time.sleep(SECONDS / 12)
        sizes.append(resident(pid))
    for thread in threads:
        thread.join()
    print(json.dumps({f"{kind} {status}": n for (kind, status), n in sorted(counts.items())}))
    print(f"{sizes[2]:.0f} MiB after a quarter, {sizes[-1]:.0f} at the end")
    assert {status for _, status in counts} == {200}
    assert counts["page", 200] > CLIENTS
    assert counts["predict", 200] > 4
    assert sizes[-1] < GROWTH * sizes[2]
