"""Sources that are databases of others: they are asked, and nothing is written to them.

One module per source; the databases of this project belong to `stores`.
"""
