"""The online store: latest feature values by entity; the contract, and one module per store.

Not here: what a feature is (`features`).
"""

from ml_assets.stores.online.contract import OnlineStore, Value, Values
from ml_assets.stores.online.registry import connect

__all__ = ["OnlineStore", "Value", "Values", "connect"]
