"""What is done with the history in the docker: seen over the canvas, applied, and kept with its documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bridge_protocol.handle import JobResult

from . import kept, rasters
from .history_view import HistoryView
from .overlay import Overlay
from .places import Place
from .qt import QtCore
from .texts import tr
from .workspace import Workspace

#: A picture that is only looked at has so many pixels at its longer side at most.
PREVIEW_SIDE = 2048
#: The history writes its files in the studio's worker thread; so many milliseconds later it is looked at again.
_WRITTEN = 400


class HistoryPanel(HistoryView):
    """The history of one docker. complain: told a sentence and its remedy."""

    def __init__(self, workspace: Workspace, overlay: Overlay, complain: Callable[[str, str], object]) -> None:
        super().__init__(workspace.studio)
        self._workspace, self._overlay, self._complain = workspace, overlay, complain
        self.chosen.connect(self._preview)
        self.left.connect(overlay.clear)
        self.applied.connect(self._put_in_place)

    def job_ended(self, job_id: str) -> None:
        """Show what has become of a job, and keep it with its document."""
        self.forget_icon(job_id)
        self.refresh()
        QtCore.QTimer.singleShot(_WRITTEN, lambda: self._written(job_id))

    def follow(self, document: Any, *, another: bool) -> None:
        """Show what belongs to the document that is worked in. another: it was not so far, and may bring a history."""
        history = self._workspace.studio.history
        if document is not None and another and history is not None:
            kept.adopt(document, history)
        self.set_document(self._workspace.documents.id_of(document) if document is not None else "")

    def _written(self, job_id: str) -> None:
        self.forget_icon(job_id)
        self.refresh()
        history = self._workspace.studio.history
        entry = history.get(job_id) if history is not None else None
        document = self._workspace.documents.find(str(entry.place.get("document"))) if entry is not None else None
        if document is not None and history is not None:
            kept.keep(document, history, self._workspace.documents.id_of(document))

    def _found(self, job_id: str) -> tuple[JobResult, Place] | None:
        """A job's result and where it belongs; None where its pixels were not kept."""
        studio = self._workspace.studio
        entry = studio.history.get(job_id) if studio.history is not None else None
        place = Place.from_plain(entry.place) if entry is not None else None
        result = studio.result_of(entry) if entry is not None else None
        return None if place is None or result is None else (result, place)

    def _preview(self, job_id: str, index: int) -> None:
        found = self._found(job_id) if self._workspace.document is not None else None
        if found is None:
            return
        result, place = found
        blobs = [blob for blob in result.blobs if len(blob.ref.shape) > 1]
        image = rasters.image_of_blob(blobs[index], PREVIEW_SIDE) if index < len(blobs) else None
        if image is not None:
            document = self._workspace.documents.find(place.document) or self._workspace.document
            self._overlay.show_image(document, image, place.bounds, place.alpha)

    def _put_in_place(self, job_id: str, index: int) -> None:
        found = self._found(job_id)
        if found is None:
            self._complain(tr("This result's pixels were not kept."), tr("Use its settings again with the same seed."))
            return
        self._workspace.apply(*found, index)
