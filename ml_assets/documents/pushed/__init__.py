"""Documents that are pushed: kept in a table as a source keeps its own, and read as one.

Not here: who may push, and how (`service`).
"""
