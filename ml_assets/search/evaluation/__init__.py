"""Evaluation: how good answers are, with intervals, and the fusion that judged queries choose.

Numbers only. Whether they suffice is for the gates in `publishing`.
"""
