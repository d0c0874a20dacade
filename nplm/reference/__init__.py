"""The equations as printed, in plain NumPy: what a student reads first, and what tests compare with.

Every forward also takes complex numbers (no abs, max, clip or comparison on values), so that a gradient can be
had from the complex step, Im f(x + i h) / h with h = 1e-30, exact to machine precision.  Nothing here is fast, and
of the rest of the package only testing/selfcheck.py imports it.
"""
