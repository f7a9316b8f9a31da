"""The endpoints, one module per subject: from a request to a call of the room that answers it."""

PREFIX = "/v1"
"""Of every endpoint but the probes; what changes for who asks gets another."""
