"""Embedded-atom potentials of sixteen metals and their alloys, from formulas.

    f(r)   = f_e exp[-b x] / [1 + (r / r_e - l)^20],    x = r / r_e - 1
    phi(r) = A exp[-a x] / [1 + (r / r_e - k)^20] - B exp[-b x] / [1 + (r / r_e - l)^20]
    phi_ab = 1/2 [f_b / f_a phi_aa + f_a / f_b phi_bb]
    F(rho) = sum F_ni (rho / rho_n - 1)^i    below rho_n = c rho_e, c = 0.85 (platinum 0.25),
             sum F_i (rho / rho_e - 1)^i     below 1.15 rho_e,
             F_e [1 - eta ln(rho / rho_s)] (rho / rho_s)^eta    above

X. W. Zhou, R. A. Johnson, H. N. G. Wadley, Phys. Rev. B 69, 144113 (2004), with the parameters that
the authors publish beside it. At the cutoff, three r_e, pairs have less than 1e-11 eV.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sfm_crystals.potentials.embedded_atom import EmbeddedAtom

# r_e (angstrom), f_e, rho_e, rho_s, a, b, A (eV), B (eV), k, l,
# F_n0 to F_n3, F_0 to F_3 (eV), eta, F_e (eV), rho_n / rho_e
_TABLE = """
Cu 2.556162 1.554485 21.175871 21.175395 8.12762 4.334731 0.39662 0.548085 0.308782 0.756515
   -2.170269 -0.263788 1.088878 -0.817603 -2.19 0 0.56183 -2.100595 0.31049 -2.186568 0.85
Ag 2.891814 1.106232 14.6041 14.604144 9.13201 4.870405 0.277758 0.419611 0.33971 0.750758
   -1.729364 -0.255882 0.91205 -0.561432 -1.75 0 0.744561 -1.15065 0.783924 -1.748423 0.85
Au 2.885034 1.529021 19.991632 19.991509 9.516052 5.075228 0.229762 0.356666 0.35657 0.748798
   -2.937772 -0.500288 1.601954 -0.83553 -2.98 0 1.706587 -1.134778 1.021095 -2.978815 0.85
Ni 2.488746 2.007018 27.562015 27.562031 8.383453 4.471175 0.429046 0.633531 0.443599 0.820658
   -2.693513 -0.076445 0.241442 -2.375626 -2.7 0 0.26539 -0.152856 0.44547 -2.7 0.85
Pd 2.750897 1.595417 21.335246 21.940073 8.697397 4.638612 0.406763 0.59888 0.397263 0.754799
   -2.321006 -0.473983 1.615343 -0.231681 -2.36 0 1.481742 -1.675615 1.13 -2.352753 0.85
Pt 2.771916 2.336509 33.367564 35.205357 7.105782 3.78975 0.556398 0.696037 0.385255 0.77051
   -1.455568 -2.149952 0.528491 1.222875 -4.17 0 3.010561 -2.420128 1.45 -4.145597 0.25
Al 2.863924 1.403115 20.418205 23.19574 6.613165 3.527021 0.314873 0.365551 0.379846 0.759692
   -2.807602 -0.301435 1.258562 -1.247604 -2.83 0 0.622245 -2.488244 0.785902 -2.824528 0.85
Pb 3.499723 0.647872 8.450154 8.450063 9.121799 5.212457 0.161219 0.236884 0.250805 0.764955
   -1.42237 -0.210107 0.682886 -0.529378 -1.44 0 0.702726 -0.538766 0.93538 -1.439436 0.85
Fe 2.481987 1.885957 20.041463 20.041463 9.81827 5.236411 0.392811 0.646243 0.170306 0.340613
   -2.534992 -0.059605 0.193065 -2.282322 -2.54 0 0.200269 -0.14877 0.39175 -2.539945 0.85
Mo 2.7281 2.72371 29.354065 29.354065 8.393531 4.47655 0.708787 1.120373 0.13764 0.27528
   -3.692913 -0.178812 0.38045 -3.13365 -3.71 0 0.875874 0.776222 0.790879 -3.712093 0.85
Ta 2.860082 3.086341 33.787168 33.787168 8.489528 4.527748 0.611679 1.032101 0.176977 0.353954
   -5.103845 -0.405524 1.112997 -3.585325 -5.14 0 1.640098 0.221375 0.848843 -5.141526 0.85
W 2.74084 3.48734 37.234847 37.234847 8.900114 4.746728 0.882435 1.394592 0.139209 0.278417
   -4.946281 -0.148818 0.365057 -4.432406 -4.96 0 0.661935 0.348147 0.582714 -4.961306 0.85
Mg 3.196291 0.544323 7.1326 7.1326 10.228708 5.455311 0.137518 0.22593 0.5 1
   -0.896473 -0.044291 0.162232 -0.68995 -0.9 0 0.122838 -0.22601 0.431425 -0.899702 0.85
Co 2.505979 1.975299 27.206789 27.206789 8.679625 4.629134 0.421378 0.640107 0.5 1
   -2.541799 -0.219415 0.733381 -1.589003 -2.56 0 0.705845 -0.68714 0.694608 -2.559307 0.85
Ti 2.933872 1.8632 25.565138 25.565138 8.775431 4.68023 0.373601 0.570968 0.5 1
   -3.203773 -0.198262 0.683779 -2.321732 -3.22 0 0.608587 -0.75071 0.558572 -3.219176 0.85
Zr 3.199978 2.230909 30.879991 30.879991 8.55919 4.564902 0.424667 0.640054 0.5 1
   -4.485793 -0.293129 0.990148 -3.202516 -4.51 0 0.928602 -0.98187 0.597133 -4.509025 0.85
"""
NAMES = (
    "r", "f", "rho_e", "rho_s", "alpha", "beta", "A", "B", "kappa", "lambda", "Fn0", "Fn1", "Fn2",
    "Fn3", "F0", "F1", "F2", "F3", "eta", "Fe", "low",
)  # fmt: skip
_WORDS = _TABLE.split()
METALS: dict[str, tuple[float, ...]] = {
    _WORDS[k]: tuple(float(word) for word in _WORDS[k + 1 : k + 1 + len(NAMES)])
    for k in range(0, len(_WORDS), 1 + len(NAMES))
}
REACH, HIGH = 3.0, 1.15


class Metals(EmbeddedAtom):
    """Zhou, Johnson and Wadley's metals.

    Attributes:
        values: (21, 16) in the order of `NAMES`, eV and angstrom; differentiable.
    """

    def __init__(self, *, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.elements, self.where = tuple(METALS), "potential=eam"
        table = torch.tensor([*METALS.values()], dtype=dtype).T
        self.values = nn.Parameter(table.contiguous())

    def _of(self, kind: Tensor) -> dict[str, Tensor]:
        return dict(zip(NAMES, self.values[:, kind], strict=True))

    def reach(self, kinds: Int[Tensor, " N"]) -> float:
        return REACH * float(self.values.detach()[0, kinds].max())

    def density(self, r: Float[Tensor, " P"], kind: Int[Tensor, " P"]) -> Float[Tensor, " P"]:
        of = self._of(kind)
        return _tail(r, of["f"], of["beta"], of["lambda"], of["r"])

    def pair(
        self, r: Float[Tensor, " P"], one: Int[Tensor, " P"], two: Int[Tensor, " P"]
    ) -> Float[Tensor, " P"]:
        ratio = self.density(r, two) / self.density(r, one)
        return 0.5 * (ratio * self._alone(r, one) + self._alone(r, two) / ratio)

    def _alone(self, r: Tensor, kind: Tensor) -> Tensor:
        of = self._of(kind)
        repulsion = _tail(r, of["A"], of["alpha"], of["kappa"], of["r"])
        return repulsion - _tail(r, of["B"], of["beta"], of["lambda"], of["r"])

    def embedding(
        self, density: Float[Tensor, " N"], kind: Int[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        of = self._of(kind)
        start, usual = of["low"] * of["rho_e"], of["rho_e"]
        below = _cubic(density / start - 1, *(of[f"Fn{i}"] for i in range(4)))
        near = _cubic(density / usual - 1, *(of[f"F{i}"] for i in range(4)))
        ratio = density.clamp(min=1e-6) / of["rho_s"]
        above = of["Fe"] * (1 - of["eta"] * ratio.log()) * ratio ** of["eta"]
        return torch.where(density < start, below, torch.where(density < HIGH * usual, near, above))


def _tail(r: Tensor, size: Tensor, decay: Tensor, shift: Tensor, length: Tensor) -> Tensor:
    x = r / length
    return size * torch.exp(-decay * (x - 1)) / (1 + (x - shift) ** 20)


def _cubic(x: Tensor, *c: Tensor) -> Tensor:
    return ((c[3] * x + c[2]) * x + c[1]) * x + c[0]
