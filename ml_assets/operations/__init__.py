"""Operations: how things stand, whether there is anything to do.

It may ask every room below, for people and for a run. Nothing that a run computes belongs here.
"""
