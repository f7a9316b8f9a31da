"""The errors a user can cause, each saying what is wrong, where, and what to do.

Everything else is a defect and keeps its traceback.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# An unquoted @ or / in a password does not end it; digits before a / are a port.
# What our own messages tell to write is no secret, also where one error is the reason of another.
_PASSWORD = re.compile(r"(?<=://)(?!user:password@host:\d)([^/@\s:]*):(?!\d+/)\S*(?=@)")
_PARAMETER = re.compile(
    r"(password=|(?:(?<![a-z])|(?<=%3F)|(?<=%26))(?:access_)?(?:token|sig|signature|api_?key"
    r"|x-(?:amz|goog)-(?:signature|credential|security-token))=)[^&\s]+",
    re.IGNORECASE,
)


def mask_secrets(text: str) -> str:
    """Replace the password of every URL in `text`, also one in its query, by `***`."""
    return _PASSWORD.sub(r"\1:***", _PARAMETER.sub(r"\1***", text))


def first_line(error: Exception) -> str:
    """The message of an error, in one line without its last full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it, what caused that, and so on."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


class UserError(Exception):
    """A mistake or an outage that a person can mend; printed as one line, without a traceback."""

    def __init__(self, what: str, *, do: str, where: str = "") -> None:
        """Say `what` is wrong, `where` (file and row, setting, store), and what to `do`."""
        self.what, self.do = what, do
        self.reason = mask_secrets(f"{where}: {what}" if where else what)
        super().__init__(self.reason + (f". {do}" if do else ""))


class SettingError(UserError):
    """A setting has a value that cannot be used."""


class SourceError(UserError):
    """A document source cannot be read at all; single bad rows are quarantined instead."""


class IncompleteReadError(SourceError):
    """Some collections could not be read and stay as they were; one line for each."""

    def __init__(self, unread: Mapping[str, str]) -> None:
        """Give the reason for each collection."""
        super().__init__(
            "\n".join(
                f"collection {name!r} stays as it was: {reason}" for name, reason in unread.items()
            ),
            do="",  # each reason says so
        )


class StoreError(UserError):
    """A database or folder cannot be reached, opened or written."""


class OutageError(StoreError):
    """A store does not answer: it is down, or just starting. It may answer soon."""


_TAKES_NO_MORE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@contextmanager
def full_disks_told() -> Iterator[None]:
    """Say in one line that a disk takes no more, whoever wrote to it.

    Raises:
        StoreError: so it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _TAKES_NO_MORE:
            raise
        do = "Make space on its disk, and run again: what was committed is kept"
        what = error.strerror or "it takes no more"
        raise StoreError(what, where=str(error.filename or "disk"), do=do) from None


class DamagedStoreError(StoreError):
    """The files of a store are damaged, all of whose content the next run makes again."""

    def __init__(self, what: str, path: Path, aside: Path | None = None) -> None:
        """Say `what` is wrong, with which file or folder, and where it was put `aside`."""
        moved = f", and was renamed to {aside.name}" if aside else ""
        do = "Run `ml-assets run`, which builds it anew"
        super().__init__(f"{what}{moved}", where=str(path), do=do)
        self.path = path


class ModelError(StoreError):
    """The files of a model are missing, damaged, or hold what is not trusted."""


class SpaceMismatchError(UserError):
    """Vectors of one vector space met an index or a table of another."""


class WeightsError(UserError):
    """Model weights are missing or are not the ones that were pinned."""


class CostError(UserError):
    """The next request could make a run cost more than it may."""


class ChannelError(UserError):
    """An alert was not told through a channel, or it is not known whether it was."""

    def __init__(self, what: str, *, do: str, where: str = "", pause: float | None = None) -> None:
        """Say as every error, and for how many seconds the server asks to `pause`."""
        super().__init__(what, do=do, where=where)
        self.pause = pause


class GateError(UserError):
    """A blocking check failed, so nothing was published or promoted."""


class RoleError(UserError):
    """Who acts lacks the role that the action takes."""


class NothingToDoError(UserError):
    """The request is sound, but what it needs is not there yet."""


class FeatureViewError(UserError):
    """A feature view was changed without a new version, or asked for what it does not permit."""
