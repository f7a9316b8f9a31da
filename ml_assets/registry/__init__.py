"""The registry: model versions, and the promotion of a challenger to champion.

The model part of a release. Training and its metrics belong in `training`; the pointer,
gates as such and the audit log in `releases`.
"""
