"""Indexes: the contract of all kinds, the ledger of what each stores, one folder per kind.

A kind is one folder and one line that registers it; nothing outside asks of which kind an index is.
Fusion of several belongs in `answering`.
"""
