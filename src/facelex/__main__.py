"""``python -m facelex``, the same as the ``facelex`` command."""

from facelex.cli.main import main

main()
