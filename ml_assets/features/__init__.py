"""Features: views, values in two times, the point-in-time join, the online copy.

Definitions and how values are computed, compared and joined. Labels and splits belong in
`training`; the databases themselves in `stores`.
"""
