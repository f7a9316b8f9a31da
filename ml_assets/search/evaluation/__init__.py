"""Evaluation: how good the answers are, with intervals."""
