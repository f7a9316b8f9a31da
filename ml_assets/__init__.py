"""Documents in, governed models out: a Dagster project on the databases ML teams use.

    import ml_assets

    with ml_assets.open() as session:
        result = session.search("parse command line arguments", k=3)
        answers = session.predict(["Return the absolute value of a number."])

Importing it imports nothing else: what a name needs is imported when it is asked for.
"""

TYPE_CHECKING = False  # typing is not imported: it takes longer than all else here
if TYPE_CHECKING:
    from ml_assets.session import Session
    from ml_assets.session import open_session as open  # noqa: A004

    __version__: str

__all__ = ["Session", "__version__", "open"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("ml-assets")
    if name in ("Session", "open"):
        from ml_assets import session

        return session.Session if name == "Session" else session.open_session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
