"""Figures and films of every simulator: axes, files, and suffixes refused before a run."""

from __future__ import annotations

import sys

import pytest
import torch
from matplotlib.figure import Figure
from sfm_fluids.figures import films
from sfm_fluids.periodic.burgers import Burgers
from sfm_fluids.staggered.cavity import Cavity
from sfm_fluids.staggered.channel import Channel

from sfm.cli import main
from sfm.errors import InputError
from sfm.registry import parts


def test_panels_of_flows_between_walls_show_the_box(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    for sim in (Channel(height=8, width=24), Cavity(height=8, width=8)):
        with torch.no_grad():
            trajectory = sim.run(sim.state(), 2, every=1)
        sim.plot(trajectory, tmp_path / "flow.png")
        panels = [a for a in drawn.pop().axes if a.get_title().startswith("speed")]
        assert len(panels) == 3
        for axis in panels:
            assert axis.get_xlim() == pytest.approx((0, sim.grid.length_x))
            assert axis.get_ylim() == pytest.approx((0, sim.grid.length_y))
            assert (axis.get_xlabel(), axis.get_ylabel()) == ("x", "y")


def test_films_come_from_one_place_and_any_case_of_the_suffix_will_do(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    for sim in (Burgers(points=16), Cavity(height=6, width=6)):
        with torch.no_grad():
            trajectory = sim.run(sim.state(), 2, every=1)
        sim.plot(trajectory, tmp_path / "flow.mp4")
        assert b"ftyp" in (tmp_path / "flow.mp4").read_bytes()[:12]
        sim.plot(trajectory, tmp_path / "flow.PNG")
        assert (tmp_path / "flow.PNG").read_bytes()[:4] == b"\x89PNG"


def test_a_film_has_at_most_so_many_frames(tmp_path, monkeypatch):
    monkeypatch.setattr(films, "FRAMES", 3)
    shown: list[int] = []
    films.film(Figure(figsize=(1, 1)), 7, tmp_path / "a.gif", shown.append)
    assert shown == [0, 3, 6]


def test_a_still_is_asked_for_where_there_are_no_films(tmp_path):
    with pytest.raises(InputError, match=r"draw to \.png, \.pdf, \.svg, not '\.gif'"):
        films.moves(tmp_path / "a.gif", films.STILL)


@pytest.mark.parametrize("part", [p.full_name for p in parts("simulators", domain="fluids")])
@pytest.mark.parametrize(
    ("option", "said"), [("--plot", "draw to .png"), ("--output", "writes no '.txt'")]
)
def test_a_wrong_suffix_is_refused_before_the_run(part, option, said, monkeypatch, capsys):
    def run(*_: object, **__: object) -> None:
        raise AssertionError("ran")

    monkeypatch.setattr("sfm.simulate.base.Simulator.run", run)
    assert main(["simulate", part, option, "a.txt"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_a_film_without_ffmpeg_is_refused_before_the_run(monkeypatch, capsys):
    def run(*_: object, **__: object) -> None:
        raise AssertionError("ran")

    monkeypatch.setattr("sfm.simulate.base.Simulator.run", run)
    monkeypatch.setattr("shutil.which", lambda *_: None)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert main(["simulate", "fluids/burgers", "--plot", "a.mp4"]) == 2
    assert "a.mp4: .mp4 needs ffmpeg" in capsys.readouterr().err
