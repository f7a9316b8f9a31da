"""Commands of governance: who may, who did it, what depends on what, what is gone.

A module for each question, and one to forget; erasing itself is in `operations`.
"""
