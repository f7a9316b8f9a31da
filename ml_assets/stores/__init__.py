"""Stores: one module or folder per database: connect, migrate, write and read in bulk, close.

A store that cannot be reached, opened, read or written raises a `StoreError`, at whatever function
meets it, also within the block of a connection. It knows nothing of documents, indexes or models.
The statements are in `sql/`, in the file of the room that owns the table.
"""
