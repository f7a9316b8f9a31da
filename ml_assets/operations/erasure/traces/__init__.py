"""Looking for what is to be gone, in every file of a folder, and in what files hold compressed.

`patterns`: which bytes a mark can be; `matching`: many of them at once; `contents`: what a file
holds. Not here: what is to be looked for, and what a trace that is found means.
"""

from __future__ import annotations

from ml_assets.operations.erasure.traces.looking import Trace, files_of, find_traces, look_through

__all__ = ["Trace", "files_of", "find_traces", "look_through"]
