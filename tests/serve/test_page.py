"""`sfm serve` in a process of its own, called as a browser calls it; what it says is what the
command line and Python say."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")

import sfm

FLOW = {"simulator": "fluids/navier-stokes-2d", "values": {"grid": 16, "viscosity": 0.002}}


class Page:
    """A running `sfm serve`."""

    def __init__(self, process: subprocess.Popen, address: str) -> None:
        self.process, self.address = process, address

    def call(self, path: str, body: bytes | None = None, **query: object) -> tuple[int, object]:
        url = self.address + path + ("?" + urllib.parse.urlencode(query) if query else "")
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=900) as answer:
                status, raw = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, raw = error.code, error.read()
        with contextlib.suppress(ValueError):
            return status, json.loads(raw)
        return status, raw

    def predict(self, name: str, content: bytes, **query: object) -> tuple[int, dict]:
        return self.call("api/predict", content, **{"model": "sfm-tiny", "name": name, **query})

    def begin(self, **asked: object) -> str:
        request = urllib.request.Request(
            self.address + "api/runs",
            json.dumps(asked).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=900) as answer:
            return json.loads(answer.read())["key"]

    def events(self, key: str) -> Iterator[dict]:
        with urllib.request.urlopen(f"{self.address}api/runs/{key}/events", timeout=900) as stream:
            for line in stream:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

    def memory(self) -> int:
        """Resident bytes of the server and its working processes."""
        import psutil

        server = psutil.Process(self.process.pid)
        return sum(p.memory_info().rss for p in [server, *server.children(recursive=True)])


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("serve")
    process = subprocess.Popen(
        [sys.executable, "-m", "sfm", "serve", "--port", "0", "--seconds", "3000"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:"), address
    yield Page(process, address)
    process.terminate()
    assert process.wait(60) is not None
    process.stdout.close()


@pytest.fixture(scope="module")
def tiny():
    return sfm.load("sfm-tiny")


def test_the_page_and_its_files(page):
    status, html = page.call("")
    assert status == 200
    for name in ("page.js", "page.css", "icon.svg", "predict.js", "simulate.js", "3Dmol-min.js"):
        assert page.call(name)[0] == 200, name
    assert b"http" not in html.replace(b"http-equiv", b"")  # nothing from elsewhere
    assert page.call("../../pyproject.toml")[0] == 404
    assert page.call("..%2f..%2f..%2fpyproject.toml")[0] == 404


def test_a_smiles_is_what_the_command_line_says(page, tiny, capsys):
    status, answer = page.predict("molecules.smi", b"OCC")
    assert status == 200
    (system,) = answer["systems"]
    expected = tiny.predict("OCC")
    energy = system["quantities"]["energy"]
    assert energy["value"] == pytest.approx(float(expected["energy"]), abs=1e-6)
    assert energy["unit"] == "eV"
    assert energy["uncertainty"] == pytest.approx(expected.uncertainty["energy"], rel=1e-5)
    assert system["quantities"]["forces"]["shape"] == [9, 3]
    assert system["atoms"]["symbols"].count("H") == 6
    from sfm.cli import main

    assert main([*shlex.split(answer["command"])[1:], "--json"]) == 0
    typed = json.loads(capsys.readouterr().out)["quantities"]["energy"]["value"]
    assert typed == pytest.approx(energy["value"], abs=1e-6)


@pytest.mark.parametrize("name", ["ethanol.xyz", "nacl.cif", "turbulence.h5"])
def test_files_are_read_as_the_command_line_reads_them(page, tiny, name):
    import numpy as np

    status, answer = page.predict(name, sfm.example(name).read_bytes())
    assert status == 200, answer
    expected = tiny.predict(sfm.example(name))
    expected = expected if isinstance(expected, list) else [expected]
    assert len(answer["systems"]) == len(expected)
    for system, one in zip(answer["systems"], expected, strict=True):
        for key, value in one.items():
            said = np.array(system["quantities"][key]["value"])
            assert np.allclose(said, value, rtol=1e-4, atol=1e-5), key
    assert answer["command"] == f"sfm predict sfm-tiny {name}"


def test_features_are_what_the_command_line_writes(page, tiny, tmp_path, monkeypatch, capsys):
    import numpy as np

    from sfm.cli import main

    level = tiny.targets(encoder="molecules/atoms")[-1].level
    given = {"model": "sfm-tiny", "name": "molecules.smi", "level": level}
    status, answer = page.call("api/embed", b"CCO", **given)
    assert status == 200, answer
    (system,) = answer["systems"]
    assert (system["encoder"], system["level"]) == ("molecules/atoms", level)
    assert system["tokens"]["vectors"] == [9, 3, system["invariant"]["shape"][0]]
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(answer["command"])[1:]) == 0
    capsys.readouterr()
    typed = np.load("features.npz")["invariant"][0]
    np.testing.assert_allclose(system["invariant"]["value"], typed, rtol=1e-4, atol=1e-5)
    space: dict = {}
    exec(answer["python"], space)
    np.testing.assert_allclose(space["features"].invariant, typed, rtol=1e-5, atol=1e-6)
    status, answer = page.call("api/embed", b"CCO", **given | {"level": "nothing"})
    assert (status, answer["exit_code"]) == (400, 2)


def test_neighbours_are_what_the_command_line_says(page, capsys):
    from sfm.cli import main

    def near(content: bytes, **query: object) -> tuple[int, dict]:
        given = {"model": "sfm-tiny", "name": "molecules.smi", "dataset": "dft/g2-atomisation"}
        return page.call("api/neighbours", content, **given | query)

    status, answer = near(b"O", count=3)
    assert status == 200, answer
    (system,) = answer["systems"]
    rows = system["neighbours"]
    assert rows[0]["formula"] == "H2 O1"
    assert rows[0]["atoms"]["symbols"].count("H") == 2
    (measured,) = [x for x in rows[0]["labels"] if x["level"] == "experiment"]
    assert (measured["quantity"], measured["unit"]) == ("atomisation_energy", "eV")
    assert main([*shlex.split(answer["command"])[1:], "--json"]) == 0
    typed = json.loads(capsys.readouterr().out)["systems"][0]["neighbours"]
    assert [(n["id"], n["labels"]) for n in typed] == [(n["id"], n["labels"]) for n in rows]
    distances = [n["distance"] for n in rows]
    assert [n["distance"] for n in typed] == pytest.approx(distances, rel=1e-5)
    space: dict = {}
    exec(answer["python"], space)
    assert [n.id for n in space["answer"].neighbours] == [n["id"] for n in rows]
    for query, status in (
        ({"dataset": str(sfm.example("nacl.cif").parent)}, 404),
        ({"dataset": "../datasets"}, 404),
        ({"dataset": "molecules/nothing"}, 404),
        ({"count": 0}, 400),
        ({"level": "nothing"}, 400),
    ):
        got, answer = near(b"O", **query)
        assert got == status, (query, answer)
        assert "\n" not in answer["error"]
    status, answer = near(b"[Au]")
    assert (status, answer["exit_code"]) == (400, 2)
    assert "('extrapolate') gives" in answer["error"]  # the page's box, not the command line's flag


def test_mistakes_are_one_line(page):
    for name, content, words in (
        ("molecules.smi", b"CC(O", "is not a SMILES string"),
        ("a.xyz", b"2\n\nH 0 0 0\n", "a.xyz"),
        ("a.exe", b"x", "no installed plugin reads"),
        ("a.xyz", b"", "empty"),
        ("molecules.smi", b"C[Se]C", "Se"),
        ("many.smi", b"C\n" * 51, "this page takes 50"),
    ):
        status, answer = page.predict(name, content)
        assert status == 400, (name, answer)
        assert words in answer["error"]
        assert "\n" not in answer["error"]
        assert "/tmp" not in answer["error"]
        assert answer["exit_code"] == 2
    assert page.predict("a.xyz", b"x", model="nobody/nothing")[0] == 400
    assert page.call("api/simulators/fluids/nothing")[0] == 404
    assert page.call("api/runs/none/events")[0] == 404


def test_no_path_of_a_client_is_opened(page, tmp_path):
    import h5py
    import numpy as np

    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["velocity"] = np.ones((2, 16, 16))
    link = tmp_path / "link.h5"
    with h5py.File(link, "w") as file:
        file["velocity"] = h5py.ExternalLink(str(secret), "/velocity")
    status, answer = page.predict("link.h5", link.read_bytes())
    assert (status, "link to another file" in answer["error"]) == (400, True)
    for name in (str(secret), f"../{secret}", "file:///etc/passwd"):
        assert page.predict(name, b"root")[0] == 400
    path = str(sfm.example("ethanol.xyz"))
    assert page.predict("molecules.smi", path.encode())[0] == 400  # a SMILES, not a file
    assert page.predict("a.xyz", b"x", model=str(secret.parent))[0] == 400
    for values in ({"functional": str(tmp_path)}, {"functional": "a/b"}, {"guess": ".."}):
        *_, last = page.events(page.begin(simulator="dft/kohn-sham", values=values))
        assert (last["kind"], last["exit_code"]) == ("error", 2)
        assert "no files or repositories" in last["error"]


def test_another_site_is_refused(page):
    request = urllib.request.Request(
        page.address + "api/predict?model=sfm-tiny&name=molecules.smi",
        b"C",
        {"origin": "http://evil.example"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    assert refused.value.code == 403
    refused.value.close()


def test_what_there_is_to_look_at(page):
    _, models = page.call("api/models")
    first = models[0]
    assert (first["name"], first["open"], first["predicts"]) == ("sfm-tiny", True, True)
    assert any(row["baselines"] for row in first["metrics"])
    assert any("C" in row["elements"] for row in first["coverage"])
    assert "<table>" in first["card"]
    _, datasets = page.call("api/datasets")
    assert {"molecules/molecules-xtb", "fluids/turbulence-2d"} <= {d["name"] for d in datasets}
    assert all(d["licence"] for d in datasets)
    _, one = page.call("api/datasets/crystals/crystals-mp")
    assert {"formation_energy"} <= {c["quantity"] for c in one["columns"]}
    assert one["samples"][0]["id"]
    _, plugins = page.call("api/plugins")
    assert {"molecules", "crystals", "fluids", "dft"} <= {p["name"] for p in plugins}
    _, simulator = page.call("api/simulators/fluids/navier-stokes-2d")
    (viscosity,) = (p for p in simulator["parameters"] if p["name"] == "viscosity")
    assert (viscosity["low"], viscosity["high"]) == (0.0, None)
    assert simulator["closures"] == [{"model": "sfm-tiny", "levels": ["DNS"]}]


def test_a_flow_runs_live_and_can_be_repeated(page, capsys, tmp_path):
    import numpy as np

    key = page.begin(**FLOW, steps=6, seed=3, closure="sfm-tiny", level="DNS")
    events = list(page.events(key))
    kinds = [e["kind"] for e in events]
    assert (kinds[0], kinds[-1]) == ("start", "done"), events[-1]
    frames = [e for e in events if e["kind"] == "frame"]
    assert [f["index"] for f in frames] == list(range(7))
    assert frames[0]["fields"]["vorticity"]["shape"] == [16, 16]
    energy = frames[-1]["scalars"]["mean_kinetic_energy"][0]
    assert energy != frames[0]["scalars"]["mean_kinetic_energy"][0]
    status, raw = page.call(f"api/runs/{key}/files/run.npz")
    assert status == 200
    with np.load(io.BytesIO(raw)) as arrays:
        assert float(arrays["mean_kinetic_energy"][-1, 0]) == energy
    assert page.call(f"api/runs/{key}/files/run.png")[1][:4] == b"\x89PNG"
    assert page.call(f"api/runs/{key}/files/..%2f..%2fx")[0] == 404

    from sfm.cli import main

    assert main([*events[0]["command"][1:], "--json"]) == 0
    typed = json.loads(capsys.readouterr().out)["quantities"]["mean_kinetic_energy"]
    assert np.ravel(typed["value"])[-1] == pytest.approx(energy, rel=1e-9)
    there: dict = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(events[0]["python"], there)
    again = float(there["run"].observables["mean_kinetic_energy"][-1])
    assert again == pytest.approx(energy, rel=1e-9)


def test_a_molecule_moves_and_its_file_is_read(page):
    import base64

    content = base64.b64encode(sfm.example("ethanol.xyz").read_bytes()).decode()
    key = page.begin(
        simulator="molecules/molecular-dynamics",
        values={"dt": 0.25},
        steps=4,
        name="ethanol.xyz",
        content=content,
    )
    events = list(page.events(key))
    assert events[-1]["kind"] == "done", events[-1]
    frame = next(e for e in events if e["kind"] == "frame")
    assert frame["xyz"].splitlines()[0] == "9"
    assert "run.extxyz" in events[-1]["files"]
    assert "--input ethanol.xyz" in " ".join(events[0]["command"])
    assert "sfm.read('ethanol.xyz'" in events[0]["python"]


def test_a_run_is_stopped_and_the_next_one_goes_on(page):
    key = page.begin(**FLOW, steps=100_000, every=1000)
    stream = page.events(key)
    assert next(e for e in stream if e["kind"] == "frame")
    started = time.monotonic()
    assert page.call(f"api/runs/{key}/stop", b"")[0] == 200
    *_, last = stream
    assert (last["kind"], last["error"]) == ("error", "stopped")
    assert time.monotonic() - started < 30
    *_, last = page.events(page.begin(**FLOW, steps=2))
    assert last["kind"] == "done"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"steps": 1_000_000}, "this page takes 100000 steps"),
        ({"steps": 5000, "every": 1}, "1000 records"),
        ({"values": {"grid": 2048}}, "numbers"),
        ({"values": {"viscosity": -1.0}}, "outside"),
        ({"values": {"viskosity": 1.0}}, "Did you mean 'viscosity'"),
        ({"closure": "sfm-xc-gga"}, "this page has no model"),
    ],
    ids=str,
)
def test_what_is_too_much_or_wrong_is_one_line(page, asked, words):
    *_, last = page.events(page.begin(**{**FLOW, **asked}))
    assert (last["kind"], last["exit_code"]) == ("error", 2)
    assert words in last["error"]


def test_fifty_clients_at_once(page):
    """Each looks and predicts for some seconds: no error, and memory does not grow with calls."""
    page.predict("molecules.smi", b"CCO")
    before = page.memory()
    failed: list[object] = []
    counts = [0] * 50
    end = time.monotonic() + 5

    def client(number: int) -> None:
        while time.monotonic() < end:
            for status, _ in (page.call("api/models"), page.predict("m.smi", b"CCO")):
                if status != 200:
                    failed.append((number, status))
            counts[number] += 1

    threads = [threading.Thread(target=client, args=(n,)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert min(counts) >= 1
    assert page.memory() < before + 100e6  # 50 answers in flight, nothing kept


def test_the_address_is_taken_or_not_ours(page, capsys):
    from sfm.cli import main

    port = page.address.rstrip("/").rpartition(":")[2]
    for words in (["--port", port], ["--host", "192.0.2.1"], ["--port", "70000"], ["nothing"]):
        assert main(["serve", *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_limits_of_time_end_the_process():
    from sfm.errors import RunError
    from sfm.serve.limits import Limits
    from sfm.serve.workers import Worker

    worker = Worker([], Limits())
    try:
        with pytest.raises(RunError, match=r"took longer than 0 s"):
            worker.ask("plugins", {}, seconds=0)
        assert worker.ask("plugins", {}, seconds=600)  # a fresh process
    finally:
        worker.kill()


def test_what_a_query_states_and_no_route_takes_is_refused(page):
    status, said = page.predict("water.xyz", b"1\n\nO 0 0 0\n", quantiti="energy", charge=1)
    assert (status, said["exit_code"]) == (400, 2)
    assert "takes no 'quantiti'" in said["error"]
    status, said = page.call("api/models", where="hub")
    assert (status, said["error"]) == (400, "/api/models: takes no 'where' (known: none).")
