"""Forgetting documents: erased from every store, verified, and told in a signed receipt.

A module for each store, in `stores`; which ids and texts are not read again is in `releases`.
"""
