"""Answers: what the found passages say to a question, each sentence with the passages it rests on.

Not here: finding (`search`), and who may ask (`service`).
"""
