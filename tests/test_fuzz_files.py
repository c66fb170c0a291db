"""Damaged and hostile files: samples or one line, never a traceback, never a hang."""

from __future__ import annotations

import contextlib
import signal
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sfm_dynamics.discovery.report import discover_file
from sfm_molecules.data.converters import from_ase
from sfm_molecules.data.trajectories import read_frames as read_trajectory

from sfm.data.convert import Item, read_items, write_items
from sfm.data.readers import read_file
from sfm.data.sample import Sample
from sfm.errors import SfmError

CPU_SECONDS = 20  # of one file; the slowest takes a tenth of a second
# a group of few operations: pymatgen takes half a second to make F m -3 m, at every misspelling
TEXTS = {
    "a.smi": "CCO ethanol\nc1ccccc1 benzene\nO.O dimer\n[Na+] ion\n",
    "a.csv": 'id;smiles;energy[kcal/mol];charge\nw;O;-1.5;0\n"m";C;2.5;0\n',
    "a.cif": """data_global
_journal_name 'x'
data_a
_cell_length_a 5.64(2)
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P m m m'
_symmetry_Int_Tables_number 47
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na+ 0 0 0 1
Cl1 Cl- 1/2 0.5(1) 0.5 1.0
""",
    "POSCAR": "t\n1.0\n4 0 0\n0 4 0\n0 0 4\nNa Cl\n1 1\nSelective dynamics\nDirect\n"
    "0 0 0 T T F\n0.5 0.5 0.5 F F F\n\n0.01 0 0\n0 0 0\n",
    "a.gjf": "%mem=1GB\n# B3LYP/6-31G(d)\n\nwater\n\n0 1\nO 0.0 0.0 0.12\nH 0.0 0.76 -0.48\n"
    "H 0.0 -0.76 -0.48\n\n",
    "plain.xyz": "3\ncharge: 1\nO 0 0 1.19D-1\nD 0 0.763 -0.477\n1 0 -0.763 -0.477\n\n"
    "1\n0 1\nHe 0 0 0\n",
}
HOSTILE = (
    b"1000000000",
    b"-1",
    b"1e999",
    b"nan",
    b"\x00",
    b"\xff\xfe",
    b"9" * 400,
    b"../",
    b"=",
    b":",
)
HOSTILE += (b'"', b"\n", b" ", b"R:100000", b"1/0", b"%s", b"(" * 500, b"\xe2\x80\xa8")


def seeds(folder: Path) -> list[tuple[str, bytes]]:
    """One whole file of each format that we read."""
    water = molecule("H2O")
    water.info["charge"] = 0
    water.calc = SinglePointCalculator(
        water, energy=-14.2, forces=np.full((3, 3), 0.25), dipole=np.array([0.1, 0.2, 0.3])
    )
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    salt.calc = SinglePointCalculator(
        salt, energy=-27.0, forces=np.zeros((8, 3)), stress=np.arange(6) * 1e-3
    )
    files = {
        "w.extxyz": ([water, water], "extxyz"),
        "s.extxyz": (salt, "extxyz"),
        "w.traj": ([water, water], "traj"),
        "s.traj": (salt, "traj"),
        "w.pdb": (water, "proteindatabank"),
        "s.xsf": (salt, "xsf"),
        "s.vasp": (salt, "vasp"),
        "s.cif": (salt, "cif"),
        "w.sdf": (water, "sdf"),
        "w.db": (water, "db"),
    }
    for name, (atoms, kind) in files.items():
        write(folder / name, atoms, format=kind)
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    return [(p.name, p.read_bytes()) for p in sorted(folder.iterdir()) if p.is_file()]


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes flipped, cut, doubled, moved, or replaced by something nasty."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if not out:
            break
        i, j = sorted(int(k) for k in rng.integers(0, len(out) + 1, 2))
        j = min(j, i + int(rng.integers(1, 200)))
        kind = rng.integers(0, 7)
        if kind == 0:
            out[i:j] = bytes(rng.integers(0, 256, j - i, dtype=np.uint8))
        elif kind == 1:
            del out[i:j]
        elif kind == 2:
            out[i:i] = out[i:j] * int(rng.integers(1, 4))
        elif kind == 3:
            out = out[:i] if rng.random() < 0.3 else out
        elif kind == 4:
            out[i:i] = HOSTILE[int(rng.integers(len(HOSTILE)))]
        elif kind == 5:
            words = bytes(out).split(b" ")
            words[int(rng.integers(len(words)))] = HOSTILE[int(rng.integers(len(HOSTILE)))]
            out = bytearray(b" ".join(words))
        elif i < len(out):
            out[i] = int(rng.integers(256))
    return bytes(out)


@contextlib.contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """`TimeoutError` when the block has used so much CPU."""

    def stop(*_):
        raise TimeoutError(f"more than {seconds} CPU seconds")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def outcome(path: Path) -> str:
    """What reading the file came to; anything but samples or one line fails the test."""
    with warnings.catch_warnings(), cpu_limit(CPU_SECONDS):
        warnings.simplefilter("ignore")
        content, refusal = None, None
        try:
            content = READERS.get(path.name, read_file)(path)
        except SfmError as error:
            refusal = error
    if refusal is not None:
        assert refusal.exit_code == 2, refusal
        assert str(refusal).strip()
        return "refused"
    assert content
    for sample in content if isinstance(content, list) else ():
        assert np.isfinite(sample.positions).all()
        for group in (sample.labels, sample.fields):
            assert all(np.isfinite(v).all() for v in group.values())
        assert len(sample.types) or sample.fields
    return "read"


def _written(path: Path) -> list[Sample]:
    return [item.sample for item in read_items(path)]


# files that other readers read than those of `sfm predict`
READERS = {
    "series.csv": partial(discover_file, degree=1),
    "series.npz": partial(discover_file, degree=1),
    "ours.npz": _written,
    "ours.extxyz": _written,
    "frames.npz": read_trajectory,
}


def arrays(folder: Path) -> list[tuple[str, bytes]]:
    """Time series, fields, trajectories and our own archives."""
    import h5py
    import xarray

    t = np.linspace(0, 10, 60)
    lines = [f"{x:.8f};{np.cos(x):.8f};{-np.sin(x):.8f}" for x in t]
    (folder / "series.csv").write_text("\n".join(["# made up", "time [s];x [m];v [m/s]", *lines]))
    np.savez(folder / "series.npz", time=t, x=np.cos(t), v=-np.sin(t), **{"x.unit": "m"})
    frames = {"positions": np.zeros((2, 2, 3)), "types": np.array([1, 8]), "energy": np.ones(2)}
    np.savez(folder / "frames.npz", **frames, **{"energy.unit": "hartree"})
    sample = from_ase(molecule("H2O")).replace(labels={"energy": np.array(-1.5)}, level="mine")
    for name in ("ours.npz", "ours.extxyz"):
        write_items(folder / name, [Item(sample), Item(sample.replace(id="other"))])
    x = np.arange(8) * 2 * np.pi / 8
    u = np.stack([np.sin(x)[None] * np.cos(x)[:, None], -np.cos(x)[None] * np.sin(x)[:, None]])
    np.save(folder / "field.npy", u)
    np.savez_compressed(folder / "field.npz", velocity=u)
    with h5py.File(folder / "field.h5", "w") as file:
        file.create_dataset("velocity", data=u, compression="gzip").attrs["length"] = [1.0, 1.0]
    axes = {"u": (("y", "x"), u[0]), "v": (("y", "x"), u[1])}
    xarray.Dataset(axes, coords={"x": x, "y": x}).to_netcdf(folder / "field.nc")
    return [(p.name, p.read_bytes()) for p in sorted(folder.iterdir()) if p.is_file()]


def fuzz(folder: Path, count: int, seed: int, make: Any = seeds) -> dict[str, int]:
    (folder / "seeds").mkdir()
    (folder / "fuzzed").mkdir()
    seeds_of = make(folder / "seeds")
    rng = np.random.default_rng(seed)
    outcomes = {"read": 0, "refused": 0}
    for number in range(count):
        name, data = seeds_of[number % len(seeds_of)]
        path = folder / "fuzzed" / name
        path.write_bytes(damaged(data, rng))
        try:
            outcomes[outcome(path)] += 1
        except Exception as error:
            kept = path.with_name(f"failed-{number}-{name}")
            path.rename(kept)
            raise AssertionError(f"{kept}: {type(error).__name__}: {error}") from error
    return outcomes


@pytest.mark.parametrize("make", [seeds, arrays])
def test_whole_files_are_read(tmp_path, make):
    for name, _ in make(tmp_path):
        assert outcome(tmp_path / name) == "read", name


def test_damaged_files_give_samples_or_one_line(tmp_path):
    outcomes = fuzz(tmp_path, 160, seed=1)
    assert min(outcomes.values()) > 10


def test_damaged_arrays_give_samples_or_one_line(tmp_path):
    outcomes = fuzz(tmp_path, 150, seed=3, make=arrays)
    assert min(outcomes.values()) > 3


@pytest.mark.slow
def test_ten_thousand_damaged_files(tmp_path):
    outcomes = fuzz(tmp_path, 10_000, seed=2)
    assert sum(outcomes.values()) == 10_000
    assert min(outcomes.values()) > 500


@pytest.mark.slow
def test_three_thousand_damaged_arrays(tmp_path):
    outcomes = fuzz(tmp_path, 3_000, seed=4, make=arrays)
    assert sum(outcomes.values()) == 3_000
    assert min(outcomes.values()) > 100


WORD = st.one_of(
    st.sampled_from(["H", "O", "D", "8", "X", "Qq", "nan", "1e9", "-1", "1.0D+00", "T", "", '"']),
    st.floats(-5, 5).map(lambda x: f"{x:.4f}"),
    st.text(max_size=6),
)
KEY = st.sampled_from(
    ["energy", "charge", "spin", "Lattice", "pbc", "stress", "virial", "units", "Properties", "q"]
)
VALUE = st.one_of(
    st.sampled_from(
        [
            "1",
            "0.5",
            '"1 2"',
            "none",
            "T",
            '"4 0 0 0 4 0 0 0 4"',
            '"T T F"',
            "bohr",
            "{",
            "_JSON [1",
        ]
    ),
    st.sampled_from(
        ["species:S:1:pos:R:3", "pos:R:3:species:S:1", "species:S:1:pos:R:3:x:R:9999999"]
    ),
    st.text(max_size=8),
)
FRAME = st.tuples(
    st.one_of(st.integers(-1, 4).map(str), st.text(max_size=3), st.just("99999999999")),
    st.lists(st.tuples(KEY, VALUE).map("=".join), max_size=4).map(" ".join),
    st.lists(st.lists(WORD, max_size=7).map(" ".join), max_size=4),
).map(lambda f: "\n".join([f[0], f[1], *f[2]]))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(FRAME, min_size=1, max_size=3).map("\n".join))
def test_any_frames_give_samples_or_one_line(tmp_path, text):
    path = tmp_path / "a.extxyz"
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    outcome(path)
