"""The service: what was published, asked over HTTP, and who may ask.

Each process opens the present release once, follows what is published, and answers every request
from one release. Not here: how anything is computed, which is asked of the rooms that own it, and
anything that writes but keys, the list of processes, sessions, judgments, documents put into their
queue, and the spool of predictions.
"""
