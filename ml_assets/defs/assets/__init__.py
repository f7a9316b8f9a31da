"""The software-defined assets, one module per group; the work is in the room of that name."""
