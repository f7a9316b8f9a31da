"""Filters: one small typed language of conditions, translated for every index alike."""
