"""Every error that Whatwhere raises on purpose.

Messages are one sentence: what is wrong, where, and what to do. The command line
prints them as they are and ends with `exit_code`; anything else is a defect.
"""

from __future__ import annotations


class WhatwhereError(Exception):
    """Base of all expected errors; catch this to catch them all."""

    exit_code = 2


class UsageError(WhatwhereError):
    """A call or command asks for something that does not exist or does not fit together."""


class ImageError(WhatwhereError):
    """A picture cannot be read: missing, empty, truncated, too large or of an unknown kind."""


class DataError(WhatwhereError):
    """A data set or prediction file cannot be understood."""


class ModelError(WhatwhereError):
    """A model file is missing, damaged, not ours, or does not do what its spec says."""


class TrainError(WhatwhereError):
    """Training cannot start or go on."""


class ServerError(WhatwhereError):
    """A server cannot be reached, gives no answer in time, or is not one of ours."""


class GateError(WhatwhereError):
    """An export loses more on the user's pictures than is allowed; nothing was written.

    Args:
        message: the sentence.
        exported: what was measured, an `exporting.Exported`.
    """

    exit_code = 1

    def __init__(self, message: str, exported: object) -> None:
        self.exported = exported
        super().__init__(message)


class MissingExtraError(WhatwhereError):
    """A part of Whatwhere that was not installed is needed.

    Args:
        extra: name of the extra, such as "train".
        purpose: what needs it, as the start of a sentence ("Training a model").
    """

    def __init__(self, extra: str, purpose: str) -> None:
        self.extra = extra
        super().__init__(
            f"{purpose} needs the extra '{extra}': run  pip install 'whatwhere[{extra}]'"
        )
