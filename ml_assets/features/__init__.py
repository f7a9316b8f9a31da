"""Features: views, values in two times, point-in-time joins, the online copy and drift."""
