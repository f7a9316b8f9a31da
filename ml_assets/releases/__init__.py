"""Releases: what is measured, gated, published, rolled back and retired."""
