"""What a tuning says: tune.json read, worded, drawn and reported.

Import the submodules; this file imports none of them.
"""
