"""Public docstrings name shapes, units and sources; the list of exceptions only shrinks."""

from __future__ import annotations

import docstrings
import pytest

LONGEST = 0  # of the list, which is empty


@pytest.fixture(scope="module")
def now():
    return docstrings.gaps()


def test_what_is_missing_is_listed(now):
    assert docstrings.new_gaps(now, docstrings.listed()) == []


def test_what_is_listed_is_missing(now):
    """`python tools/docstrings.py --shrink` takes the rest off."""
    assert docstrings.filled(now, docstrings.listed()) == []


def test_the_list_only_shrinks():
    assert len(docstrings.listed()) <= LONGEST


TENSORS = "from jaxtyping import Float\nfrom torch import Tensor\n"
CASES = {
    "nothing": ("def f(x: Tensor) -> Tensor:\n    '''A value.'''", "shape unit"),
    "no docstring": ("def f(x: Tensor) -> float: ...", "shape unit"),
    "no unit": ("def f(x: Tensor) -> Tensor:\n    '''(N, 3) -> (N,) a value.'''", "unit"),
    "no shape": ("def f(x: Tensor) -> Tensor:\n    '''A value in eV (see below).'''", "shape"),
    "all": ("def f(x: Tensor) -> Tensor:\n    '''(N, 3) bohr -> (N,) hartree.'''", ""),
    "jaxtyping": ("def f(x: Float[Tensor, 'N 3']) -> float:\n    '''In eV.'''", ""),
    "half of jaxtyping": (
        "def f(x: Float[Tensor, 'N 3'], y: Tensor) -> float:\n    '''In eV.'''",
        "shape",
    ),
    "no array": ("def f(x: float) -> float:\n    '''A value.'''", ""),
    "private": ("def _f(x: Tensor) -> Tensor: ...", ""),
    "formula": ("def f(x: float) -> float:\n    '''E = -1 / 2 x^2, a value.'''", "source"),
    "formula with a source": (
        "def f(x: float) -> float:\n    '''E = -1 / 2 x^2 (Hooke 1678).'''",
        "",
    ),
    "method, the class says it": (
        "class A:\n    '''All in eV, (N,).'''\n    def f(self, x: Tensor) -> Tensor:\n"
        "        '''A value.'''",
        "",
    ),
    "method, the base says it": (
        "class A:\n    def f(self, x: Tensor) -> Tensor:\n        '''(N,) in eV.'''\n"
        "class B(A):\n    def f(self, x: Tensor) -> Tensor: ...",
        "",
    ),
}


@pytest.mark.parametrize(("text", "lacks"), CASES.values(), ids=CASES)
def test_every_kind_of_gap_is_seen(tmp_path, text, lacks):
    (tmp_path / "sfm").mkdir()
    (tmp_path / "sfm" / "one.py").write_text(TENSORS + text, encoding="utf-8")
    lacking = {word for gap in docstrings.gaps(tmp_path).values() for word in gap.what}
    assert lacking == set(lacks.split())


def test_signatures_state_shapes():
    """Of the packages `docstrings.WHOLE`; of others every `forward`, and the rooms `STATED`."""
    assert docstrings.unstated() == []


UNSTATED = {
    "forward": ("flows/one.py", "class A:\n    def forward(self, x: Tensor) -> float: ...", 1),
    "result": ("model/one.py", "def f(x: Float[Tensor, ' N']) -> Tensor: ...", 1),
    "array": ("closures/one.py", "import numpy as np\ndef f(x: np.ndarray) -> float: ...", 1),
    "stated": ("model/one.py", "def f(x: Float[Tensor, ' N']) -> float: ...", 0),
    "another room": ("flows/one.py", "def f(x: Tensor) -> float: ...", 0),
    "callable": ("model/one.py", "def f(g: Callable[[Tensor], Float[Tensor, '']]): ...", 1),
}


@pytest.mark.parametrize(("place", "text", "count"), UNSTATED.values(), ids=UNSTATED)
def test_a_signature_without_shapes_is_seen(tmp_path, place, text, count):
    path = tmp_path / "plugins" / "small" / "sfm_small" / place
    path.parent.mkdir(parents=True)
    (tmp_path / "sfm").mkdir()
    (path.parent.parent / "__init__.py").write_text("", encoding="utf-8")
    path.write_text(TENSORS + text, encoding="utf-8")
    assert len(docstrings.unstated(tmp_path)) == count


@pytest.mark.parametrize("package", docstrings.WHOLE)
def test_every_room_of_a_whole_package_states_shapes(tmp_path, package):
    (tmp_path / "sfm").mkdir()
    folder = tmp_path / "sfm"
    if package != "sfm":
        folder = tmp_path / "plugins" / package.removeprefix("sfm_") / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("", encoding="utf-8")
    text = f"{TENSORS}def f(x: Tensor) -> float: ..."
    (folder / "one.py").write_text(text, encoding="utf-8")
    assert len(docstrings.unstated(tmp_path)) == 1


def test_a_formula_of_a_module_has_a_source(tmp_path):
    (tmp_path / "sfm").mkdir()
    path = tmp_path / "sfm" / "one.py"
    path.write_text("'''Springs.\n\n    E = k x^2 / 2\n'''", encoding="utf-8")
    assert docstrings.gaps(tmp_path)["sfm:one"].what == {"source"}
