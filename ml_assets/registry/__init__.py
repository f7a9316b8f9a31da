"""The registry: model versions, their promotion, and the aliases in MLflow, which follow.

The model part of a release. Training and its metrics belong in `training`; the pointer,
gates as such and the audit log in `releases`.
"""
