"""What the page of `sfm serve` costs: CPU time of its server by kind of call, and fifty clients.

    python benchmarks/page.py               # prints a table; needs the extra `serve`, Linux

CPU time, so that other work on the machine does not count. A prediction stands beside the same one
in this process, without a server.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

FILES = (
    "", "page.css", "page.js", "api.js", "dom.js", "predict.js", "draw.js", "molecule.js",
    "features.js", "neighbours.js", "picture.js", "icon.svg", "3Dmol-min.js", "api/about",
    "api/models",
)  # fmt: skip
MOLECULES = {"ethanol": "CCO", "aspirin": "CC(=O)Oc1ccccc1C(=O)O"}
CALLS, CLIENTS, SECONDS = 20, 50, 60.0
TICK, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


def family(pid: int) -> list[Path]:
    """/proc folders of a process and its descendants."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    members, before = {pid}, 0
    while len(members) > before:
        before = len(members)
        members |= {child for child, parent in parents.items() if parent in members}
    return [Path("/proc") / str(member) for member in members]


def cpu(pid: int) -> float:
    """CPU seconds that the server and its working processes have used."""
    fields = [(p / "stat").read_text().rpartition(")")[2].split() for p in family(pid)]
    return sum(int(f[11]) + int(f[12]) for f in fields) / TICK


def resident(pid: int) -> float:
    """Their memory, MiB."""
    return sum(int((p / "statm").read_text().split()[1]) for p in family(pid)) * PAGE / 2**20


def ask(address: str, what: str, body: bytes | None = None) -> int:
    """Bytes of one answer."""
    request = urllib.request.Request(f"{address}{what}", data=body)
    with urllib.request.urlopen(request, timeout=600) as answer:
        return len(answer.read())


def predict(address: str, smiles: str) -> int:
    """Bytes of a prediction of all quantities at all levels."""
    return ask(address, "api/predict?model=sfm-tiny&name=molecules.smi", smiles.encode())


def load_page(address: str) -> int:
    """Bytes of all that a browser asks for when it opens the page with nothing kept."""
    return sum(ask(address, name) for name in FILES)


def per_call(pid: int, call: Callable[..., int], *arguments: str) -> tuple[float, int]:
    """CPU milliseconds of the server and bytes of one call, of `CALLS`."""
    call(*arguments)
    before = cpu(pid)
    size = [call(*arguments) for _ in range(CALLS)][-1]
    return 1e3 * (cpu(pid) - before) / CALLS, size


def alone(smiles: str) -> float:
    """CPU milliseconds of the same prediction in this process."""
    import sfm

    model = sfm.load("sfm-tiny")
    model.predict(smiles)
    before = time.process_time()
    for _ in range(CALLS):
        model.predict(smiles)
    return 1e3 * (time.process_time() - before) / CALLS


def crowd(address: str, pid: int) -> str:
    """A minute of fifty clients, every fifth call a prediction."""
    counts: Counter[str] = Counter()
    sizes: list[float] = []
    end = time.monotonic() + SECONDS
    started = cpu(pid)

    def client(turn: int) -> None:
        while time.monotonic() < end:
            kind = "predictions" if turn % 5 == 0 else "pages"
            try:
                if turn % 5 == 0:
                    predict(address, "CCO")
                else:
                    ask(address, FILES[turn % len(FILES)])
            except OSError:
                kind = "errors"
            counts[kind] += 1
            turn += 1

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        time.sleep(SECONDS / 12)
        sizes.append(resident(pid))
    for thread in threads:
        thread.join()
    return (
        f"{CLIENTS} clients for {SECONDS:.0f} s: {counts['pages']} files and "
        f"{counts['predictions']} predictions, {counts['errors']} errors; {sizes[2]:.0f} MiB "
        f"after a quarter and {sizes[-1]:.0f} at the end, {cpu(pid) - started:.0f} CPU s"
    )


def main() -> None:
    """Measure and print."""
    words = [sys.executable, "-m", "sfm", "serve", "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        address = server.stdout.readline().strip()
        predict(address, "CCO")
        print(f"start to the first prediction: {cpu(server.pid):.1f} CPU s", flush=True)
        spent, size = per_call(server.pid, load_page, address)
        print(f"page load, {len(FILES)} files: {spent:.0f} CPU ms, {size / 1e6:.2f} MB", flush=True)
        for name, smiles in MOLECULES.items():
            spent, size = per_call(server.pid, predict, address, smiles)
            plain = alone(smiles)
            text = f"predict {name}: {spent:.0f} CPU ms, {size / 1e3:.0f} kB"
            print(f"{text}; without a server {plain:.0f} CPU ms", flush=True)
        print(crowd(address, server.pid), flush=True)
    finally:
        server.terminate()
        server.wait(60)


if __name__ == "__main__":
    main()
