"""
The guide (Sphinx with MyST), and the API reference that pydoctor makes on the way.
"""

from pathlib import Path

import jobscheduler_tcp

TOP = Path(__file__).resolve().parent.parent

project = "jobscheduler_tcp"
author = project_copyright = "the jobscheduler_tcp authors"
version = release = jobscheduler_tcp.__version__

extensions = ["myst_parser", "sphinx.ext.intersphinx", "pydoctor.sphinx_ext.build_apidocs"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True
# They make one dash of the two of an option.
smartquotes = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["guide.css"]
html_title = f"jobscheduler_tcp {version}"

pydoctor_args = [
    f"--config={TOP / 'pyproject.toml'}",
    f"--project-base-dir={TOP}",
    "--html-output={outdir}/api",
    str(TOP / "jobscheduler_tcp"),
]
pydoctor_url_path = "api"
