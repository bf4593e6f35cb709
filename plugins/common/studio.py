"""What a host holds of Brushwire: one connection, the jobs on their way, the server's lists, the history.

    studio = Studio("gimp", "GIMP plug-in 0.1")
    form = studio.form("Generate")
    form["prompt"] = "a boat"
    task = studio.submit(lambda: form.job({"image": Blob.of(pixels, …)}), form, title="a boat")
    …
    studio.pump()      # often, from the host's main thread: here every listener is called
    studio.placed(task)  # the result is in the document

Nothing here blocks but `close`, which has a bound. Arrays are hashed and files written in one worker thread; the socket
lives in the client's own.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bridge_protocol import jobs
from bridge_protocol import messages as m
from bridge_protocol.client import BridgeClient
from bridge_protocol.client_events import Event, Finished, PreviewPixels
from bridge_protocol.handle import BridgeError, JobResult, error_of
from bridge_protocol.jobs import PlainJob, Priority
from bridge_protocol.records import InvalidValue

from .connection import SEARCHING, SessionFile, State, state_of
from .files import plugins_folder
from .forms import Form
from .history import Entry, History
from .inbox import Inbox
from .lists import Lists, lists_of
from .settings import Presets, Settings
from .tasks import Task

log = logging.getLogger("brushwire.plugin")

#: How long `close` waits for what is being written or said.
CLOSE_SECONDS = 2.0
_QUERY_SECONDS = 15.0

DEFAULTS: dict[str, Any] = {
    "url": "",  # another server than the one that is found by itself
    "token": "",  # for that one
    "start_server": True,
    "server_command": "",
    "keep_results": True,
}


class Studio:
    """One host's side of Brushwire.

    host: names the folder of its files. name: what the server's log calls it. folder: where its files lie instead of
    the user's. runtime: the runtime folder, where it is not the user's. wake: called from any thread when there is
    something to pump. defaults: of further settings of the host's own. remembers: whether this run comes back to an
    earlier run's session, and keeps a history; a run that does one job and ends does not.
    """

    def __init__(
        self,
        host: str,
        name: str,
        *,
        folder: Path | None = None,
        runtime: Path | None = None,
        wake: Callable[[], None] | None = None,
        defaults: dict[str, Any] | None = None,
        remembers: bool = True,
        start_server: bool | None = None,
    ) -> None:
        base = folder or plugins_folder()
        self.inbox = Inbox(wake)
        self.settings = Settings(base / host / "settings.json", {**DEFAULTS, **(defaults or {})})
        self.presets = Presets(base / "presets")
        self.history = History(base / host / "history") if remembers else None
        self.schema: dict[str, Any] = jobs.schema()
        self.lists: Lists = {}
        #: The jobs of this run, and results of earlier ones, the oldest first.
        self.tasks: list[Task] = []
        self.state: State = SEARCHING
        #: Called in the main thread: with the State, with the Task that is new or has changed, with nothing.
        self.on_state: list[Callable[[State], object]] = []
        self.on_task: list[Callable[[Task], object]] = []
        self.on_lists: list[Callable[[], object]] = []
        #: Called in the main thread when the history has another result, with its thumbnail.
        self.on_history: list[Callable[[], object]] = []
        self._was_connected = False
        self._closed = False
        self._session = SessionFile(base / host) if remembers else None
        self._work: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._worker = threading.Thread(target=self._run, name="brushwire-worker", daemon=True)
        self._worker.start()
        url = self.settings["url"] or None
        #: Whether a server is started where none is running.
        self.starts_server = url is None and (self.settings["start_server"] if start_server is None else start_server)
        self.client = BridgeClient(
            name,
            url=url,
            token=self.settings["token"] or None,
            start_server=self.starts_server,
            server_command=self.settings["server_command"] or None,
            session=self._session.id if self._session else None,
            runtime=runtime,
            on_state=self._said_state,
            on_orphan=lambda event: self.inbox.put(partial(self._take_orphan, event)),
        )

    # -- for the host, from its main thread

    def pump(self, budget_seconds: float = 0.008) -> int:
        """Tell the listeners what has happened, for so long at most; returns how much still waits."""
        return self.inbox.pump(budget_seconds)

    def form(self, kind: str) -> Form:
        """A form for that kind of job, as the connected server knows it. Raises KeyError."""
        return Form(kind, self.schema[kind], self.lists)

    def submit(
        self,
        make: Callable[[], PlainJob],
        form: Form,
        *,
        title: str = "",
        place: dict[str, Any] | None = None,
        priority: Priority = "interactive",
        slot: str = "",
        on_disconnect: m.OnDisconnect = "keep",
        on_change: Callable[[Task], object] | None = None,
    ) -> Task:
        """Ask for a job; returns at once.

        make: makes the job, in the worker thread: there the arrays are hashed (Blob.of) without keeping the host. It
        must not touch the host. The form's values are kept for the history. What goes wrong comes as the task's end.
        """
        values = form.values
        task = Task(form.kind, title or str(values.get("prompt", "")) or form.kind, values, dict(place or {}))
        task.on_change = partial(self._changed, on_change)
        self.tasks.append(task)
        remembered = self.history is not None and priority != "live"
        options = {"priority": priority, "slot": slot, "on_disconnect": on_disconnect}
        self._work.put(lambda: self._submit(task, make, options, remembered))
        return task

    def cancel(self, task: Task) -> None:
        """End a job, wherever it is on its way; its end comes as the task's change."""
        task.cancelled = True
        if task.handle is not None and not task.ended:
            task.handle.cancel()

    def placed(self, task: Task) -> None:
        """The host holds the task's result for good: the server may forget it."""
        task.placed = True
        self._acknowledge(task)
        if self.history is not None and task.id:
            self._work.put(partial(self.history.change, task.id, placed=True))

    def dismiss(self, task: Task) -> None:
        """Forget a task that has ended; its result is nobody's concern any more, and in the history at most."""
        self.placed(task)
        if task in self.tasks:
            self.tasks.remove(task)

    @property
    def waiting(self) -> list[Task]:
        """The results that have no place yet: their documents are gone, or an earlier run of the host asked for them.

        They are in the history, or on the server where the history does not keep pixels, until they are placed or
        dismissed.
        """
        return [task for task in self.tasks if task.stage == "finished" and not task.placed]

    def use_again(self, entry: Entry) -> tuple[Form, list[str]]:
        """A form with an entry's settings, and sentences about what of them this server does not know."""
        form = self.form(entry.kind)
        return form, form.load(entry.values)

    def result_of(self, entry: Entry) -> JobResult | None:
        """What an entry's job made, where its pixels were kept. Reads files."""
        blobs = self.history.blobs(entry) if self.history is not None else None
        if blobs is None:
            return None
        outputs = [m.Output(out["name"], blob.ref, out["info"]) for out, blob in zip(entry.outputs, blobs, strict=True)]
        return JobResult(entry.id, outputs, blobs, entry.info)

    def refresh(self) -> None:
        """Ask the server for its schema and its lists again; the listeners of `on_lists` hear when they are here."""
        # In a thread of its own: an answer that does not come must not keep jobs from being submitted.
        threading.Thread(target=self._ask_lists, name="brushwire-lists", daemon=True).start()

    def find_waiting(self, tell: Callable[[list[dict[str, Any]]], object]) -> None:
        """Ask which results wait on the server for a client that is gone; `tell` hears it in the main thread.

        ``{"id", "kind", "prompt", …}`` each; what this studio asked for is not among them. `claim` brings one here.
        """
        threading.Thread(target=self._ask_waiting, args=(tell,), name="brushwire-waiting", daemon=True).start()

    def claim(self, job_id: str) -> None:
        """Take over a result that waits on the server; it comes as a task that has ended."""
        self.client.claim(job_id)

    def close(self) -> None:
        """End the connection; jobs go on, or end, as they were submitted. Takes two seconds at most."""
        if self._closed:
            return
        self._closed = True
        self._work.put(None)
        self._worker.join(CLOSE_SECONDS / 2)
        # A server that accepts and does not answer would keep `BridgeClient.close` for the handshake's time.
        closing = threading.Thread(target=self.client.close, name="brushwire-close", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS / 2)
        if self._session is not None:
            self._session.close()

    # -- in threads of their own

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception:  # what fails here must not take the later work with it
                log.exception("work in the background failed")

    def _submit(self, task: Task, make: Callable[[], PlainJob], options: dict[str, Any], remembered: bool) -> None:
        if task.cancelled:
            problem = error_of(m.Cancelled(0, "", "cancelled"))
            self.inbox.put(partial(task.end, None, problem))
            return
        try:
            job = make()
            handle = self.client.submit(job, on_event=partial(self._heard, task), auto_acknowledge=False, **options)
        except InvalidValue as error:
            problem = BridgeError("invalid_value", str(error), error.remedy, field=error.field)
            self.inbox.put(partial(task.end, None, problem))
            return
        except BridgeError as error:
            self.inbox.put(partial(task.end, None, error))
            return
        except Exception as error:  # the host's mistake in `make`: the artist must hear that nothing comes
            log.exception("a job could not be made")
            sentence = f"The job could not be made ({type(error).__name__}: {error})."
            self.inbox.put(partial(task.end, None, BridgeError("host_error", sentence)))
            return
        if remembered and self.history is not None:
            self.history.add(Entry(handle.id, task.kind, task.title, task.values, task.place))
        self.inbox.put(partial(self._submitted, task, handle))
        # Last: a job may have ended by now, and its end comes after all that was put before.
        handle.future.add_done_callback(lambda _future: self._heard_end(task, handle))

    def _ask_lists(self) -> None:
        try:
            schema = self.client.query("schema", _QUERY_SECONDS)
            lists = lists_of(self.client.query("models", _QUERY_SECONDS))
        except (BridgeError, TimeoutError) as error:
            log.info("the server's lists are not here: %s", error)
            return
        self.inbox.put(partial(self._take_lists, schema, lists), "lists")

    def _ask_waiting(self, tell: Callable[[list[dict[str, Any]]], object]) -> None:
        try:
            listing = self.client.query("jobs", _QUERY_SECONDS)
        except (BridgeError, TimeoutError) as error:
            log.info("what waits on the server is not known: %s", error)
            return
        self.inbox.put(lambda: tell([job for job in listing if job["state"] == "result" and not self._knows(job)]))

    def _knows(self, job: dict[str, Any]) -> bool:
        return any(task.id == job["id"] for task in self.tasks)

    def _keep(self, task: Task, result: JobResult) -> None:
        """Into the history; when the pixels lie there, the server may forget them."""
        history = self.history
        entry = history.get(result.id) if history is not None else None
        if history is None or entry is None:
            return
        keep = bool(self.settings["keep_results"])
        try:
            history.finish(entry, result, keep=keep)
        except OSError as error:
            log.warning("a result cannot be kept in the history: %s", error)
            return
        if keep:
            self.inbox.put(partial(self._acknowledge, task))
        self.inbox.put(lambda: [listener() for listener in self.on_history], "history")

    # -- in the client's thread

    def _said_state(self, said: str) -> None:
        self.inbox.put(partial(self._take_state, said))

    def _heard(self, task: Task, event: Event) -> None:
        if isinstance(event, (m.Progress, PreviewPixels)):
            self.inbox.put(partial(task.take, event), (id(task), type(event)))
        elif isinstance(event, m.Accepted):
            self.inbox.put(partial(task.take, event))

    def _heard_end(self, task: Task, handle: Any) -> None:
        error = handle.future.exception()
        result = None if error is not None else handle.future.result()
        if error is not None and not isinstance(error, BridgeError):
            error = BridgeError("host_error", str(error))
        self.inbox.put(partial(self._ended, task, result, error))

    # -- in the main thread, by `pump`

    def _take_state(self, said: str) -> None:
        state = state_of(said, self.client.problem, self._was_connected, starts_server=self.starts_server)
        if state.connected:
            self._was_connected = True
            if self._session is not None:
                self._session.remember(self.client.session_id)
            self.refresh()
        if state != self.state:
            self.state = state
            for listener in self.on_state:
                listener(state)

    def _take_lists(self, schema: dict[str, Any], lists: Lists) -> None:
        self.schema = schema
        self.lists.clear()  # forms hold this very map
        self.lists.update(lists)
        for listener in self.on_lists:
            listener()

    def _submitted(self, task: Task, handle: Any) -> None:
        task.handle, task.id = handle, handle.id
        if task.stage == "preparing":
            task.stage = "waiting"
        task.changed()
        if task.cancelled:
            handle.cancel()

    def _ended(self, task: Task, result: JobResult | None, problem: BridgeError | None) -> None:
        if result is not None:
            self._work.put(partial(self._keep, task, result))
        else:
            task.acknowledged = True
        task.end(result, problem)
        if problem is not None and self.history is not None and task.id:
            self._work.put(partial(self.history.change, task.id, state=task.stage, sentence=problem.sentence))

    def _take_orphan(self, event: Event) -> None:
        """The end of a job that an earlier run of the host asked for."""
        ended = event.result.id if isinstance(event, Finished) else str(getattr(event, "id", ""))
        entry = self.history.get(ended) if self.history is not None else None
        entry = entry or Entry(ended, "", "From an earlier run")
        task = Task(entry.kind, entry.title, entry.values, entry.place, id=ended, from_before=True)
        task.on_change = partial(self._changed, None)
        self.tasks.append(task)
        if isinstance(event, Finished):
            result = event.result
            blobs = [event.blobs[output.blob.digest] for output in result.outputs]
            self._ended(task, JobResult(ended, result.outputs, blobs, result.info), None)
        else:
            self.client.acknowledge(ended)
            self._ended(task, None, error_of(event))

    def _acknowledge(self, task: Task) -> None:
        if task.result is not None and not task.acknowledged:
            task.acknowledged = True
            with contextlib.suppress(BridgeError):  # closed: the next run hears of the result again
                self.client.acknowledge(task.result.id)

    def _changed(self, on_change: Callable[[Task], object] | None, task: Task) -> None:
        if on_change is not None:
            on_change(task)
        for listener in self.on_task:
            listener(task)
