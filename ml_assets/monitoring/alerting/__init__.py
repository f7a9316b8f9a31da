"""Alerts: rules on named readings, how each alert stands, and who is told.

What is read of a store is asked of the room that owns it. Not here: what an open alert holds back
(`releases.holds`), and when rules are evaluated (`defs`).
"""
