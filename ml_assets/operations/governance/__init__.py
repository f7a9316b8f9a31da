"""What depends on what: the lineage of documents, models, generations, releases and predictions.

Each room is asked for what it knows. What is erased on request (`forget`) follows from the same
questions, and belongs here.
"""
