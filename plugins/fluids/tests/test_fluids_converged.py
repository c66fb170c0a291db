"""Solvers that search for one answer say it first, and whether it was reached."""

from __future__ import annotations

import json

import pytest
import torch
from sfm_fluids.darcy.flow import Darcy
from sfm_fluids.rans.channel import RansChannel
from sfm_fluids.staggered.cavity import Cavity
from sfm_fluids.staggered.channel import Channel

from sfm.cli import main
from sfm.progress import Progress, listening


def simulate(capsys, *words: str) -> dict:
    assert main(["simulate", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_each_says_its_answer_first(capsys):
    """Numbers and fields without an axis of iterations; the history beside them."""
    darcy = simulate(capsys, "fluids/darcy", "--set", "height=6", "width=7")
    assert darcy["converged"] is True
    assert darcy["quantities"]["pore_pressure"]["shape"] == [6, 7]
    assert len(darcy["quantities"]["boundary_flow"]["value"]) == 4
    assert darcy["history"]["iteration"]["value"] == [0, 1]
    rans = simulate(capsys, "fluids/rans-channel", "--set", "cells=24")
    assert rans["converged"] is True
    bulk = rans["quantities"]["bulk_velocity"]["value"]
    assert rans["history"]["bulk_velocity"]["value"][-1] == bulk
    small = ("height=8", "width=8", "initial=steady")
    cavity = simulate(capsys, "fluids/cavity", "--set", *small)
    assert cavity["converged"] is True
    assert cavity["quantities"]["velocity"]["shape"] == [2, 8, 8]
    assert cavity["quantities"]["centreline_u_min"]["value"] < 0
    # steps that somebody asks for are steps in time
    run = simulate(capsys, "fluids/cavity", "--set", *small, "--steps", "2")
    assert "converged" not in run
    assert run["quantities"]["centreline_u_min"]["shape"] == [3, 1]


def test_what_is_not_the_answer_is_not_called_converged():
    with torch.no_grad():
        darcy = Darcy(height=6, width=7)
        assert not darcy.converged(darcy.state())
        assert darcy.converged(darcy(darcy.state()))
        sides = dict.fromkeys(("left", "right", "bottom", "top"), "neumann")
        closed = Darcy(height=6, width=7, left_value=1.0, right_value=-1.0, source_strength=0.0,
                       **sides)  # fmt: skip
        assert closed.converged(closed(closed.state()))
        for model in ("mixing-length", "k-epsilon"):
            rans = RansChannel(model=model, cells=24, von_karman=0.35, c_mu=0.08)
            assert not rans.converged(rans.state())
            assert rans.converged(rans(rans.state()))
        cavity = Cavity(height=8, width=8, initial="steady", stretching=2.0)
        assert cavity.converged(cavity.state())
        assert cavity.converged(cavity.flow().start(*cavity.rest())) is False
        assert Cavity(height=8, width=8).converged(cavity.state()) is None
        body = Channel(
            height=12, width=16, length_x=2.0, initial="steady", streamwise="open", viscosity=0.1,
            obstacle_shape="square", obstacle_x=0.8, obstacle_size=0.3,
        )  # fmt: skip
        assert body.converged(body.state())


@pytest.mark.parametrize(
    "work", [lambda: Cavity(height=8, width=8).steady(), lambda: Darcy()(Darcy().state())]
)
def test_long_solves_say_how_far_they_are(work):
    said: list[Progress] = []
    with listening(said.append):
        work()
    assert [p.done for p in said] == list(range(len(said)))
    assert len(said) > 2
    assert "iteration" in said[0].work
