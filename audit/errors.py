"""What can go wrong, in words a user can act on.

Every message is one line: what was expected, what came, where, what to do.

    AuditError
    ├── ManifestError     a data set, a manifest, a table of it
    ├── ImageError        one image: final, its sample fails
    ├── MaskError         one mask or box: its sample has maps and no scores
    ├── TransientError    one read or write: tried again
    ├── ModelError        a model, its layer, its mapping of classes
    │   └── UnmappedError     none of the data set's classes is one of the model's
    └── RunError          a run directory, and what was asked of it
"""


class AuditError(Exception):
    """A user-facing failure: the command line prints its message without a traceback."""


class ManifestError(AuditError):
    """A data set or manifest that cannot be indexed or read."""


class ImageError(AuditError):
    """An image that is not one, is damaged, or is too large. Final: the sample is not tried again."""


class MaskError(AuditError):
    """A mask that is missing, damaged or does not fit its image."""


class TransientError(AuditError):
    """An I/O failure that may pass (EIO, 503, a timeout): the sample is tried again on resume."""


class ModelError(AuditError):
    """A model that cannot be built, loaded or audited as asked."""


class UnmappedError(ModelError):
    """A model that has no output for any class of the data set."""


class RunError(AuditError):
    """A run directory that cannot be created, resumed, locked or read."""
