"""Metal-organic frameworks: the bundled slice, its units, families and pores, and the reader."""

from __future__ import annotations

import csv
import io
import tarfile
import zipfile
from collections import defaultdict

import numpy as np
import pytest
from ase.cell import Cell
from ase.data import chemical_symbols
from scipy import ndimage
from scipy.spatial import cKDTree
from sfm_crystals.data import building, frameworks, perturbation, specs

from sfm.data.splits import assign
from sfm.data.storage import open_dataset
from sfm.errors import InputError

NAMES = ("largest_cavity_diameter", "pore_limiting_diameter", "accessible_surface_area",
         "void_fraction")  # fmt: skip
# lines of CoRE_MOF/data/2019-ASR.csv: LCD, PLD, ASA_m2_cm3, AV_VF; then cm3_g and ASA_m2_g
TABLE: dict[str, tuple[float, ...]] = {
    "DEYDOA_clean": (4.42418, 4.12009, 1171.93, 0.5322, 1.27058, 922.356),
    "LIFQIC_clean": (6.18404, 2.40576, 0.0, 0.5046, 1.87526, 0.0),
    "OCUPUY_clean": (4.6531, 4.04819, 995.727, 0.479, 1.52024, 654.982),
    "MASMIC_clean": (9.31006, 7.53558, 2625.75, 0.7606, 0.580679, 4521.86),
    "AYUPOZ_clean": (4.01743, 3.16861, 0.0, 0.5504, 1.82543, 0.0),
}
# radii of Zeo++ 0.3 (networkinfo.cc, after the Cambridge Crystallographic Data Centre), angstrom
RADII = {"H": 1.09, "Li": 1.82, "C": 1.7, "N": 1.55, "O": 1.52, "F": 1.47, "Na": 2.27, "Mg": 1.73,
         "Si": 2.1, "P": 1.8, "S": 1.8, "Cl": 1.75, "K": 2.75, "Ni": 1.63, "Cu": 1.4, "Zn": 1.39,
         "Ga": 1.87, "As": 1.85, "Se": 1.9, "Br": 1.85, "Pd": 1.63, "Ag": 1.72, "Cd": 1.58,
         "In": 1.93, "Sn": 2.17, "Te": 2.06, "I": 1.98, "Pt": 1.72, "Au": 1.66, "Hg": 1.55,
         "Tl": 1.96, "Pb": 2.02, "U": 1.86}  # fmt: skip
OTHER_RADIUS = 2.0
PROBE = 1.655  # angstrom, of nitrogen
REACH = 12.0  # angstrom, from a place to the nearest atom at most


@pytest.fixture(scope="module")
def samples():
    return {s.id: s for s in open_dataset(specs.CRYSTALS_MOF.folder)}


def test_labels_are_the_table_s_and_densities_agree(samples):
    for name, (*pores, density, area) in TABLE.items():
        sample = samples[name]
        labels = [float(sample.labels[quantity]) for quantity in NAMES]
        assert labels == pores
        # to the digits of the table and of the masses
        assert frameworks.density(sample.types, sample.cell) == pytest.approx(density, rel=2e-4)
        if area:  # m^2/cm^3 by m^2/g is g/cm^3
            assert labels[2] / area == pytest.approx(density, rel=2e-5)


def test_pores_are_consistent(samples):
    """An area is reached where, and only where, nitrogen passes through."""
    for sample in samples.values():
        cavity, limit, area, void = (float(sample.labels[quantity]) for quantity in NAMES)
        assert cavity >= limit > 0
        assert (area > 0) == (limit > 2 * PROBE)
        assert 0 < void < 1
        assert 5000 * void == pytest.approx(round(5000 * void))  # of 5,000 random places


def clearance(sample):
    """A function: distance of places (n, 3) to the nearest atom's sphere."""
    heights = 1 / np.linalg.norm(np.linalg.inv(sample.cell), axis=0)
    counts = [np.arange(-n, n + 1) for n in np.ceil(REACH / heights).astype(int)]
    shifts = np.stack(np.meshgrid(*counts, indexing="ij"), -1).reshape(-1, 3)
    inside = (sample.positions @ np.linalg.inv(sample.cell)) % 1
    images = (inside + shifts[:, None]).reshape(-1, 3) @ sample.cell
    radii = np.array([RADII.get(chemical_symbols[z], OTHER_RADIUS) for z in sample.types])
    every = np.tile(radii, len(shifts))
    trees = [(r, cKDTree(images[every == r])) for r in np.unique(radii)]
    return lambda places: np.min([tree.query(places)[0] - r for r, tree in trees], axis=0)


def grid(cell, spacing=0.2):
    """Places (a, b, c, 3) of a cell."""
    counts = np.ceil(np.linalg.norm(cell, axis=1) / spacing).astype(int)
    axes = [np.arange(n) / n for n in counts]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1) @ cell


def highest(function, places, step=0.2):
    """Largest value that random steps, shorter and shorter, find from the best places."""
    rng = np.random.default_rng(0)
    best = places[np.argsort(function(places))[-40:]]
    values = function(best)
    while step > 1e-4:
        trials = best + rng.normal(size=(20, 1, 3)) * step
        reached = function(trials.reshape(-1, 3)).reshape(20, -1)
        first = reached.argmax(0)
        better = reached.max(0) > values
        best = np.where(better[:, None], trials[first, np.arange(len(best))], best)
        values = np.maximum(values, reached.max(0))
        step *= 0.8
    return values.max()


def test_pores_are_those_of_the_structures_and_of_zeo_s_radii(samples):
    """Cavity and void fraction from the atoms alone, by a grid and a climb on it.

    The table's void fractions are shares of 5,000 random places, whose standard error is 0.007 at
    most; the grid's own error is less than half of it. Its diameters come from a tessellation that
    is approximate for spheres of unequal radii; they are larger by 0.02 angstrom in the mean of 40.
    """
    voids, cavities = [], []
    for sample in list(samples.values())[:8]:
        function = clearance(sample)
        places = grid(sample.cell).reshape(-1, 3)
        voids.append(np.mean(function(places) > 0) - float(sample.labels["void_fraction"]))
        cavity = 2 * highest(function, places)
        cavities.append(float(sample.labels["largest_cavity_diameter"]) - cavity)
    assert np.abs(voids).max() < 0.03
    assert np.mean(np.abs(voids)) < 0.01
    assert min(cavities) > -0.005
    assert max(cavities) < 0.2
    assert np.median(cavities) < 0.03


def passes(inside):
    """Whether some way through the places of a periodic grid comes to an image of its start."""
    labels, _ = ndimage.label(inside, np.ones((3, 3, 3)))
    shape = np.array(labels.shape)
    across = defaultdict(set)  # from a pool to another, through faces of the cell
    for step in np.ndindex(3, 3, 3):
        step = np.array(step) - 1
        ahead = np.indices(labels.shape) + step[:, None, None, None]
        crossed = np.floor_divide(ahead, shape[:, None, None, None])
        to = labels[tuple(ahead % shape[:, None, None, None])]
        chosen = (labels > 0) & (to > 0) & crossed.any(0)
        for a, b, *image in np.unique([labels[chosen], to[chosen], *crossed[:, chosen]], axis=1).T:
            across[a].add((b, *image))
    at = {}
    for start in across:
        pools = [] if start in at else [start]
        at.setdefault(start, np.zeros(3, int))
        while pools:
            here = pools.pop()
            for pool, *image in across[here]:
                if pool not in at:
                    at[pool] = at[here] + image
                    pools.append(pool)
                elif (at[pool] != at[here] + image).any():
                    return True
    return False


def test_limiting_diameters_are_those_of_a_flooded_grid(samples):
    """Ways over the places of a grid are narrower than the widest way, by the diagonal of a cube of
    its spacing at most: clearance changes by no more than the way from a place to the next. The
    tessellation's error, as above, comes on top."""
    channel = np.zeros((3, 4, 5), bool)
    channel[1, 1] = True
    assert passes(channel)
    channel[1, 1, 4] = False
    assert not passes(channel)
    spacing = 0.2
    for sample in list(samples.values())[:6]:
        places = grid(sample.cell, spacing)
        room = clearance(sample)(places.reshape(-1, 3)).reshape(places.shape[:3])
        low, high = 0.0, room.max()
        while high - low > 0.005:
            middle = (low + high) / 2
            low, high = (middle, high) if passes(room > middle) else (low, middle)
        missing = float(sample.labels["pore_limiting_diameter"]) - 2 * low
        assert -0.01 < missing < 3**0.5 * spacing + 0.05


def test_no_family_is_in_two_splits(samples):
    """Neither frameworks alike but for metal and hydrogen, nor two of one refcode's letters."""
    where = defaultdict(set)
    counts = defaultdict(int)
    for split in ("train", "validation", "test"):
        for sample in open_dataset(specs.CRYSTALS_MOF.folder, split=split):
            counts[split] += 1
            assert assign(sample.group, building.HELD_OUT) == split
            where[frameworks.skeleton(sample.types)].add(split)
            if match := frameworks.REFCODE.match(sample.id):
                where[match[1]].add(split)
    assert all(len(splits) == 1 for splits in where.values())
    assert sum(counts.values()) == len(samples) == building.SIZES["crystals-mof"]
    assert counts["test"] > 90
    assert all(len(sample.types) <= frameworks.SMALL for sample in samples.values())
    for sample in list(samples.values())[::6]:
        close = perturbation.closest_approach(sample.types, sample.positions, sample.cell)
        assert close > perturbation.CLOSEST - 1e-6


def toy(name, types, group=""):
    return frameworks.Framework(name, "", np.array(types), np.zeros((0, 3)), np.eye(3), {}, group)


def test_families_hold_what_differs_by_metal_hydrogen_or_determination():
    several = [
        toy("AAAAAA_clean", [30, 8, 8, 6, 1]),
        toy("BBBBBB_clean", [12, 8, 8, 6]),  # another metal, no hydrogen
        toy("BBBBBB01_clean", [12, 8, 8, 6, 7]),  # the same letters
        toy("CCCCCC_clean", [27, 8, 8, 6, 7]),  # a relative of the relative
        toy("paper_si_001_clean", [29, 9]),
    ]
    first, *others, alone = frameworks.families(several)
    assert others == [first] * 3
    assert first == "C1M1N1O2"
    assert alone == "F1M1"
    assert frameworks.families([]) == []


CIF = """data_x
_cell_length_a {a}
_cell_length_b 7.5
_cell_length_c 8.0
_cell_angle_alpha 90.0
_cell_angle_beta {beta}
_cell_angle_gamma 90.0
loop_
_symmetry_equiv_pos_as_xyz
{operations}
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Zn1 Zn 0.10000 0.20000(3) 0.3 1.00
O1 O 0.40000 0.20000 {z} {occupied}
loop_
_geom_bond_atom_site_label_1
_geom_bond_distance
Zn1 2.1
"""


def cif(a="6.8(1)", beta="101.0", operations="x,y,z", z="0.30000", occupied="1.00"):
    return CIF.format(a=a, beta=beta, operations=operations, z=z, occupied=occupied)


@pytest.fixture
def archive(tmp_path):
    """A wheel like core-mof's, of small cells."""
    texts = {
        "AAAAAA_clean": cif(),
        "BBBBBB_clean": cif(operations="x,y,z\n-x,y+1/2,-z"),
        "CCCCCC_clean": cif(occupied="0.50"),
        "DDDDDD_clean": cif(a="9.0"),
        "EEEEEE_clean": cif(z="0.30000").replace("O1 O 0.40000", "O1 O 0.11000"),
        "FFFFFF_clean": cif(z="?"),
    }
    types = np.array([30, 8])
    right = frameworks.density(types, np.array(Cell.fromcellpar([6.8, 7.5, 8, 90, 101, 90])))
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["filename", "LCD", "PLD", "cm3_g", "ASA_m2_cm3", "AV_VF"])
    for name in (*texts, "not there"):
        writer.writerow([name, 4.25, 3.5, right, 120.5, 0.4])
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as files:
        for name, text in {**texts, "stranger": cif()}.items():
            member = tarfile.TarInfo(f"folder/{name}.cif")
            member.size = len(text)
            files.addfile(member, io.BytesIO(text.encode()))
    path = tmp_path / "core_mof.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(frameworks.TABLE, "\ufeff" + table.getvalue())
        wheel.writestr(frameworks.STRUCTURES, packed.getvalue())
    return path


def test_what_is_left_out_is_listed_with_its_reason(archive, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(building, "fetch", lambda *_: archive)
    folder = tmp_path / "built"
    assert building.main("crystals-mof", folder, ["--workers", "2"]) == 0
    assert "--workers is not used" in capsys.readouterr().err
    (sample,) = open_dataset(folder)
    assert sample.id == "AAAAAA_clean"
    assert sample.types.tolist() == [30, 8]
    np.testing.assert_allclose(sample.cell, Cell.fromcellpar([6.8, 7.5, 8, 90, 101, 90]))
    np.testing.assert_allclose(sample.positions[0], [0.1, 0.2, 0.3] @ sample.cell, rtol=1e-6)
    assert [float(sample.labels[quantity]) for quantity in NAMES] == [4.25, 3.5, 120.5, 0.4]
    assert sample.group == "M1O1"
    with (folder / "failures.csv").open() as handle:
        reasons = {row["id"]: row["reason"] for row in csv.DictReader(handle)}
    assert {name[0]: reason.split()[0] for name, reason in reasons.items()} == {
        "B": "2", "C": "a", "D": "its", "E": "atoms", "F": "no"
    }  # fmt: skip
    assert "symmetry" in reasons["BBBBBB_clean"]
    assert "partly occupied" in reasons["CCCCCC_clean"]
    assert "0.756 times" in reasons["DDDDDD_clean"]


def test_another_archive_is_refused(tmp_path):
    path = tmp_path / "other.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("README", "")
    with pytest.raises(InputError, match="holds no file"):
        frameworks.read_frameworks(path)
