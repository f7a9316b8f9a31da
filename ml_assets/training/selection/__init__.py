"""How candidates are compared: folds, answers out of fold, temperature, and the choice.

Nothing here knows a family from another, or where results are kept.
"""
