"""The Model Context Protocol: what a language model of somebody else's may ask here, as tools.

Not here: writing answers (`ml_assets/answers`): who asks has a language model.
"""
