"""The registry: model versions, promotion gates, releases and the audit log."""
