"""The equations in plain NumPy, exactly as printed: for students to read first, and for tests to compare with.

Every forward pass accepts complex numbers (no abs, max, clip or comparison on values), so that its gradient can be
computed with the complex step, Im f(x + i h) / h with h = 1e-30, to machine precision.  Nothing here is optimised, and
of the rest of the package only testing/selfcheck.py imports it.
"""
