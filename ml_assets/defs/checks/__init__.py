"""The asset checks, one module per asset group."""
