"""What MLflow, or what is below it, did not do, told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from ml_assets.errors import OutageError, StoreError, chain, first_line
from ml_assets.stores.mlflow.location import OUR_DATABASE, Tracking

_DOWN = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")
_REFUSED = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")


@contextmanager
def explained(where: Tracking, what: str = "") -> Iterator[None]:
    """Tell in one line `what` MLflow, or what is below it, did not do in the block, and why."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except (MlflowException, DBAPIError, RequestException) as error:
        place, server = "MLFLOW_TRACKING_URI", "the tracking server is up and the URL is right"
        if where.artifacts:
            place, server = OUR_DATABASE, "PostgreSQL is up"
        reason = f"{what}: {_reason(error)}".removeprefix(": ")
        if getattr(error, "error_code", "") in _REFUSED:
            do = "Check user and password: in the URL, or MLFLOW_TRACKING_USERNAME and _PASSWORD"
            raise StoreError(reason, where=place, do=do) from None
        if _is_outage(error):
            raise OutageError(reason, where=place, do=f"Check that {server}") from None
        do = "Look at its records: somebody changed them, or another version of MLflow did"
        raise StoreError(reason, where=place, do=do) from None


def _is_outage(error: Exception) -> bool:
    """Whether the network, the database, or a server that says so about itself is in trouble.

    MLflow gives its own mistakes, on this side of the network, the code of a broken server.
    """
    from mlflow.exceptions import MlflowException, RestException
    from sqlalchemy.exc import DBAPIError
    from urllib3.exceptions import HTTPError

    if not isinstance(error, MlflowException):
        return True
    if error.error_code != "INTERNAL_ERROR" or isinstance(error, RestException):
        return error.error_code in _DOWN
    return any(isinstance(each, OSError | HTTPError | DBAPIError) for each in chain(error))


def _reason(error: Exception) -> str:
    """What went wrong; of the network in its own words, not in those of all libraries above it."""
    from urllib3.exceptions import HTTPError

    *_, root = chain(error)
    if isinstance(root, OSError | HTTPError):
        return f"it does not answer ({getattr(root, 'strerror', None) or root})"
    return first_line(error)


@contextmanager
def existing_is_fine(mlflow: ModuleType) -> Iterator[None]:
    """Another process may be faster between a look and a creation."""
    try:
        yield
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
