"""The page: what the service answers, for people, rendered here and sent whole.

Each page asks the endpoints as a program would, so that it tells nothing that they do not. It works
without JavaScript; with it, results appear as one types. Not here: how anything is found, and what
a key may do.
"""
