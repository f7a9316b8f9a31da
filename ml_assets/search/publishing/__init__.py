"""Publishing: the gates of a search generation, and what search hands to `releases`.

The pointer, rollback and retention are the same for everything served, and lie in `releases`.
"""
