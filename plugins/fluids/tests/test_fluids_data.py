"""The simulated data: budgets, filtering, and the bundled files."""

from __future__ import annotations

import csv
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from sfm_fluids.closures.classical import GradientModel
from sfm_fluids.data import building_2d
from sfm_fluids.data.cases import Ensemble, Resolution, changed, planned
from sfm_fluids.data.dns_2d import Case, Snapshot, run
from sfm_fluids.data.pairs import next_state_pairs
from sfm_fluids.data.quality import Quality
from sfm_fluids.data.specs import TURBULENCE_2D, TURBULENCE_2D_UNSEEN
from sfm_fluids.evaluation.a_posteriori import replay
from sfm_fluids.evaluation.metrics import a_priori
from sfm_fluids.flows.bundled import filtered_curl, member_of
from sfm_fluids.flows.members import FLOWS, Member, curl_of_force, initial_vorticity
from sfm_fluids.flows.trajectories import trajectories
from sfm_fluids.patches.flow_encoder import FlowEncoder
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.spectral.forcing import kolmogorov_curl, ring_curl
from sfm_fluids.spectral.grid_2d import Grid, velocity

from sfm.data.storage import Dataset
from sfm.errors import InputError, RunError

MEMBERS = tuple(Member(kind, seed) for seed, kind in enumerate(FLOWS, 1))


@pytest.mark.parametrize(("precision", "budget"), [("float64", 5e-6), ("float32", 1e-5)])
def test_a_small_ensemble_closes_its_budget(precision, budget):
    case = Case(8e-3, 64, 0.0125, 0.5, 0.25, 2, MEMBERS, precision)
    coarse = Grid(16, 16)
    items = list(run(case, coarse, 3 * coarse.isotropic_spacing))
    snapshots = [i for i in items if isinstance(i, Snapshot)]
    quality = [i for i in items if isinstance(i, Quality)]
    assert [(s.member.kind, round(s.time, 9)) for s in snapshots[:: len(FLOWS)]] == [
        ("kolmogorov", 0.5),
        ("kolmogorov", 0.75),
    ]
    for q in quality:
        assert q.budget_residual < budget
        assert q.max_divergence < 1e-12
        assert q.equation_residual < (2e-4 if precision == "float64" else 1e-3)
    again = next(i for i in run(case, coarse, 3 * coarse.isotropic_spacing))
    assert np.array_equal(again.velocity, snapshots[0].velocity)


def test_an_unstable_case_is_reported():
    case = Case(1e-4, 32, 1.0, 40.0, 1.0, 1, MEMBERS[:1])
    with pytest.raises(RunError, match="reduce dt"):
        list(run(case, Grid(16, 16), 1.0))


def test_forces_have_equal_strength_on_every_grid():
    for points in (32, 48):
        grid = Grid(points, points)
        seed = torch.Generator().manual_seed(4)
        jet = curl_of_force(Member("jet", 0), grid)
        for curl in (kolmogorov_curl(grid, 4), ring_curl(grid, 4.0, 0.75, seed), jet):
            force = velocity(curl, grid)  # a solenoidal force relates to its curl as u to omega
            assert force.square().sum(0).mean().item() == pytest.approx(0.5, rel=1e-9)


def test_a_disturbed_shear_layer_grows_as_kelvin_and_helmholtz_say():
    """Inviscid rate of a single tanh layer at k delta = 0.4446: 0.1897 U / delta (Michalke 1964).

    Here delta = 0.25 and the box allows k = 2 (k delta = 0.5, rate 0.1875 U / delta by his table);
    the second layer and viscosity change it by some per cent.
    """
    grid = Grid(64, 64)
    x, _ = grid.coordinates()
    sim = NavierStokes2D(
        height=64, width=64, viscosity=1e-4, drag=0.0, forcing_wavenumber=0, dt=0.01
    )
    _, y = grid.coordinates()
    profile = torch.tanh(torch.sin(y - 1.0) / 0.25)
    layers = -1.5 * (1 - profile**2) * torch.cos(y - 1.0) / 0.25
    start = initial_vorticity(Member("shear", 3), grid)
    assert start.mean().abs() < 1e-12
    assert velocity(start, grid)[0].abs().amax().item() == pytest.approx(1.5, abs=0.25)
    state = sim.from_velocity(velocity(layers + 1e-4 * torch.cos(2 * x), grid))
    sizes = []
    with torch.no_grad():
        for _ in range(2):
            state = sim(state, 250)
            sizes.append(torch.fft.rfft(state.vorticity[0], dim=-1)[:, 2].abs().norm())
    rate = torch.log(sizes[1] / sizes[0]).item() / 2.5
    assert rate == pytest.approx(0.1875 * 1.5 / 0.25, rel=0.06)


TABLE = (Resolution(8e-3, 96, 0.0125, 8.0), Resolution(1e-3, 256, 0.003125, 8.0))
ENSEMBLE = Ensemble(("kolmogorov", "ring", "decaying"), TABLE, 0.25, 22)


def test_cases_keep_their_names_in_the_cache():
    """A case's text is its key: rows that exist must be found again."""
    first, last = planned([ENSEMBLE], 900)
    assert repr(last) == (
        "Case(viscosity=0.001, points=256, dt=0.003125, spin_up=8.0, interval=0.25, snapshots=22, "
        "members=(Member(kind='kolmogorov', seed=910), Member(kind='kolmogorov', seed=911), "
        "Member(kind='ring', seed=912), Member(kind='ring', seed=913), "
        "Member(kind='decaying', seed=914), Member(kind='decaying', seed=915)), "
        "precision='float32')"
    )
    assert first.precision == "float64"
    assert planned([ENSEMBLE], 900, size=24)[0].snapshots == 2


def test_settings_choose_flows_and_reynolds_numbers():
    ensembles = changed([ENSEMBLE], {"flows": ["ring"], "reynolds": [125, 700], "snapshots": 3})
    small, large = planned(ensembles, 900)
    assert {m.kind for c in (small, large) for m in c.members} == {"ring"}
    assert [m.seed for m in small.members] == [902, 903]  # as in the whole set
    assert large.reynolds == pytest.approx(700)
    assert large.points == 256  # the grid of the next Reynolds number that is listed
    assert small.snapshots == 3
    for settings, message in (
        ({"gird": 16}, "Did you mean 'grid'"),
        ({"flows": "pipe"}, "no flow 'pipe'"),
        ({"flows": "jet"}, "has none of them"),
        ({"reynolds": 2000}, "take at most 1000"),
        ({"interval": 0.11}, "no multiple of the time step"),
        ({"interval": "often"}, "interval=often: give a number above 0"),
        ({"interval": math.inf}, "interval=inf: give a number above 0"),
        ({"reynolds": ["high"]}, "reynolds=high: give a number above 0"),
        ({"dt": 0}, "dt=0: give a number above 0"),
        ({"snapshots": -2}, "snapshots=-2: give a whole number above 0"),
        ({"points": 2.5}, r"points=2\.5: give a whole number above 0"),
        ({"spin_up": True}, "spin_up=True: give a number above 0"),
        ({"grid": 512}, "more points than the [0-9]+ of a simulation; set points too"),
    ):
        with pytest.raises(InputError, match=message):
            changed([ENSEMBLE], settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "gird=16"], "Did you mean 'grid'"),
        (["--set", "grid=16", "reynolds=[500]"], "give --out FOLDER"),
        (["--seed", "3"], "give --out FOLDER"),
        (["--set", "grid=2", "--out", "small"], "at least 8"),
        (["--set", "grid", "--out", "small"], "write KEY=VALUE"),
        (["--size", "-3", "--out", "small"], "--size -3: must be at least 1"),
        (["--workers", "0"], "--workers 0: must be at least 1"),
    ],
)
def test_options_that_change_bundled_data_are_refused(options, message, capsys, tmp_path):
    ensembles = [ENSEMBLE]
    code = building_2d.main(
        "text",
        TURBULENCE_2D,
        tmp_path,
        ensembles,
        _inside(options, tmp_path),
        seed=1,
        fractions=(1, 0, 0),
    )
    assert code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def _inside(options, folder):
    return [str(folder / o) if o == "small" else o for o in options]


@pytest.mark.slow
def test_building_in_parallel_gives_the_same_files(tmp_path):
    """`sfm dataset build` with two Dask workers against one process; a failure is named."""
    settings = "grid=16 points=32 dt=0.025 reynolds=125 flows=[shear,jet] snapshots=2 spin_up=0.25"

    def built(name: str, *more: str) -> subprocess.CompletedProcess[str]:
        words = ["dataset", "build", "fluids/turbulence-2d", "--out", name, *more, "--set"]
        return subprocess.run(
            [sys.executable, "-m", "sfm", *words, *settings.split()],
            cwd=tmp_path,
            env={**os.environ, "SFM_CACHE": str(tmp_path / f"cache-{name}")},
            capture_output=True,
            text=True,
        )

    for done in (built("one"), built("two", "--workers", "2")):
        assert done.returncode == 0, done.stderr
        assert "[2/2]" in done.stderr
    files = [sorted((tmp_path / n).rglob("*.*")) for n in ("one", "two")]
    assert [p.name for p in files[0]] == ["part-00000-of-00001.parquet", "quality.csv"]
    for a, b in zip(*files, strict=True):
        assert a.read_bytes() == b.read_bytes()
    data = Dataset(tmp_path / "one", length_unit="1")
    assert len(data) == 8
    assert data[0].fields["velocity"].shape == (2, 16, 16)
    failed = built("three", "--set", "dt=0.25")
    assert failed.returncode == 2
    assert "'dt' was set before" in failed.stderr


def opened(spec, split: str | None = None) -> Dataset:
    return Dataset(spec.folder, length_unit=spec.length_unit, split=split)


@pytest.mark.parametrize("spec", [TURBULENCE_2D, TURBULENCE_2D_UNSEEN], ids=lambda s: s.name)
def test_bundled_rows_are_flows_with_a_plausible_stress(spec):
    data = opened(spec)
    seen = {
        s: {x.id.rsplit("-", 1)[0] for x in opened(spec, s)}
        for s in ("train", "validation", "test")
    }
    assert all(seen.values())
    assert sum(len(groups) for groups in seen.values()) == len(set.union(*seen.values()))
    expected = {700.0, 2000.0} if spec.held_out else {125.0, 250.0, 500.0, 1000.0}
    assert {round(data[i].conditions["reynolds"]) for i in range(len(data))} == expected
    rows = [data[i] for i in range(0, len(data), 25)]
    table = a_priori(rows, {})["gradient"]
    assert table["correlation"] > 0.93
    assert 0.1 < table["relative_error"] < 0.35
    for row in rows:
        stress = row.labels["sgs_stress"]
        assert stress.shape == (1024, 2, 2)
        assert np.array_equal(stress[:, 0, 1], stress[:, 1, 0])
        assert np.trace(stress.mean(0)) > 0  # the subgrid scales hold energy


def test_the_next_rows_follow_from_the_first_and_a_closure_helps():
    """Ties together time, viscosity, drag, filtered force and stress of the stored rows."""
    data = opened(TURBULENCE_2D, "test")
    name, rows = next((k, v) for k, v in trajectories(data).items() if "kolmogorov" in k)
    plain = replay(rows[:3])
    closed = replay(rows[:3], closure=GradientModel())
    assert np.allclose(plain.times, [0.25, 0.5], atol=1e-6)
    assert plain.relative_error[0] < 0.15
    assert (closed.relative_error < 0.5 * plain.relative_error).all()
    unit = kolmogorov_curl(Grid(32, 32), 4)
    ratio = (filtered_curl(member_of(name)) * unit).sum() / unit.square().sum()
    width = 3 * 2 * np.pi / 32
    assert ratio.item() == pytest.approx(np.exp(-(4**2) * width**2 / 24), rel=1e-12)


def test_every_bundled_trajectory_was_resolved():
    """`quality.csv`: divergence, budget and distance from the equation of each trajectory."""
    limits = {"budget_residual": 1e-4, "equation_residual": 5e-4, "max_divergence": 1e-12}
    for spec in (TURBULENCE_2D, TURBULENCE_2D_UNSEEN):
        with (spec.folder / "quality.csv").open() as file:
            table = {row["group"]: row for row in csv.DictReader(file)}
        assert set(table) == {x.id.rsplit("-", 1)[0] for x in opened(spec)}
        for name, row in table.items():
            for measure, limit in limits.items():
                assert 0 <= float(row[measure]) < limit, (name, measure)
            assert float(row["kmax_dissipation_length"]) > 1.6
            assert float(row["spectrum_tail"]) < 3e-6
    kinds = {name.split("-")[1] for name in (x.id for x in opened(TURBULENCE_2D))}
    assert kinds == set(FLOWS)


# the rows say their Reynolds number, the solver takes their viscosity
@pytest.mark.filterwarnings("ignore:.*does not use its reynolds")
@pytest.mark.parametrize("kind", FLOWS)
def test_stored_rows_follow_from_their_own_stress(kind):
    """From one row to the next with the mean of their two stresses, and with none."""
    name, rows = next((k, v) for k, v in trajectories(opened(TURBULENCE_2D)).items() if kind in k)
    stress = 0.5 * sum(row.labels["sgs_stress"].astype(float) for row in rows[4:6])
    errors = []
    for closure in (Frozen(torch.from_numpy(stress)), None):
        sim = NavierStokes2D(
            height=32,
            width=32,
            viscosity=rows[0].conditions["viscosity"],
            drag=rows[0].conditions["drag"],
            dt=0.0125,
            force_curl=filtered_curl(member_of(name)),
            closure=closure,
        )
        with torch.no_grad():
            reached = sim.velocity(sim(sim.state(rows[4]), 20))
            errors.append((reached - sim.velocity(sim.state(rows[5]))).norm().item())
    assert errors[0] < 0.25 * errors[1]


class Frozen(torch.nn.Module):
    """The stress of one row, for a short time."""

    def __init__(self, stress: torch.Tensor) -> None:
        super().__init__()
        self.stress = stress.reshape(1, 32, 32, 2, 2).permute(0, 3, 4, 1, 2)

    def forward(self, velocity: torch.Tensor, spacing: float) -> torch.Tensor:
        return self.stress


def test_pairs_of_states_come_from_the_rows_that_are_there():
    rows = list(opened(TURBULENCE_2D, "validation"))
    pairs = next_state_pairs(rows)
    groups = trajectories(rows)
    assert len(pairs) == len(rows) - len(groups)
    again = {s.id: s for s in rows}
    first = pairs[0]
    change = first.labels["velocity_change"].reshape(32, 32, 2)
    later = next(
        s for s in again.values() if s.id == first.id[:-3] + f"{int(first.id[-3:]) + 1:03d}"
    )
    assert np.allclose(
        first.fields["velocity"] + np.moveaxis(change, -1, 0), later.fields["velocity"]
    )
    assert set(first.labels) == {"velocity_change"}
    assert first.conditions["interval"] == pytest.approx(0.25)
    for pair in next_state_pairs(rows, stride=4)[::30]:
        assert pair.conditions["interval"] == pytest.approx(1.0)
        strength = np.square(pair.fields["force"]).sum(0).mean()
        forced = pair.id.split("-")[1] not in ("decaying", "shear")
        assert (0.1 < strength < 0.5) if forced else strength == 0
    tokens = FlowEncoder(channels=8).tokenize(first)
    assert torch.isfinite(tokens.scalars).all()
    with pytest.raises(InputError, match="not a row of turbulence-2d"):
        next_state_pairs([rows[0].replace(id="mine-0")])
