"""Fields in other people's formats and layouts, damaged files and hostile ones."""

from __future__ import annotations

import io
import warnings
import zipfile

import h5py
import numpy as np
import pytest
from sfm_fluids.files.content import Content
from sfm_fluids.files.layout import to_samples
from sfm_fluids.files.readers import load_arrays, read_arrays, read_hdf5
from sfm_fluids.files.well import WellData, read_well, write_well

import sfm
from sfm.cli import main
from sfm.errors import InputError, InputWarning

RUNS, STEPS, HEIGHT, WIDTH = 2, 5, 6, 8


def field(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


def well() -> WellData:
    """Two runs between walls at the bottom and an opening at the top."""
    return WellData(
        name="made",
        coordinates={"x": np.arange(WIDTH) * 0.5, "y": np.arange(HEIGHT) * 0.25},
        times=np.arange(STEPS) * 0.125,
        boundaries={"x": ("PERIODIC", "PERIODIC"), "y": ("WALL", "OPEN")},
        fields={"velocity": field(RUNS, STEPS, 2, HEIGHT, WIDTH)},
        scalars={"viscosity": 0.25, "drag": np.array([0.5, 0.125])},
    )


@pytest.mark.parametrize(
    ("shape", "samples", "one"),
    [
        ((2, 6, 8), 1, (2, 6, 8)),
        ((5, 2, 6, 8), 5, (2, 6, 8)),
        ((2, 2, 6, 8), 2, (2, 6, 8)),
        ((3, 2, 6, 8), 3, (2, 6, 8)),
        ((4, 3, 2, 6, 8), 12, (2, 6, 8)),  # three runs
        ((3, 4, 6, 8), 1, (3, 4, 6, 8)),
        ((2, 3, 4, 6, 8), 2, (3, 4, 6, 8)),
        ((2, 1, 3, 4, 6, 8), 2, (3, 4, 6, 8)),
        ((16,), 1, (16,)),
        ((3, 16), 3, (16,)),
        ((3, 1, 16), 3, (16,)),
    ],
)
def test_shapes_of_a_velocity(tmp_path, shape, samples, one):
    velocity = field(*shape)
    np.save(tmp_path / "a.npy", velocity)
    rows = sfm.read(tmp_path / "a.npy")
    assert len(rows) == samples
    assert all(s.fields["velocity"].shape == one for s in rows)
    assert np.array_equal(
        np.stack([s.fields["velocity"] for s in rows]).ravel(),
        (velocity.swapaxes(0, 1) if samples == 12 else velocity).ravel(),
    )
    assert rows[0].cell is None  # a .npy states no box
    assert len(sfm.read(velocity)) == samples


@pytest.mark.parametrize(
    "names", [("u", "v"), ("U", "V"), ("vx", "vy"), ("velocity_x", "velocity_y")]
)
def test_components_in_arrays_of_their_own(tmp_path, names):
    u, v = field(4, 6, 8), -field(4, 6, 8)
    np.savez(tmp_path / "a.npz", **dict(zip(names, (u, v), strict=True)), times=np.arange(4.0))
    samples = read_arrays(tmp_path / "a.npz")
    assert np.array_equal(samples[2].fields["velocity"], np.stack((u[2], v[2])))
    assert samples[2].conditions == {"time": 2.0}
    assert np.array_equal(load_arrays(tmp_path / "a.npz", ["velocity"])["velocity"][2, 1], v[2])
    np.savez(tmp_path / "b.npz", u=field(6, 9), v=field(7, 8))
    with pytest.raises(InputError, match=r"u \(6, 9\), v \(7, 8\): components on different grids"):
        read_arrays(tmp_path / "b.npz")


def test_what_else_a_file_states_comes_along(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["velocity"] = field(3, 2, 6, 8)
        file["pressure"] = field(3, 6, 8)
        file["mask"] = np.ones((6, 8), dtype=bool)
        file["x"], file["y"] = np.arange(8) * 0.25, np.arange(6) * 0.5
        file["time"] = [0.0, 0.1, 0.2]
        file.attrs["viscosity"] = np.float32(0.25)
        file.attrs["about"] = b"a text"
    last = read_hdf5(tmp_path / "a.h5")[2]
    assert {k: v.shape for k, v in last.fields.items()} == {
        "velocity": (2, 6, 8),
        "pressure": (6, 8),
        "mask": (6, 8),
    }
    assert np.allclose(np.diag(last.cell), [2.0, 3.0, 1.0])
    assert last.conditions == {"viscosity": 0.25, "time": 0.2}
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs["length_x"] = 3.0
    with pytest.raises(InputError, match=r"length_x=3, but 8 points 0\.25 apart make 2"):
        read_hdf5(tmp_path / "a.h5")


def test_a_medium_is_read_for_darcy(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", permeability=3 + field(8, 12) ** 2, length_x=3.0, length_y=2.0)
    words = ["simulate", "fluids/darcy", "--input", str(tmp_path / "a.npz"), "--set"]
    assert main([*words, "permeability_low=1"]) == 0
    assert "width=12, height=8, length_x=3, length_y=2" in capsys.readouterr().err
    assert main([*words, "length_x=1"]) == 2
    assert "length_x is 3 there and 1 here" in capsys.readouterr().err


# --- netCDF and xarray ------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_netcdf_with_axes_in_any_order(tmp_path, engine):
    """netCDF-4 and classic; axes are known by their names, the box by the coordinates."""
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    u, v = field(3, 6, 8), -field(3, 6, 8)
    data = xarray.Dataset(
        {
            "u": (("x", "y", "time"), u.T, {"units": "1"}),
            "v": (("x", "y", "time"), v.T),
            "pressure": (("time", "y", "x"), u),
        },
        coords={"x": np.arange(8) * 0.5, "y": np.arange(6) * 0.25, "time": [0.0, 1.0, 2.0]},
        attrs={"viscosity": 0.5, "boundary_y": "wall"},
    )
    data.to_netcdf(tmp_path / "a.nc", engine=engine)
    for samples in (sfm.read(tmp_path / "a.nc"), sfm.read(data)):
        assert len(samples) == 3
        assert np.array_equal(samples[1].fields["velocity"], np.stack((u[1], v[1])))
        assert np.array_equal(samples[1].fields["pressure"], u[1])
        assert np.allclose(np.diag(samples[1].cell), [4.0, 1.5, 1.0])
        assert samples[1].pbc.tolist() == [True, False, False]
        assert samples[1].conditions == {"viscosity": 0.5, "time": 1.0}
    array = xarray.DataArray(field(2, 6, 8), dims=("component", "y", "x"), name="wind")
    assert np.array_equal(sfm.read(array)[0].fields["velocity"], array.values)
    turned = array.transpose("x", "y", "component")
    assert np.array_equal(sfm.read(turned)[0].fields["velocity"], array.values)
    ocean = array.rename(x="lon", y="lat")
    with pytest.raises(InputError, match="in degrees; only cartesian grids"):
        sfm.read(ocean)
    with pytest.raises(InputError, match=r"velocity in 'm s-1'; divide it"):
        sfm.read(array.assign_attrs(units="m s-1"))
    (tmp_path / "cut.nc").write_bytes((tmp_path / "a.nc").read_bytes()[:300])
    with pytest.raises(InputError, match=r"cut\.nc: damaged"):
        sfm.read(tmp_path / "cut.nc")


def test_netcdf_without_names_of_axes(tmp_path):
    pytest.importorskip("h5netcdf")
    velocity = field(2, 6, 8)
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file["velocity"] = velocity
    assert np.array_equal(sfm.read(tmp_path / "a.nc")[0].fields["velocity"], velocity)


# --- The Well ---------------------------------------------------------------------------------


def test_the_wells_variants_are_read(tmp_path):
    """Bytes in attributes, groups that are not there, a wrong count of trajectories."""
    path = tmp_path / "a.hdf5"
    write_well(path, well())
    with h5py.File(path, "a") as file:
        for group in file["boundary_conditions"].values():
            group.attrs["associated_dims"] = np.bytes_(group.attrs["associated_dims"][0])
            group.attrs["bc_type"] = np.bytes_(group.attrs["bc_type"])
        file["dimensions"].attrs["spatial_dims"] = np.array([b"x", b"y"])
        file["t1_fields"].attrs["field_names"] = np.array([b"velocity"])
        del file["t2_fields"], file["scalars"], file.attrs["dataset_name"]
        for name in ("dim_varying", "sample_varying", "time_varying"):
            del file["t1_fields/velocity"].attrs[name]
    data = read_well(path)
    assert data.boundaries == {"x": ("PERIODIC", "PERIODIC"), "y": ("WALL", "OPEN")}
    assert data.fields["velocity"].shape == (2, STEPS, 2, HEIGHT, WIDTH)
    assert len(read_hdf5(path)) == 2 * STEPS
    for stated in (3, 1, "many"):
        with h5py.File(path, "a") as file:
            file.attrs["n_trajectories"] = stated
        with pytest.warns(InputWarning, match=rf"n_trajectories={stated}, but its fields hold 2"):
            assert read_well(path).runs == 2
    with h5py.File(path, "a") as file:
        del file["boundary_conditions"]
    with pytest.raises(InputError, match="states no boundary_conditions"):
        read_hdf5(path)


# --- damaged and hostile ----------------------------------------------------------------------


def test_links_to_other_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["velocity"] = field(2, 6, 8)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["velocity"] = h5py.ExternalLink("secret.h5", "/velocity")
    with pytest.raises(InputError, match=r"'/velocity' is a link to another file, 'secret\.h5'"):
        read_hdf5(tmp_path / "link.h5")
    (tmp_path / "raw").write_bytes(field(2, 6, 8).tobytes())
    with h5py.File(tmp_path / "stored.h5", "w") as file:
        stored = [(str(tmp_path / "raw"), 0, 768)]
        file.create_dataset("velocity", (2, 6, 8), dtype="f8", external=stored)
    layout = h5py.VirtualLayout(shape=(2, 6, 8), dtype="f8")
    layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "velocity", shape=(2, 6, 8))
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_group("deep").create_virtual_dataset("velocity", layout)
        file["velocity"] = h5py.SoftLink("/deep/velocity")
    for name in ("stored.h5", "virtual.h5"):
        with pytest.raises(InputError, match=r"velocity' are in another file"):
            read_hdf5(tmp_path / name)
    if pytest.importorskip("h5netcdf"):
        (tmp_path / "link.nc").write_bytes((tmp_path / "link.h5").read_bytes())
        with pytest.raises(InputError, match="link to another file"):
            sfm.read(tmp_path / "link.nc")
    with h5py.File(tmp_path / "loop.h5", "w") as file:
        file["velocity"] = field(2, 6, 8)
        file["self"] = file["/"]
    assert len(read_hdf5(tmp_path / "loop.h5")) == 1


def test_a_small_file_cannot_claim_much(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("velocity", (1000, 2, 4096, 4096), dtype="f8", chunks=(1, 2, 64, 64))
    with pytest.raises(InputError, match=r"'velocity' claims 1000 x 2 x 4096 x 4096 numbers"):
        read_hdf5(tmp_path / "a.h5")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 2, 64, 64)}
    )
    (tmp_path / "a.npy").write_bytes(header.getvalue() + bytes(100))
    with pytest.raises(InputError, match=r"a\.npy: damaged or truncated"):
        read_arrays(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("velocity.npy", header.getvalue() + bytes(100))
    with pytest.raises(InputError, match="'velocity' is longer than the file that holds it"):
        read_arrays(tmp_path / "a.npz")
    np.savez_compressed(tmp_path / "zeros.npz", velocity=np.zeros((20, 2, 256, 256)))
    assert len(read_arrays(tmp_path / "zeros.npz")) == 20  # zeros do pack that well


@pytest.mark.parametrize("name", ["plain.h5", "well.hdf5"])
def test_any_damage_is_one_line(tmp_path, name):
    """Bytes overwritten anywhere: the file is read, or refused in an `InputError`."""
    if name == "plain.h5":
        with h5py.File(tmp_path / name, "w") as file:
            file.create_dataset("velocity", data=field(2, 6, 8), compression="gzip")
            file.attrs["about"] = "a text " * 50
            file.attrs["length_x"] = 1.0
    else:
        write_well(tmp_path / name, well())
    whole = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(0)
    refused: list[tuple[str, str]] = []
    for number in range(150):
        damaged = bytearray(whole)
        start = int(rng.integers(len(whole)))
        damaged[start : start + 16] = rng.integers(256, size=16, dtype=np.uint8).tobytes()
        path = tmp_path / f"damaged-{number}{name[-5:]}"
        path.write_bytes(damaged)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", InputWarning)
                read_hdf5(path)
        except InputError as error:
            refused.append((path.stem, str(error)))
        path.unlink()
    assert len(refused) > 5
    assert all(stem in message for stem, message in refused)


def test_content_of_no_known_kind():
    with pytest.raises(InputError, match=r"no dataset 'velocity'.*found: density"):
        to_samples(Content("a.h5", {"density": field(4, 4)}), "a")
    with pytest.raises(InputError, match="boundary_x='slippery' is none of periodic, wall, open"):
        to_samples(Content("a.h5", {"velocity": field(2, 4, 4)}, {"boundary_x": "slippery"}), "a")
    with pytest.raises(InputError, match="states boundaries but no box"):
        to_samples(Content("a.h5", {"velocity": field(2, 4, 4)}, {"boundary_x": "wall"}), "a")
