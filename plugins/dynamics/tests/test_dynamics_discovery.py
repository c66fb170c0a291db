"""Equations from data: Lorenz 63 from noisy samples, beside pysindy's numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from sfm_dynamics.discovery.report import coefficient_unit, discover_file
from sfm_dynamics.discovery.sindy import discover
from sfm_dynamics.polynomials import Polynomials
from sfm_dynamics.series import read_table
from sfm_dynamics.simulators.learned import NeuralOde

from sfm.errors import InputError
from sfm.units import factor

TRUE = {("x", "x"): -10, ("x", "y"): 10, ("y", "x"): 28, ("y", "y"): -1, ("y", "x z"): -1}
TRUE |= {("z", "z"): -8 / 3, ("z", "x y"): 1}
# pysindy 2.1.0 on the same data with 2 % noise: STLSQ(threshold=0.5), PolynomialLibrary(2),
# SmoothedFiniteDifference
PYSINDY = {("x", "x"): -9.97831, ("x", "y"): 9.98082, ("y", "x"): 27.96192, ("y", "y"): -0.98729}
PYSINDY |= {("y", "x z"): -0.99919, ("z", "z"): -2.66629, ("z", "x y"): 1.00038}


def lorenz(t: np.ndarray) -> np.ndarray:
    """scipy's solution of the Lorenz equations at times t."""

    def rates(_, u):
        x, y, z = u
        return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]

    return solve_ivp(
        rates, (0, t[-1]), [-8, 7, 27], t_eval=t, method="DOP853", rtol=1e-11, atol=1e-11
    ).y.T


@pytest.fixture(scope="module")
def clean():
    t = np.arange(0, 50, 0.002)
    return t, lorenz(t)


def noisy(states: np.ndarray, share: float) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(states.shape)
    return states + share * states.std(0) * noise


def terms(equation) -> set[tuple[str, str]]:
    rows, columns = np.nonzero(equation.coefficients)
    names = equation.library.names
    return {(names[i], equation.library.terms[k]) for k, i in zip(rows, columns, strict=True)}


@pytest.mark.parametrize("share", [0.0, 0.02])
def test_lorenz_coefficients_within_one_percent(clean, share):
    """10, 28 and 8/3; no other term; nearer to the truth than pysindy on the whole."""
    t, x = clean
    equation = discover(t, noisy(x, share), ("x", "y", "z"), ensemble=20)
    assert terms(equation) == set(TRUE)
    errors = {key: abs(equation.coefficient(*key) / value - 1) for key, value in TRUE.items()}
    for key in (("x", "x"), ("x", "y"), ("y", "x"), ("z", "z")):
        assert errors[key] < 0.01, key
    if share:
        theirs = [abs(PYSINDY[key] / value - 1) for key, value in TRUE.items()]
        assert np.mean(list(errors.values())) < 1.5 * np.mean(theirs)


def test_what_is_found_runs_as_a_simulator(clean):
    t, x = clean
    equation = discover(t, x, ("x", "y", "z"), ensemble=0)
    sim = NeuralOde(n=3, closure=equation.closure(), dt=0.002).requires_grad_(False)
    end = sim(sim.at(torch.from_numpy(x[0])), 250).values.numpy()
    np.testing.assert_allclose(end, x[250], rtol=0.02)


def test_library_and_units():
    library = Polynomials(("x", "y"), 2)
    assert library.terms == ("1", "x", "y", "x^2", "x y", "y^2")
    assert library.evaluate(np.array([2.0, 3.0])).tolist() == [1, 2, 3, 4, 6, 9]
    monomials = library.of_tensor(torch.tensor([2.0, 3.0]))
    assert monomials.tolist() == [1, 2, 3, 4, 6, 9]
    assert coefficient_unit("m", "s", ["m", "m"]) == "1/(m*s)"
    assert coefficient_unit("m", "s", ["m"]) == "1/s"
    assert coefficient_unit("m/s", "s", ["1"]) == "m/s/s"


def test_the_command_prints_the_equation_with_units(tmp_path, capsys, clean):
    from sfm.cli import main

    t, x = clean
    path = tmp_path / "lorenz.csv"
    rows = [f"{a:.3f},{','.join(f'{v:.10g}' for v in row)}" for a, row in zip(t, x, strict=True)]
    path.write_text("time [s],x,y,z [kelvin]\n" + "\n".join(rows[:12500]) + "\n")
    assert main(["discover", str(path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["equations"][0].startswith("dx/dt = -10")
    entry = report["quantities"]["dy/dt: x z"]
    assert entry["unit"] == "1/(kelvin*s)"
    assert entry["interval_95"][0] <= entry["value"] + 1e-6
    assert entry["value"] == pytest.approx(-1, rel=0.01)
    assert main(["discover", str(path)]) == 0
    assert "dz/dt = " in capsys.readouterr().out


def test_mistakes_are_said(tmp_path):
    t = np.linspace(0, 1, 20)
    with pytest.raises(InputError, match="windows cannot decide"):
        discover(t, np.random.default_rng(0).normal(size=(20, 3)), "xyz", degree=4)
    with pytest.raises(InputError, match="times do not increase"):
        discover(t[::-1], np.zeros((20, 1)), "x")
    with pytest.raises(InputError, match="at least 9"):
        discover(t[:5], np.zeros((5, 1)), "x")


def _table(separator: str, head: str = "time,x,v") -> str:
    rows = [(t, np.cos(t), -np.sin(t)) for t in np.linspace(0, 10, 60)]
    lines = [head, *(",".join(f"{x:.10f}" for x in row) for row in rows)]
    return "\n".join(lines).replace(",", separator) + "\n"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_tables_of_every_program_are_read(tmp_path, separator, mark):
    path = tmp_path / "a.csv"
    path.write_bytes(
        mark + b"# a remark\n" + _table(separator, "time [s],x [cm],v [cm/s]").encode()
    )
    table = read_table(path)
    assert table.names == ("x", "v")
    assert (*table.units, table.time_unit) == ("cm", "cm/s", "s")
    np.testing.assert_allclose(table.values[:, 0], np.cos(table.times), atol=1e-9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,x,x\n0,1,2\n", "two columns are called 'x'"),
        ("time,x\n0,1\n1\n", "row 3 has 1 cells, the head 2"),
        ("time," + ",".join(f"x{i}" for i in range(20_000)) + "\n" + "1\n" * 20_000, "has 1 cells"),
        ("time;x\n0;0,5\n", "'0,5' is no finite number"),
        ("", "empty"),
        ("time,x\n", "no series"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_table(path)


@pytest.mark.parametrize("content", [b"PK\x03\x04junk", b"", b"no archive"])
def test_damaged_archives_are_one_line(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged or truncated"):
        read_table(path)


def test_a_power_of_a_compound_unit_is_one_of_all_of_it():
    """dv/dt = k v^3 with v in m/s: k in s/m^2."""
    unit = coefficient_unit("m/s", "s", ["m/s"] * 3)
    assert factor(unit, "s/m**2") == pytest.approx(1.0)
    assert factor(coefficient_unit("m", "s", ["m"]), "1/s") == pytest.approx(1.0)


def test_a_seed_below_zero_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text(_table(","))
    with pytest.raises(InputError, match="seed -1"):
        discover_file(tmp_path / "a.csv", seed=-1)
