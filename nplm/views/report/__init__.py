"""An HTML report on the evaluation of a model on a text.

text, model --measure--> figures, log Z, frequency bands, surprisals --page--> one self-contained HTML file
                                        history --charts (SVG)--------^
"""

from nplm.views.report.measurement import Band, Measurement, measure
from nplm.views.report.page import render

__all__ = ["Band", "Measurement", "measure", "render"]
