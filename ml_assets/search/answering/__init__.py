"""Answering a query: indexes are asked, rankings fused, hits shown."""
