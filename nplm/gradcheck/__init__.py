"""Check the gradients of any functions: where they are wrong, by how much, and in which way.

    from nplm.gradcheck import check, check_layer

    check(loss, params, grads)                   loss(params) returns a number; grads is a dict, or a function of params
    check_layer(forward, backward, x, weight)    forward returns (out, cache), backward(dout, cache) (dx, dweight)

Both raise AssertionError with a report as its message, so a test needs nothing else.  The only import is NumPy.

The files in reading order: derivative (complex step, central differences), tree (nested arrays as one vector),
oracle (which of the two can be trusted), analytic (why the complex step fails, if it does), claim (the gradient to
check), verdict (entry by entry), search (if there are too many entries), patterns and diagnose (what is wrong),
report, run, layer, steps (errors that show at single steps), checks, jacobians.
"""

from nplm.gradcheck.checks import check, check_layer
from nplm.gradcheck.derivative import complex_step, relative_error
from nplm.gradcheck.jacobians import check_hvp, jacobian
from nplm.gradcheck.patterns import Pattern
from nplm.gradcheck.report import ArrayReport, Entry, Report

__all__ = [
    "ArrayReport",
    "Entry",
    "Pattern",
    "Report",
    "check",
    "check_hvp",
    "check_layer",
    "complex_step",
    "jacobian",
    "relative_error",
]
