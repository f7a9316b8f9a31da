"""What is compared: one module each, with a class `Pipeline` of the form in `protocol`.

The peers run in an environment of their own (`bench/requirements.txt`), never in that of ml_assets.
"""
