"""Every failure a user can meet: one clear sentence, and a hint at what to do next."""


class LowRankError(Exception):
    """A failure said in one sentence (`message`), with what to try next (`hint`)."""

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.message, self.hint = message, hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class BadValue(LowRankError):
    """A setting outside its range, or of the wrong kind."""


class ModelNotFound(LowRankError):
    """Neither the bundled model, nor a model folder, nor a hub id that exists."""


class ModelNotFetched(LowRankError):
    """A model on the Hub that could not be downloaded: no network, too many requests, a server that fails or stalls."""


class ModelGated(LowRankError):
    """A model on the Hub that opens only to those who accepted its terms, or a token that is not accepted."""


class ModelTooLarge(LowRankError):
    """A model that has no room in memory, on the disk or under the configured limit."""


class ModelUnsupported(LowRankError):
    """A model this program cannot take apart: no linear layers, or already quantized."""


class ModelCorrupt(LowRankError):
    """A model folder whose weights cannot be read."""


class TextNotFound(LowRankError):
    """Neither a named text nor a file."""


class TextNotFetched(LowRankError):
    """A data set that cannot be read from the Hub: no network, or not there, or not as expected."""


class TextNotUtf8(LowRankError):
    """A file that is not UTF-8 text."""


class TextTooShort(LowRankError):
    """An empty text, or one with fewer tokens than a single window."""


class NonFinite(LowRankError):
    """NaN or infinity at a named site."""


class BudgetNotFeasible(LowRankError):
    """A ratio that no choice of ranks can reach."""


class ArtefactCorrupt(LowRankError):
    """A stored result whose content does not match its checksum."""


class OutOfMemory(LowRankError):
    """The device has no room for what was asked."""


class NotPushed(LowRankError):
    """A repository on the Hub that cannot be made: it exists, or there is no token, no permission or no network."""


class ExtraMissing(LowRankError):
    """A library that only some work needs, and that is not installed."""
