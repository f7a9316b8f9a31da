"""Search: the indexes of a generation, fusion, filters, evaluation and publishing."""
