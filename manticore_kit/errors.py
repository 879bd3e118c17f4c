"""The errors that this package raises on purpose.

Each message says what was given, where, what would be accepted and what to do next; the command line prints it
alone, without a traceback.
"""


class ManticoreError(ValueError):
    """Something given to the workbench cannot be used as it is."""
