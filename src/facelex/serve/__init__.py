"""Recognition over HTTP: an API and a web page, for this machine or for others.

Pictures are read in memory, and nothing of them is kept, written to disk or logged.
"""

from facelex.errors import require

require("fastapi", "serve", "Serving")
require("python_multipart", "serve", "Serving")

from facelex.serve.app import create_app  # noqa: E402

__all__ = ["create_app"]
