"""The command `ml-assets`: one function per command, from options to a call and its output.

Computing belongs in the room that owns the subject, the look of tables in `console`. The module of
a command is imported when it is asked for.
"""

import os

# Before pydantic is imported: to look for plugins it reads what every installed package says of
# itself, a sixth of the imports of a command. Who has set it otherwise has them.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from ml_assets.cli.app import app

__all__ = ["app"]
