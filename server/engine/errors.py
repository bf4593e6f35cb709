"""What can go wrong while painting: types with a stable code, a sentence, a remedy and whether a retry can help."""

from __future__ import annotations

from typing import ClassVar


class EngineError(Exception):
    """A failure that a user can read.

    code: stable, for programs. sentence: what happened. remedy: what the user can do. retryable: whether the same
    request can succeed later without a change.
    """

    code: ClassVar[str] = "engine_error"
    retryable: ClassVar[bool] = False

    def __init__(self, sentence: str, remedy: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[EngineError], tuple[str, str]]:
        # Exceptions travel from the worker's process to the server's, and some subclasses take other arguments.
        return type(self), (self.sentence, self.remedy)

    def __str__(self) -> str:
        return f"{self.sentence} {self.remedy}"


class InvalidRequest(EngineError):
    """A value of the request is wrong; the sentence names field, value and range."""

    code = "invalid_request"


class UnknownModel(EngineError):
    """No model of the catalog has this id, or none serves what was asked."""

    code = "unknown_model"


class IncompatibleModels(EngineError):
    """Two models that were asked for together do not fit: another family, other latents, another width."""

    code = "incompatible_models"


class RefusedModel(EngineError):
    """The file exists and will not be loaded: a pickle, a lying header, a link that leads out of the model folder."""

    code = "refused_model"


class UnreadableModel(EngineError):
    """The model was accepted by its header and could not be loaded."""

    code = "unreadable_model"


class OutOfMemory(EngineError):
    """The request does not fit into the device's memory, after every fallback."""

    code = "out_of_memory"


class Cancelled(EngineError):
    """The request was cancelled; nothing was painted."""

    code = "cancelled"

    def __init__(self, sentence: str = "The painting was cancelled.", remedy: str = "Submit it again to paint it."):
        super().__init__(sentence, remedy)
