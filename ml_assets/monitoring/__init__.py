"""Monitoring: what was trained and answered, as time series, and what is out of the ordinary.

It reads what other rooms recorded and computes nothing for them. Gates that decide belong in
`releases` and the room that registers them.
"""
