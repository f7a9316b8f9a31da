"""The registry: model versions, the gates of promotion, and the aliases in MLflow.

How a model is trained and evaluated does not belong here, and neither does the pointer to what is
served: that is `releases`.
"""
