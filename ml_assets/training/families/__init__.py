"""Model families: one module per kind, and a line in `registry` for each.

Every estimator is one that skops can save and load, so that no model is ever unpickled. Training
sets, evaluation and what is recorded of a training do not belong here.
"""
