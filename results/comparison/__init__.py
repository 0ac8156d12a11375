"""What a comparison of arms says: effects, verdicts, words, figures, report.

Import the submodules; this file imports none of them.
"""
