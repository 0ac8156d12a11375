"""What is kept and shown: runs on disk, their metrics and findings, figures, report, summary.

Import the submodules; this file imports none of them, so that `import results` costs nothing.
Matplotlib and jinja2 are needed by figures and reports only, and nothing here ever needs torch: a
report can be drawn on a laptop from a run folder alone.
"""
