"""`sfm serve --socket` against ASE's end of the protocol: unix and inet sockets, its errors."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import uuid

import numpy as np
import pytest

import sfm
from sfm.cli import main
from sfm.engines.ipi import Address, answer
from sfm.errors import InputError, RunError
from sfm.model.potential import Potential

build = pytest.importorskip("ase.build")
socketio = pytest.importorskip("ase.calculators.socketio")


@pytest.fixture(scope="module")
def model():
    return sfm.load("sfm-tiny")


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def name():
    return f"sfm{uuid.uuid4().hex[:12]}"


def served(*words):
    """The command in a thread, as a user has it in another window; (thread, exit codes)."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["serve", *map(str, words)])))
    thread.start()
    return thread, codes


def test_ase_gets_a_molecules_forces_through_a_unix_socket(model, name, tmp_path):
    atoms = build.molecule("CH3CH2OH")
    atoms.write(tmp_path / "ethanol.xyz")
    said = model.predict(atoms)
    with socketio.SocketIOCalculator(unixsocket=name) as calc:
        words = ("sfm-tiny", "--socket", f"unix:{name}", "--input", tmp_path / "ethanol.xyz")
        thread, codes = served(*words)
        atoms.calc = calc
        assert atoms.get_potential_energy() == pytest.approx(float(said["energy"]), rel=1e-6)
        np.testing.assert_allclose(atoms.get_forces(), said["forces"], atol=1e-5)
        atoms.rattle(0.02, seed=1)
        np.testing.assert_allclose(atoms.get_forces(), model.predict(atoms)["forces"], atol=1e-5)
    thread.join(60)
    assert codes == [0]


def test_ase_relaxes_a_cell_through_an_inet_socket(model, port, tmp_path):
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    atoms = build.bulk("NaCl", "rocksalt", a=5.5)
    atoms.write(tmp_path / "salt.extxyz")
    here = atoms.copy()
    here.calc = model.calculator()
    with socketio.SocketIOCalculator(port=port) as calc:
        thread, codes = served("--socket", port, "--input", tmp_path / "salt.extxyz")
        atoms.calc = calc
        np.testing.assert_allclose(atoms.get_stress(), here.get_stress(), atol=1e-6)
        for cell in (here, atoms):
            BFGS(FrechetCellFilter(cell), logfile=None).run(fmax=0.01, steps=50)
        assert atoms.get_potential_energy() == pytest.approx(here.get_potential_energy(), abs=1e-4)
        assert atoms.get_volume() == pytest.approx(here.get_volume(), rel=1e-3)
    thread.join(60)
    assert codes == [0]


def test_an_engine_that_leaves_or_speaks_otherwise_ends_it(model):
    sample = sfm.read(build.molecule("H2O"))[0]
    potential = Potential(model)
    for said, error, words in (
        (b"", None, ""),
        (b"EXIT".ljust(12), None, ""),
        (b"STATUS".ljust(12) + b"GETFORCE".ljust(12), RunError, "GETFORCE"),
        (b"GET / HTTP/1", RunError, "protocol"),
        (b"\xff" * 12, RunError, "protocol"),
        (b"POSDATA".ljust(12) + posdata(2), InputError, "moves 2 atoms, .* has 3"),
        (b"POSDATA".ljust(12) + posdata(-1), InputError, "moves -1 atoms"),
        (b"POSDATA".ljust(12) + posdata(3, np.nan), RunError, "protocol"),
    ):
        engine, client = socket.socketpair()
        with engine, client:
            engine.sendall(said)
            engine.shutdown(socket.SHUT_WR)
            if error is None:
                assert answer(client, potential, sample) == 0
            else:
                with pytest.raises(error, match=words):
                    answer(client, potential, sample)


def posdata(count, value=0.0):
    cell = np.eye(3) * 10
    positions = np.full((max(count, 0), 3), value)
    return b"".join(
        (cell.tobytes(), cell.tobytes(), np.int32(count).tobytes(), positions.tobytes())
    )


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("31415", Address("127.0.0.1", 31415)),
        ("machine:31415", Address("machine", 31415)),
        ("[::1]:31415", Address("::1", 31415)),
        ("unix:water", Address(path="/tmp/ipi_water")),
        ("/run/water", Address(path="/run/water")),
    ],
)
def test_an_address(text, meant):
    assert Address.parse(text) == meant


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--socket", "water", "--input", "a.xyz"], "is no address"),
        (["--socket", "99999", "--input", "a.xyz"], "is no address"),
        (["--socket", "31415"], "--input FILE"),
        (["--socket", "31415", "--input", "absent.xyz"], "no such file"),
        (["a", "b", "--socket", "31415", "--input", "a.xyz"], "one model"),
        (["--socket", "31415", "--port", "1"], "--port: has no use with --socket"),
        (["--socket", "31415", "--host", "::1"], "--host: has no use with --socket"),
        (["--level", "PBE"], "--level: goes with --socket"),
    ],
)
def test_a_mistake_is_one_line(words, line, capsys):
    assert main(["serve", *words]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert line in told[-1]


def test_nobody_listens(port, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sfm.serve.engine.WAIT", 0.0)
    build.molecule("H2O").write(tmp_path / "water.xyz")
    assert main(["serve", "--socket", str(port), "--input", str(tmp_path / "water.xyz")]) == 2
    assert "no engine listens there" in capsys.readouterr().err


def test_an_element_without_training_data_is_refused_in_one_line(name, tmp_path, capsys):
    atoms = build.bulk("Si") + build.bulk("Si")
    atoms.numbers[0] = 94
    atoms.write(tmp_path / "u.extxyz")
    with socketio.SocketIOCalculator(unixsocket=name) as calc:
        thread, codes = served("--socket", f"unix:{name}", "--input", tmp_path / "u.extxyz")
        atoms.calc = calc
        with pytest.raises(OSError):
            atoms.get_potential_energy()
        thread.join(60)
    assert codes == [2]
    assert "Pu" in capsys.readouterr().err.strip().splitlines()[-1]


def test_ctrl_c_ends_it(tmp_path):
    path = f"/tmp/ipi_sfm{uuid.uuid4().hex[:12]}"
    build.molecule("H2O").write(tmp_path / "water.xyz")
    command = [sys.executable, "-m", "sfm", "serve", "--socket", path, "--input", "water.xyz"]
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(path)
        engine.listen(1)
        try:
            process = subprocess.Popen(
                command,
                cwd=tmp_path,
                stderr=subprocess.PIPE,
                text=True,
                # what a shell starts in the background ignores Ctrl-C, and so would its children
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            connection, _ = engine.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                _, told = process.communicate(timeout=60)
        finally:
            os.unlink(path)
    assert process.returncode == 130
    assert told.strip().splitlines()[-1] == "sfm: interrupted"
