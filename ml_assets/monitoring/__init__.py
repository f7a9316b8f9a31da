"""Monitoring: metrics as time series, rollups and anomalies."""
