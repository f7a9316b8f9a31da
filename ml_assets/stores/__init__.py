"""One module per database: connect, migrate, write and read in bulk, close."""
