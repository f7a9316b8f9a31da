"""Answering a query: indexes ranked, rankings fused, documents shown.

Reads one generation and writes nothing. An index's own query belongs in `indexes`, metrics in
`evaluation`.
"""
