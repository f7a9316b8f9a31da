"""Indexes: the contract of all kinds, the ledger of what each holds, and one folder per kind."""
