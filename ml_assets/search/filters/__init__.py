"""Filters: one small typed language of conditions that means the same in every index.

Parsing, checking and the translation to SQL. How another index expresses a condition lies with that
index.
"""
