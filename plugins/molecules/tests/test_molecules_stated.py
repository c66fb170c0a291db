"""What files of molecules state besides elements and places: isotopes, charges, velocities."""

from __future__ import annotations

import numpy as np
import pytest

from sfm.data.readers import read_file
from sfm.errors import InputError


def test_isotopes_of_symbols(tmp_path):
    """Masses of AME2020 (Wang et al., Chin. Phys. C 45, 030003, 2021)."""
    path = tmp_path / "a.xyz"
    path.write_text("4\n\n13C 0 0 0\n18o 0 0 1.13\n2H 3 0 0\nH 4 0 0\n")
    (one,) = read_file(path)
    assert one.types.tolist() == [6, 8, 1, 1]
    np.testing.assert_allclose(one.masses, [13.00335, 17.99916, 2.014102, 1.008], atol=1e-5)
    path.write_text("1\n\n99C 0 0 0\n")
    with pytest.raises(InputError, match="'99C' is no isotope of C"):
        read_file(path)
    path.write_text("1\n\nC13 0 0 0\n")  # a label: the thirteenth carbon
    with pytest.raises(InputError, match="unknown element 'C13'"):
        read_file(path)


GAUSSIAN = (
    "%mem=1GB\n# B3LYP {route}\n\ntitle\n\n1 2\n"
    "O{iso} 0.0 0.0 0.12\nH 0.0 0.76 -0.48\nH 0.0 -0.76 -0.48\n\n"
)


@pytest.mark.parametrize(
    ("route", "iso", "scale", "mass"),
    [
        ("", "", 1, None),
        ("units=au", "(Iso=18)", 0.529177, 17.99916),
        ("units=(bohr,deg)", "", 0.529177, None),
    ],
)
def test_isotopes_and_units_of_gaussian_inputs(tmp_path, route, iso, scale, mass):
    path = tmp_path / "a.gjf"
    path.write_text(GAUSSIAN.format(route=route, iso=iso))
    (one,) = read_file(path)
    assert dict(one.conditions) == {"charge": 1.0, "spin": 1.0}
    assert one.positions[1, 1] == pytest.approx(0.76 * scale, rel=1e-5)
    assert one.masses is None if mass is None else one.masses[0] == pytest.approx(mass, abs=1e-5)
    path.write_text(GAUSSIAN.format(route="units=rad", iso=""))
    with pytest.raises(InputError, match="units=rad"):
        read_file(path)


def _pdb(charges) -> str:
    row = (
        "HETATM{n:5d}  {e}{n}  LIG A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  9.00           {e}{q}\n"
    )
    places = [(0, 0, 0), (0.6, 0.6, 0.6), (-0.6, -0.6, 0.6), (-0.6, 0.6, -0.6), (0.6, -0.6, -0.6)]
    rows = zip("NHHHH", places, charges, strict=True)
    return (
        "".join(
            row.format(n=n, e=e, x=x, y=y, z=z, q=q) for n, (e, (x, y, z), q) in enumerate(rows, 1)
        )
        + "END\n"
    )


@pytest.mark.parametrize(
    ("charges", "total"),
    [
        (["1+", "", "", "", ""], 1),
        (["+1", "", "", "", ""], 1),
        ([""] * 5, None),
        (["4-", "5+", "", "", ""], 1),
        (["2-", "1+", "", "", ""], -1),
    ],
)
def test_formal_charges_of_pdb_files(tmp_path, charges, total):
    path = tmp_path / "a.pdb"
    path.write_text(_pdb(charges) + _pdb(charges))
    for one in read_file(path):
        assert one.conditions.get("charge") == total
        assert not one.extras
    path.write_text(_pdb(["xx", "", "", "", ""]))
    with pytest.raises(InputError, match="row 1, columns 79-80: 'xx' is no charge"):
        read_file(path)


@pytest.mark.parametrize(
    ("key", "stated", "factor"),
    [
        ("velocities", "velocity_units=m/s", 1e-5),
        ("velo", "vel_unit=nm/ps", 1e-2),
        ("Velocity", "velocity_unit=angstrom/fs", 1),
    ],
)
def test_velocities_in_the_unit_that_the_file_states(tmp_path, key, stated, factor):
    path = tmp_path / "a.extxyz"
    head = f"Properties=species:S:1:pos:R:3:{key}:R:3"
    path.write_text(f"2\n{head} {stated}\nH 0 0 0 1 2 3\nH 0 0 0.7 0 0 -1\n")
    (one,) = read_file(path)
    np.testing.assert_allclose(
        one.velocities, factor * np.array([[1, 2, 3], [0, 0, -1]]), rtol=1e-12
    )
    assert not one.extras
    path.write_text(f"2\n{head} velocity_units=eV\nH 0 0 0 1 2 3\nH 0 0 0.7 0 0 -1\n")
    with pytest.raises(InputError, match="they measure different things"):
        read_file(path)
    path.write_text(f"2\n{head}\nH 0 0 0 1 2 3\nH 0 0 0.7 0 0 -1\n")
    (one,) = read_file(path)  # a unit that nobody states is not guessed
    assert one.velocities is None
    assert set(one.extras) == {key}


def test_arrays_of_a_trajectory_in_the_units_beside_them(tmp_path):
    from sfm_molecules.data.trajectories import read_frames

    path = tmp_path / "a.npz"
    arrays = {
        "positions": np.ones((2, 1, 3)),
        "types": np.array([2]),
        "energy": np.array([1.0, 2.0]),
    }
    np.savez(path, **arrays, **{"energy.unit": "hartree", "positions.unit": "nm"})
    frames = read_frames(path)
    np.testing.assert_allclose(frames["energy"], [27.211386, 54.422772], rtol=1e-7)
    np.testing.assert_allclose(frames["positions"], 10.0)
    np.savez(path, **arrays, **{"energy.unit": "nm"})
    with pytest.raises(InputError, match="'energy': unit 'nm'"):
        read_frames(path)
