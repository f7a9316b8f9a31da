"""What is wrong with the labels of a training set, and which documents to label next.

Functions over labels and probabilities, and the tables of what they gave. The models that gave the
probabilities belong in `training`, the champion's answers in `registry`.
"""
