"""Training: frozen training sets, splits by group, model families and their evaluation.

It ends with a candidate and its numbers. Versions and promotion belong in `registry`, the values of
features in `features`.
"""
