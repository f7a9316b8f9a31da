"""The registry: model versions, and the promotion of a challenger to champion.

Here lies what of a release is a model. Training and its metrics belong in `training`; the pointer,
gates as such and the audit log in `releases`.
"""
