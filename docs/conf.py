"""Configuration of Sphinx: Markdown with MyST, formulas as MathML. `make docs` builds the documentation into site/.

A warning, such as a broken link, stops the build. Before each build, the pages in reference/ are written from the code.
Browsers render MathML without help, so the pages need neither scripts nor the network.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
import reference

project = "overopt"
author = "The overopt authors"
extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["README.md"]
nitpicky = True
math_numfig = False
html_math_renderer = "mathml"
html_theme = "alabaster"
html_theme_options = {
    "description": "Preference optimization of language models, with over-optimization made visible",
    "page_width": "1200px",
    "fixed_sidebar": True,
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False

TAG = re.compile(r"\\tag\{([^}]*)\}")
WORD = re.compile(r'(?:<mi mathvariant="normal">[^<]+</mi>){2,}')
FUNCTION = r"<mi>(?:log|exp|cos)</mi>"
BEFORE = re.compile(rf"(</mi>|</mn>|</mfrac>|</msub>|&#x00029;</mo>)(?={FUNCTION})")
BEHIND = re.compile(rf"({FUNCTION})(?=<m(?:i|sub|sup|frac|row)\b)")
BAR = re.compile(r'<mo(?: stretchy="false")?>&#x0007C;</mo>')
SPACE = '<mspace width="0.167em" />'


def mathml(latex: str, display: str) -> str:
    """Return the MathML of a formula; lines separated by a double backslash are placed below each other."""
    lines = [line.strip() for line in re.split(r"\\\\\s", latex)]
    tag = TAG.search(latex)
    drawn = "<br>".join(_spaced(convert(TAG.sub("", line), display=display)) for line in lines)
    return f"<span>{drawn}</span>" + (f"<span>({tag[1]})</span>" if tag else "")


def _spaced(drawn: str) -> str:
    """Return MathML set as TeX would: names in one element, thin spaces around functions, none around bars."""
    drawn = WORD.sub(lambda match: f"<mi>{re.sub('<[^>]+>', '', match[0])}</mi>", drawn)
    drawn = BAR.sub('<mo stretchy="false" lspace="0" rspace="0">&#x0007C;</mo>', drawn)
    return BEHIND.sub(rf"\1{SPACE}", BEFORE.sub(rf"\1{SPACE}", drawn))


def inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="formula">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    reference.write(Path(app.srcdir) / "reference")
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
