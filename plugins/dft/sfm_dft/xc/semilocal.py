"""Functionals made of enhancement factors and correlation energies, and the named ones.

Exchange is spin-scaled, E_x[up, down] = (E_x[2 up] + E_x[2 down]) / 2, so one function of a
closed-shell density serves both; of a closed shell it is evaluated once.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor

from sfm_dft.xc.contract import Functional, XcEnergy
from sfm_dft.xc.density import GridDensity
from sfm_dft.xc.gga import b88, lyp, pbe_correlation, pbe_exchange
from sfm_dft.xc.lda import pw92, slater, uniform_exchange, vwn5, vwn_rpa
from sfm_dft.xc.metagga import r2scan_correlation, r2scan_exchange
from sfm_dft.xc.reduced import Gas, Spins, reduced


class Exchange(Protocol):
    """Enhancement over the uniform gas's exchange."""

    def __call__(self, gas: Gas, /) -> Tensor: ...


class Correlation(Protocol):
    """Correlation in hartree per electron; spins None for a closed shell."""

    def __call__(self, gas: Gas, spins: Spins | None, /) -> Tensor: ...


_PW92 = "Perdew, Wang, Phys. Rev. B 45, 13244 (1992)"
_VWN = "Vosko, Wilk, Nusair, Can. J. Phys. 58, 1200 (1980)"
_PBE = "Perdew, Burke, Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996)"
_B88 = "Becke, Phys. Rev. A 38, 3098 (1988)"
_LYP = "Lee, Yang, Parr, Phys. Rev. B 37, 785 (1988)"


class Semilocal(Functional):
    """A sum of weighted exchange and correlation terms.

    Attributes:
        exchange: weights and enhancement factors over the uniform gas.
        correlation: weights and energies per electron.
        libxc: what libxc calls it. description: one line for people.
    """

    exchange: ClassVar[tuple[tuple[float, Exchange], ...]] = ()
    correlation: ClassVar[tuple[tuple[float, Correlation], ...]] = ()
    libxc: ClassVar[str] = ""
    description: ClassVar[str] = ""

    def forward(self, density: GridDensity) -> XcEnergy:
        point = reduced(density, self.rung)
        factor = _total([w * f(point.exchange) for w, f in self.exchange])
        energy = _total([w * c(point.total, point.spins) for w, c in self.correlation])
        exchange = point.exchange.energy(uniform_exchange(point.exchange) * factor)
        return XcEnergy(
            exchange if density.closed_shell else 0.5 * exchange.sum(0), point.total.energy(energy)
        )


def _total(terms: list[Tensor]) -> Tensor:
    return terms[0] if len(terms) == 1 else sum(terms[1:], terms[0])


class LDA(Semilocal):
    """Slater exchange and PW92 correlation with the paper's five digits."""

    exchange = ((1.0, slater),)
    correlation = ((1.0, pw92),)
    libxc = "LDA_X,LDA_C_PW"
    description = "uniform gas: Slater exchange, Perdew-Wang 1992 correlation"
    citations = (_PW92,)


class LDAVWN5(Semilocal):
    """Slater exchange and VWN5 correlation; quantum chemistry's SVWN5."""

    exchange = ((1.0, slater),)
    correlation = ((1.0, vwn5),)
    libxc = "LDA_X,LDA_C_VWN"
    description = "uniform gas: Slater exchange, Vosko-Wilk-Nusair's formula V"
    citations = (_VWN,)


class PBE(Semilocal):
    """Perdew, Burke and Ernzerhof's GGA."""

    rung = "gga"
    exchange = ((1.0, pbe_exchange),)
    correlation = ((1.0, pbe_correlation),)
    libxc = "GGA_X_PBE,GGA_C_PBE"
    description = "Perdew-Burke-Ernzerhof gradient correction"
    citations = (_PBE,)


class R2SCAN(Semilocal):
    """The regularised SCAN meta-GGA."""

    rung = "mgga"
    exchange = ((1.0, r2scan_exchange),)
    correlation = ((1.0, r2scan_correlation),)
    libxc = "MGGA_X_R2SCAN,MGGA_C_R2SCAN"
    description = "regularised strongly constrained meta-GGA"
    citations = ("Furness, Kaplan, Ning, Perdew, Sun, J. Phys. Chem. Lett. 11, 8208 (2020)",)


class PBE0(Semilocal):
    """PBE with a quarter of exact exchange."""

    rung = "gga"
    exact_exchange = 0.25
    exchange = ((0.75, pbe_exchange),)
    correlation = ((1.0, pbe_correlation),)
    libxc = "HYB_GGA_XC_PBEH"
    description = "PBE with 25 % exact exchange"
    citations = (_PBE, "Adamo, Barone, J. Chem. Phys. 110, 6158 (1999)")


class B3LYP(Semilocal):
    """B3LYP with VWN_RPA, as in libxc, in Gaussian, and as PySCF's ``b3lyp`` since version 2.3.

    (Others, and older PySCF, take VWN5: libxc's HYB_GGA_XC_B3LYP5.)
    """

    rung = "gga"
    exact_exchange = 0.2
    exchange = ((0.08, slater), (0.72, b88))
    correlation = ((0.19, vwn_rpa), (0.81, lyp))
    libxc = "HYB_GGA_XC_B3LYP"
    description = "B3LYP with VWN_RPA (Gaussian's), 20 % exact exchange"
    citations = (
        "Stephens, Devlin, Chabalowski, Frisch, J. Phys. Chem. 98, 11623 (1994)",
        _B88,
        _LYP,
        _VWN,
    )


class Nothing(Semilocal):
    """No exchange and no correlation: a learned functional on top of it is the whole."""

    libxc = ""
    description = "no exchange and no correlation; a closure then is the whole functional"

    def forward(self, density: GridDensity) -> XcEnergy:
        zero = 0.0 * density.total  # still a function of the density, so that it has a derivative
        return XcEnergy(zero, zero)


class HartreeFock(Nothing):
    """Exact exchange alone."""

    exact_exchange = 1.0
    libxc = "HF"
    description = "Hartree-Fock: exact exchange, no correlation"
    citations = ()
