"""The painter: one device that turns requests into pictures."""

from __future__ import annotations

from server.engine.catalog import Catalog
from server.engine.painting import IsCancelled, OnProgress, Painting, PaintRequest


class Painter:
    """Paints one request at a time on one device, and keeps the models warm between them.

    catalog: what can be asked for. device: a torch device's name, or None for the best one that is there.
    memory_budget: bytes of weights that may stay loaded; None means what the device can spare.
    """

    def __init__(self, catalog: Catalog, device: str | None = None, memory_budget: int | None = None) -> None:
        self.catalog = catalog

    def paint(
        self,
        request: PaintRequest,
        on_progress: OnProgress | None = None,
        cancelled: IsCancelled | None = None,
    ) -> Painting:
        """Paint a request.

        on_progress is called in this thread, after every step and at each new phase. cancelled is asked before each
        call of the denoiser and between phases; when it says True, `errors.Cancelled` is raised at once, and later
        paintings are bit-identical to what they would have been. Raises a subclass of `errors.EngineError`.
        """
        raise NotImplementedError

    def free(self) -> None:
        """Forget every loaded model and give its memory back."""
        raise NotImplementedError
