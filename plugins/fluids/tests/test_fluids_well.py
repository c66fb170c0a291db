"""The Well's HDF5 format: round trips, its own loader, boundaries, bad files."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
from sfm_fluids.files.readers import read_hdf5
from sfm_fluids.files.well import WellData, read_well, write_well
from sfm_fluids.files.well_samples import PERIODIC, from_samples, to_samples
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D

from sfm.cli import main
from sfm.errors import InputError

RUNS, STEPS, HEIGHT, WIDTH = 2, 5, 6, 8


def well_data(**changes) -> WellData:
    """Two runs on 8 x 6 points between walls at the bottom and an opening at the top."""
    rng = np.random.default_rng(0)

    def field(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32).astype(np.float64)

    values = {
        "name": "made",
        "coordinates": {"x": np.arange(WIDTH) * 0.5, "y": np.arange(HEIGHT) * 0.25},
        "times": np.arange(STEPS) * 0.125,
        "boundaries": {"x": PERIODIC, "y": ("WALL", "OPEN")},
        "fields": {
            "pressure": field(RUNS, STEPS, HEIGHT, WIDTH),
            "velocity": field(RUNS, STEPS, 2, HEIGHT, WIDTH),
            "sgs_stress": field(RUNS, STEPS, 2, 2, HEIGHT, WIDTH),
        },
        "constant_fields": {"mask": field(RUNS, HEIGHT, WIDTH)},
        "scalars": {
            "viscosity": 0.25,
            "drag": np.array([0.5, 0.125]),
            "inflow": np.arange(STEPS)[None] * 0.5,
            "energy": field(RUNS, STEPS),
        },
    }
    return WellData(**{**values, **changes})


def test_a_file_comes_back_as_it_went(tmp_path):
    data = well_data()
    write_well(tmp_path / "a.hdf5", data)
    again = read_well(tmp_path / "a.hdf5")
    assert (again.name, again.boundaries) == (data.name, dict(data.boundaries))
    for group in ("coordinates", "fields", "constant_fields", "scalars"):
        ours, theirs = getattr(data, group), getattr(again, group)
        assert set(ours) == set(theirs)
        for name in ours:
            assert np.array_equal(ours[name], theirs[name]), name
    assert np.array_equal(again.times, data.times)
    assert again.lengths() == {"x": 4.0, "y": 1.5}
    samples = to_samples(again, "a")
    assert len(samples) == RUNS * STEPS
    last = samples[-1]
    assert last.id == "a:1:4"
    assert np.array_equal(last.fields["velocity"], data.fields["velocity"][1, 4])
    assert np.allclose(np.diag(last.cell), [4.0, 1.5, 1.0])
    assert last.pbc.tolist() == [True, False, False]
    assert last.conditions["drag"] == 0.125
    assert last.conditions["inflow"] == 2.0
    assert last.conditions["energy"] == data.scalars["energy"][1, 4]


def test_layout_is_the_wells(tmp_path):
    """Groups, attributes and order of axes as the format's specification has them."""
    data = well_data()
    write_well(tmp_path / "a.hdf5", data)
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert set(file) == {
            *("boundary_conditions", "dimensions", "scalars"),
            *("t0_fields", "t1_fields", "t2_fields"),
        }
        assert file.attrs["n_trajectories"] == RUNS
        assert file.attrs["n_spatial_dims"] == 2
        assert file.attrs["grid_type"] == "cartesian"
        assert file.attrs["dataset_name"] == "made"
        assert list(file.attrs["simulation_parameters"]) == ["viscosity"]
        assert file.attrs["viscosity"] == 0.25
        velocity = file["t1_fields/velocity"]
        assert velocity.shape == (RUNS, STEPS, WIDTH, HEIGHT, 2)
        assert velocity.dtype == np.float32
        assert velocity[1, 2, 3, 4, 1] == data.fields["velocity"][1, 2, 1, 4, 3]
        stress = file["t2_fields/sgs_stress"]
        assert stress[0, 1, 5, 2, 1, 0] == data.fields["sgs_stress"][0, 1, 1, 0, 2, 5]
        assert list(velocity.attrs["dim_varying"]) == [True, True]
        assert velocity.attrs["time_varying"]
        assert not file["t0_fields/mask"].attrs["time_varying"]
        kinds = {k: g.attrs["bc_type"] for k, g in file["boundary_conditions"].items()}
        assert kinds == {"x_periodic": "PERIODIC", "y_wall": "WALL", "y_open": "OPEN"}
        assert file["boundary_conditions/y_wall/mask"][:].tolist() == [True] + 5 * [False]
        assert file["boundary_conditions/y_open/mask"][:].tolist() == 5 * [False] + [True]


def test_its_own_loader_takes_the_file(tmp_path):
    """`the_well.data.WellDataset` (PolymathicAI) gives our numbers, grid and boundaries."""
    loader = pytest.importorskip("the_well.data")
    data = well_data()
    folder = tmp_path / "data" / "train"
    folder.mkdir(parents=True)
    write_well(folder / "a.hdf5", data)
    write_well(folder / "b.hdf5", data)
    wells = loader.WellDataset(
        path=str(tmp_path), well_split_name="train", n_steps_input=2, n_steps_output=1
    )
    assert len(wells) == 2 * RUNS * (STEPS - 2)
    meta = wells.metadata
    assert meta.spatial_resolution == (WIDTH, HEIGHT)
    assert meta.field_names[1] == ["velocity_x", "velocity_y"]
    assert sorted(meta.boundary_condition_types) == ["OPEN", "PERIODIC", "WALL"]
    item = wells[4]  # the second run, from its second time
    assert item["input_fields"].shape == (2, WIDTH, HEIGHT, 1 + 2 + 4)
    shown = item["input_fields"][1].numpy()
    assert np.array_equal(shown[..., 0], data.fields["pressure"][1, 2].T)
    for component in range(2):
        ours = data.fields["velocity"][1, 2, component]
        assert np.array_equal(shown[..., 1 + component], ours.T)
    ours = data.fields["sgs_stress"][1, 3, 0, 1]
    assert np.array_equal(item["output_fields"][0].numpy()[..., 3 + 1], ours.T)
    assert np.array_equal(
        item["constant_fields"].numpy()[..., 0], data.constant_fields["mask"][1].T
    )
    # WALL 0, OPEN 1, PERIODIC 2
    assert item["boundary_conditions"].tolist() == [[2, 2], [0, 1]]
    assert np.allclose(item["space_grid"][3, 4], [1.5, 1.0])
    assert np.allclose(item["constant_scalars"], [0.25, 0.125])


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_any_number_of_axes(tmp_path, dimensions):
    loader = pytest.importorskip("the_well.data")
    sizes = dict(zip("xyz", (8, 6, 4)[:dimensions], strict=False))
    shape = tuple(reversed(sizes.values()))
    rng = np.random.default_rng(1)
    velocity = rng.normal(size=(1, 3, dimensions, *shape))
    data = well_data(
        coordinates={a: np.arange(n) * 0.5 for a, n in sizes.items()},
        times=np.arange(3.0),
        boundaries=dict.fromkeys(sizes, PERIODIC),
        fields={"velocity": velocity},
        constant_fields={},
        scalars={},
    )
    write_well(tmp_path / "a.hdf5", data)
    assert np.allclose(read_well(tmp_path / "a.hdf5").fields["velocity"], velocity, atol=1e-6)
    item = loader.WellDataset(path=str(tmp_path))[1]
    assert item["input_fields"].shape == (1, *sizes.values(), dimensions)
    assert (item["boundary_conditions"] == 2).all()
    index = tuple(n - 1 - i for i, n in enumerate(sizes.values()))
    value = velocity[(0, 1, dimensions - 1, *reversed(index))]
    assert item["input_fields"][(0, *index, dimensions - 1)].item() == pytest.approx(value)


def test_simulate_writes_it_and_fit_reads_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = (
        "simulate fluids/navier-stokes-2d --set height=16 --set width=24 --steps 20 --every 10"
    )
    code = main([*command.split(), "--set", "length_x=9.42477796076938", "--output", "run.hdf5"])
    assert code == 0, capsys.readouterr().err
    data = read_well(tmp_path / "run.hdf5")
    assert data.boundaries == {"x": PERIODIC, "y": PERIODIC}
    assert data.scalars["viscosity"] == pytest.approx(1e-3)
    assert data.lengths()["x"] == pytest.approx(3 * np.pi)
    assert data.fields["velocity"].shape == (1, 3, 2, 16, 24)
    energy = 0.5 * np.square(data.fields["velocity"]).sum(2).mean((-2, -1))
    assert np.allclose(data.scalars["mean_kinetic_energy"], energy, rtol=1e-5)
    sim = NavierStokes2D(height=16, width=24, length_x=3 * np.pi)
    observations = sim.read_observations(tmp_path / "run.hdf5")
    assert observations.options["steps"] == (0, 10, 20)
    predicted = sim.predict_observations(observations)["velocity"]
    assert torch.allclose(predicted, observations.values["velocity"], atol=1e-5)
    samples = read_hdf5(tmp_path / "run.hdf5")
    assert [s.id for s in samples] == ["run:0", "run:1", "run:2"]
    again = from_samples(
        {"run": samples}, name="again", boundaries=data.boundaries, scalars=["viscosity"]
    )
    for name in data.fields:
        assert np.array_equal(again.fields[name], data.fields[name])


def test_bad_input_is_one_line(tmp_path):
    path = tmp_path / "a.hdf5"
    with pytest.raises(InputError, match="boundaries of axis y"):
        write_well(path, well_data(boundaries={"x": PERIODIC}))
    with pytest.raises(InputError, match="periodic at one end only"):
        write_well(path, well_data(boundaries={"x": ("PERIODIC", "WALL"), "y": PERIODIC}))
    with pytest.raises(InputError, match="not evenly spaced"):
        write_well(path, well_data(coordinates={"x": np.arange(8.0), "y": np.arange(6.0) ** 2}))
    with pytest.raises(InputError, match=r"field 'p' has shape \(2, 5, 8, 6\)"):
        write_well(path, well_data(fields={"p": np.zeros((2, 5, 8, 6))}))
    with pytest.raises(InputError, match="scalar 'a' has shape"):
        write_well(path, well_data(scalars={"a": np.zeros(3)}))
    with h5py.File(path, "w") as file:
        file["velocity"] = np.zeros((2, 4, 4))
    with pytest.raises(InputError, match="lacks the groups"):
        read_well(path)
    write_well(path, well_data())
    with h5py.File(path, "a") as file:
        file.attrs["grid_type"] = "spherical"
    with pytest.raises(InputError, match="'spherical'; only cartesian"):
        read_hdf5(path)
    write_well(path, well_data())
    with pytest.raises(InputError, match="holds 2 runs"):
        NavierStokes2D(height=6, width=8, forcing_wavenumber=1).read_observations(path)
