"""Configuration of the site.  pip install '.[docs]', then: python -m sphinx -W docs site; open site/index.html.

Nothing is loaded from another host, and the folder reads from disk.  Formulas become MathML when the site is built:
current browsers draw it with no script and no fonts to ship; KaTeX would add both, and node to the build.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]  # the package of this checkout, and the extensions in _site/

from nplm import __version__  # noqa: E402

project = "nplm"
author = "nplm contributors"
copyright = "nplm contributors, MIT licence"
release = version = __version__

extensions = [
    *("myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"),
    *("_site.sources", "_site.equations", "_site.mathml", "_site.pictures"),
]
exclude_patterns = ["_site", "_static"]
myst_enable_extensions = ["dollarmath", "deflist", "attrs_block"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # pages of results begin sections of tables at their own level

html_theme = "furo"
html_title = "nplm"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # a browser may not read the pages for it from disk
html_math_renderer = "mathml"
html_theme_options = {"navigation_with_keys": True}
pygments_style, pygments_dark_style = "tango", "native"

default_role = "literal"  # `name` in a docstring
autodoc_typehints = "none"  # the docstrings give types and shapes
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
