"""Bits of the mantissa that filtered flows are stored with, by `sfm.data.rounding`."""

VELOCITY_BITS, STRESS_BITS = 14, 9  # relative errors of 3e-5 and 1e-3
