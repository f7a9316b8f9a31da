"""The command `ml-assets`: one function per command, from options to a call and its output.

Computing belongs in the room that owns the subject, the look of tables in `console`. The module of
a command is imported when it is asked for.
"""

from ml_assets.cli.app import app

__all__ = ["app"]
