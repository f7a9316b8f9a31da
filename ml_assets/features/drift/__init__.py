"""Drift: whether what comes is still like what came before, feature by feature.

Statistics of a day, effect sizes and tests of two samples, and what they found. Not here: what a
model was trained on, and what it answers (`registry.drift`).
"""
