"""How things look at a prompt: progress bars, tables, search results.

Functions from typed values to what rich prints. No queries and no decisions: rooms make them, and
`cli` hands the results over.
"""
