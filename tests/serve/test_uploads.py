"""What a client sends never becomes a path, and its errors name what the client knows."""

from __future__ import annotations

import pytest

from sfm.errors import InputError
from sfm.serve.numbers import picture, plain
from sfm.serve.uploads import as_file, plain_name


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("ethanol.xyz", "ethanol.xyz"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("..", "input"),
        ("", "input"),
        (".bashrc", "bashrc"),
        ("a b@0:3.xyz", "a-b-0-3.xyz"),
        ("x\x00\n.cif", "x-.cif"),
        ("run3.OUTCAR", "run3.OUTCAR"),
        ("y" * 300, "y" * 100),
    ],
)
def test_plain_name(name, kept):
    assert plain_name(name) == kept


def test_the_file_is_alone_and_goes_away():
    with as_file("../POSCAR", b"content") as path:
        assert path.read_bytes() == b"content"
        assert [p.name for p in path.parent.iterdir()] == ["POSCAR"]
    assert not path.parent.exists()


def test_errors_do_not_show_the_temporary_folder():
    with pytest.raises(InputError, match=r"^a\.xyz: row 3: bad$"), as_file("a.xyz", b"x") as path:
        raise InputError(f"{path}: row 3: bad")


@pytest.mark.parametrize("name", ["a.db", "a.TRAJ", "a.gjf"])
def test_formats_that_trust_their_content_are_refused(name):
    with pytest.raises(InputError, match="are not taken here"), as_file(name, b"x"):
        pass
    with pytest.raises(InputError, match="empty"), as_file("a.xyz", b" \n"):
        pass


def test_arrays_for_the_page():
    import base64

    import numpy as np

    from sfm.quantity import Quantity

    assert plain(np.float64(2.5)) == {"shape": [], "value": 2.5}
    assert plain(np.array([1.0, np.nan]))["value"] == [1.0, None]
    large = np.arange(20_000, dtype=np.float32)
    packed = plain(large)
    assert np.array_equal(np.frombuffer(base64.b64decode(packed["f32"]), "<f4"), large)
    velocity = Quantity(name="velocity", unit="1", irreps="1o", per="grid")
    drawn = picture(np.full((1, 2, 256, 64), 3.0), velocity)
    assert drawn["shape"] == [128, 64]
    assert drawn["shown"] == "magnitude, every 2th point"
    values = np.frombuffer(base64.b64decode(drawn["f32"]), "<f4")
    assert np.allclose(values, 3 * 2**0.5)
    assert picture(np.float64(1.0)) is None
    assert picture(np.ones((3, 16, 8, 8)), Quantity(name="w", unit="1", irreps="1e"))["shape"] == [
        8,
        8,
    ]
