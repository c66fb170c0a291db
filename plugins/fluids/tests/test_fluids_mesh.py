"""Meshes as tokens: what the encoder says of them, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sfm_fluids.elements.coarsening import coarser
from sfm_fluids.elements.mesh import COOK, UNIT, edges, quadrilateral
from sfm_fluids.learned.mesh_trunk import small_model
from sfm_fluids.patches.mesh_encoder import MeshEncoder, mesh_of

from sfm.data.sample import Sample
from sfm.errors import InputError


def square(n: int = 4, **fields: np.ndarray) -> Sample:
    mesh = quadrilateral(UNIT, n, n)
    known = {"mesh_points": mesh.points.numpy(), "mesh_triangles": mesh.triangles.numpy()}
    return Sample(id="square", domain="fluids", fields={**known, **fields})


def test_the_outside_of_a_square_is_where_it_is():
    """Normals of its sides, and the diagonal at its corners; none inside."""
    tokens = MeshEncoder(channels=4).tokenize(square())
    x = torch.tensor(square().fields["mesh_points"])
    normals, outer = tokens.vectors[:, :2, 0], tokens.extras["mesh_boundary"]
    edge = ((x == 0) | (x == 1)).any(1)
    assert torch.equal(outer, edge)
    assert torch.equal(tokens.scalars[:, 0], edge.double())
    assert not normals[~edge].any()
    expected = torch.nn.functional.normalize((x == 1).double() - (x == 0).double(), dim=1)
    torch.testing.assert_close(normals, expected)


def test_messages_run_along_edges_or_between_near_points():
    """9 rows of 4 cells of two triangles: 56 edges, both ways; or all pairs within a distance."""
    sample = square()
    along = MeshEncoder(channels=4).tokenize(sample)
    assert along.n_edges == 2 * 56
    lengths = along.edge_vectors().norm(dim=1)
    assert float(lengths.max()) == pytest.approx(float(along.cutoff[0]) / 1.25)
    assert torch.equal(along.edges[1], along.edges[1].sort().values)
    near = MeshEncoder(channels=4, along="distance", cutoff=2.0).tokenize(sample)
    apart = torch.cdist(near.positions, near.positions)
    assert near.n_edges == int(((apart < 2.0) & (apart > 0)).sum())
    assert float(near.edge_vectors().norm(dim=1).max()) < 2.0


def test_coarser_meshes_halve_a_square_again_and_again():
    """17 x 17 points, then 9 x 9, 5 x 5, 3 x 3 and 2 x 2 of them, each the same kind of mesh."""
    mesh = quadrilateral(UNIT, 16, 16)
    levels = coarser(edges(mesh.triangles)[0], len(mesh.points))
    assert [len(pairs.unique()) for pairs in levels] == [81, 25, 9, 4]
    for number, pairs in enumerate(levels[:3]):
        places = mesh.points[pairs.unique()]
        side = torch.linspace(0, 1, 2 ** (3 - number) + 1).double()
        assert torch.equal(places.unique(dim=0), torch.cartesian_prod(side, side))
    assert coarser(torch.zeros(0, 2, dtype=torch.long), 9) == []


def test_two_layers_hear_across_a_mesh_that_has_levels():
    """A change at one corner reaches the other; along edges it does not."""
    heard = {}
    for along in ("edges", "levels"):
        model = small_model(along=along).double()
        answers = []
        for value in (0.0, 1.0):
            field = np.zeros((17 * 17, 1))
            field[0] = value
            tokens = model.encoder("fluids/mesh").tokenize(square(16, mesh_scalars=field))
            with torch.no_grad():
                answers.append(model.features({"fluids/mesh": tokens})["fluids/mesh"].scalars)
        heard[along] = float((answers[1] - answers[0])[-1].abs().max())
    assert heard["edges"] == 0
    assert heard["levels"] > 1e-6


def test_levels_turn_with_the_mesh():
    """As the conformance kit asks of the encoder along edges."""
    encoder = MeshEncoder(channels=4, along="levels")
    assert encoder.options == {"along": "levels"}
    model = small_model(along="levels").double()
    sample = MeshEncoder.examples()[1]

    def answer(given: Sample) -> torch.Tensor:
        tokens = encoder.tokenize(given)
        with torch.no_grad():
            return model.features({"fluids/mesh": tokens})["fluids/mesh"].scalars

    for name, moved, _ in encoder.symmetries(torch.Generator().manual_seed(0)):
        torch.testing.assert_close(answer(moved(sample)), answer(sample), msg=name)
    lengths = encoder.tokenize(square(16)).edge_vectors().norm(dim=1)
    shortest = 800 / (544 + 256 * 2**0.5)  # of the finest: 544 sides and 256 diagonals, mean 1
    assert float(lengths.min()) == pytest.approx(shortest)


def test_a_finer_part_of_a_mesh_is_seen():
    """Cook's membrane narrows to the right: edges there are shorter than their mean."""
    mesh = quadrilateral(COOK, 6, 4)
    fields = {"mesh_points": mesh.points.numpy(), "mesh_triangles": mesh.triangles.numpy()}
    sizes = MeshEncoder(channels=4).tokenize(Sample(id="m", domain="fluids", fields=fields))
    x = mesh.points[:, 0]
    left, right = sizes.scalars[x == 0, 1].mean(), sizes.scalars[x == 48, 1].mean()
    assert float(right) < float(left)


def test_what_is_given_reaches_the_points():
    n = 25
    sample = square(
        mesh_scalars=np.arange(n, dtype=float)[:, None],
        mesh_vectors=np.full((n, 2, 1), 2.0),
        mesh_parameters=np.array([0.5, 80.0]),
    )
    tokens = MeshEncoder(channels=4).tokenize(sample)
    torch.testing.assert_close(tokens.scalars[:, 2], torch.arange(n).double().asinh())
    assert tokens.scalars[:, 6].tolist() == pytest.approx([math.asinh(0.5)] * n)
    assert tokens.scalars[:, 7].tolist() == pytest.approx([math.asinh(80.0)] * n)
    size = math.asinh(math.sqrt(8)) / math.sqrt(2)
    torch.testing.assert_close(tokens.vectors[:, :2, 1], torch.full((n, 2), size).double())


def test_triangles_of_either_sense_are_the_same_mesh():
    sample = square()
    turned = sample.fields["mesh_triangles"].copy()
    turned[::2] = turned[::2, ::-1]
    other = sample.replace(fields={**sample.fields, "mesh_triangles": turned})
    a, b = (MeshEncoder(channels=4).tokenize(s) for s in (sample, other))
    torch.testing.assert_close(a.vectors, b.vectors)
    assert torch.equal(a.edges, b.edges)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"mesh_scalars": np.zeros(25)}, "mesh_scalars .* is not"),
        ({"mesh_scalars": np.zeros((25, 5))}, "up to 4"),
        ({"mesh_vectors": np.zeros((24, 2, 1))}, "mesh_vectors"),
        ({"mesh_parameters": np.zeros(13)}, "up to 12"),
        ({"mesh_triangles": np.array([[0, 1, 99]])}, "square: a mesh's triangles must name"),
        ({"mesh_triangles": np.array([[0, 1, 2]])}, "square: triangle 0"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(fields, text):
    with pytest.raises(InputError, match=text):
        MeshEncoder(channels=4).tokenize(square(**fields))


def test_options_that_would_be_dropped_are_refused():
    with pytest.raises(InputError, match="no cutoff"):
        MeshEncoder(channels=4, cutoff=3.0)
    with pytest.raises(InputError, match="none of edges, levels, distance"):
        MeshEncoder(channels=4, along="mesh")
    with pytest.raises(InputError, match="no field 'mesh_points'"):
        mesh_of(Sample(id="s", domain="fluids"), "this")


def coarse_medium(turn: float = 0.0):
    """A random medium on 2 x 2 x 2 triangles, turned by an angle about the origin."""
    from sfm_fluids.elements.mesh import Mesh
    from sfm_fluids.learned.mesh_correction import medium

    fine, coarse = quadrilateral(UNIT, 8, 8), quadrilateral(UNIT, 2, 2)
    c, s = math.cos(turn), math.sin(turn)
    matrix = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    a = torch.exp(torch.randn(128, generator=torch.Generator().manual_seed(0)).double())
    centres = fine.points[fine.triangles].mean(1) @ matrix.T
    return medium(Mesh(coarse.points @ matrix.T, coarse.triangles), centres, a)


def test_the_trunk_corrects_a_coarse_mesh():
    """It starts at the geometric mean, turns with the mesh, and every part of it learns."""
    from sfm_fluids.learned.mesh_trunk import TrunkCorrection

    network, medium = TrunkCorrection().double(), coarse_medium()
    torch.testing.assert_close(network.factor(medium), medium.log_mean.exp())
    torch.nn.init.normal_(network.out[2].weight)
    values = network(medium)
    torch.testing.assert_close(network(coarse_medium(0.7)), values)
    values.square().sum().backward()
    used = [name for name, p in network.named_parameters() if p.grad is not None and p.grad.any()]
    assert any(name.startswith("model.encoders") for name in used)
    assert any("layers.1" in name for name in used)


def test_the_recipe_of_levels_measures_a_row(monkeypatch):
    """Two steps: as many parameters along levels as along edges; a solution of Poisson's kind."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[3] / "recipes")
    import mesh_levels

    monkeypatch.setattr(mesh_levels, "CELLS", 6)
    monkeypatch.setattr(mesh_levels, "OTHER", 8)
    rows = [mesh_levels.measured(f"{along}, 2 layers", 4, 2, 0) for along in ("edges", "levels")]
    assert rows[0]["parameters"] == rows[1]["parameters"]
    assert all(0.1 < row["error"] < 2 for row in rows)
    problem = mesh_levels.Problem(8)
    _, u = problem.case(small_model(), 0)
    outer = mesh_levels.boundary_edges(problem.mesh.triangles).flatten()
    assert not u[outer].any()
