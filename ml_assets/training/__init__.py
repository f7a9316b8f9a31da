"""Training: frozen training sets, grouped splits, model families and their evaluation."""
