"""Every tolerance of the conformance kit, with its reason, in one place.

Errors are relative to the root mean square of the values compared, or to 0.01 where that is larger.
"""

from __future__ import annotations

# exact symmetry, up to the rounding of a few thousand operations
EQUIVARIANCE = {"float32": 1e-3, "float64": 1e-9}

# a batch sums in another order than singles do
BATCH = {"float32": 1e-4, "float64": 1e-10}

# two copies without interaction: twice the value
EXTENSIVITY = 1e-9

# a neighbour crosses the cutoff by +- STEP of it: jump over the change across CROSSING of it
SMOOTH_STEP = 1e-6
SMOOTH_CROSSING = 0.3
SMOOTH = 1e-5

# central differences in float64: step in the length unit (as strain for stress), relative error
DIFFERENCE_STEP = 2e-5
DIFFERENCE = 1e-5

# torch.autograd.gradcheck in float64
GRADCHECK_EPS = 1e-6
GRADCHECK_ATOL = 1e-5
GRADCHECK_RTOL = 1e-3

# measured order of accuracy may fall short of the declared one by this much
ORDER = 0.3

# below this relative difference two runs agree to rounding, and an order cannot be measured
ROUNDING = 1e-12

# a batch of simulations against one after another
SIMULATOR_BATCH = 1e-10

# a plugin's own module, imported in a fresh interpreter after sfm itself
LIGHT_IMPORT_SECONDS = 1.0
HEAVY_MODULES = (
    "torch",
    "pytorch_lightning",
    "lightning",
    "transformers",
    "e3nn",
    "rdkit",
    "ase",
    "pymatgen",
    "pyscf",
    "tblite",
    "numpy",
    "scipy",
    "pyarrow",
)
