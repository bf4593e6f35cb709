"""The queue against a plain list that says the same more slowly."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.queue import PRIORITIES, Entry, Queue, QueueFull


def test_live_goes_before_interactive_before_batch():
    queue = Queue()
    for name in ("batch", "live", "interactive"):
        queue.submit(Entry(name, "a", name))  # type: ignore[arg-type]
    assert [queue.next().id for _ in range(3)] == ["live", "interactive", "batch"]


def test_a_client_with_many_jobs_does_not_delay_one_with_few():
    queue = Queue()
    for number in range(50):
        queue.submit(Entry(f"many {number}", "greedy"))
    queue.submit(Entry("one", "modest"))
    assert [queue.next().id for _ in range(3)] == ["many 0", "one", "many 1"]


def test_a_live_job_replaces_the_waiting_one_of_its_slot_and_names_the_running_one():
    queue = Queue()
    queue.submit(Entry("1", "a", "live", "canvas"))
    queue.next()
    queue.submit(Entry("2", "a", "live", "canvas"))
    replaced, running = queue.submit(Entry("3", "a", "live", "canvas"))
    assert ([e.id for e in replaced], [e.id for e in running]) == (["2"], ["1"])
    assert [entry.id for entry in queue.order()] == ["3"]


def test_whoever_replaces_a_live_job_all_the_time_still_has_its_turn():
    queue = Queue()
    queue.submit(Entry("fast 0", "fast", "live", "canvas"))
    for number in range(1, 4):
        queue.submit(Entry(f"slow {number}", "slow", "live", str(number)))
        queue.submit(Entry(f"fast {number}", "fast", "live", "canvas"))
    assert [queue.next().id for _ in range(2)] == ["fast 3", "slow 1"]


@pytest.mark.parametrize(
    "other", [Entry("2", "b", "live", "canvas"), Entry("2", "a", "live", "other"), Entry("2", "a", "batch", "canvas")]
)
def test_a_slot_belongs_to_one_client_and_one_name(other):
    queue = Queue()
    queue.submit(Entry("1", "a", "live", "canvas"))
    assert queue.submit(other) == ([], [])


def test_the_limits_of_one_client_leave_the_others_room():
    queue = Queue(jobs_each=2, bytes_each=100, jobs=4)
    queue.admit(Entry("1", "a", nbytes=60))
    with pytest.raises(QueueFull, match="100 bytes"):
        queue.admit(Entry("2", "a", nbytes=60))
    queue.submit(Entry("1", "a", nbytes=60))
    queue.admit(Entry("never", "a"))
    queue.dismiss("never")
    queue.submit(Entry("2", "a"))
    with pytest.raises(QueueFull, match="2 jobs of this client"):
        queue.admit(Entry("3", "a"))
    queue.admit(Entry("3", "b", nbytes=60))
    queue.submit(Entry("3", "b"))
    queue.submit(Entry("4", "c"))
    with pytest.raises(QueueFull, match="4 jobs"):
        queue.admit(Entry("5", "d"))


def test_a_job_that_began_anew_is_next():
    queue = Queue()
    for name in "abc":
        queue.submit(Entry(name, name))
    queue.next()
    queue.requeue("a")
    assert [queue.next().id for _ in range(3)] == ["a", "b", "c"]


def test_a_live_job_takes_the_place_of_all_older_ones_also_of_one_that_began_anew():
    queue = Queue()
    for name in "12":
        queue.submit(Entry(name, "a", "live"))
        queue.next()
    queue.submit(Entry("3", "a", "live"))
    queue.requeue("1")
    replaced, _ = queue.submit(Entry("4", "a", "live"))
    assert [entry.id for entry in replaced] == ["1", "3"]
    assert [entry.id for entry in queue.order()] == ["4"]


def test_a_live_job_that_another_client_claims_pushes_none_of_its_jobs_out():
    queue = Queue()
    queue.submit(Entry("theirs", "a", "live", "canvas"))
    queue.submit(Entry("mine", "b", "live", "canvas"))
    queue.move("theirs", "b")
    assert [entry.id for entry in queue.order()] == ["mine", "theirs"]


entries = st.builds(
    lambda session, priority, slot: (session, priority, slot),
    st.sampled_from("abc"),
    st.sampled_from(PRIORITIES),
    st.sampled_from(["", "x"]),
)


class QueueMachine(RuleBasedStateMachine):
    """Any interleaving of what can happen to a queue, beside a model of it."""

    def __init__(self):
        super().__init__()
        self.queue = Queue()
        self.waiting: list[Entry] = []
        self.running: list[Entry] = []
        self.count = 0
        #: How often each client was served since another one that waits at the same priority began to wait.
        self.passed: dict[tuple[str, str], list[str]] = {}

    @rule(what=entries)
    def submit(self, what):
        self.count += 1
        entry = Entry(str(self.count), *what)
        same = [e for e in self.waiting if e.priority == "live" == entry.priority]
        expected = [e for e in same if (e.session, e.slot) == (entry.session, entry.slot)]
        replaced, running = self.queue.submit(entry)
        assert replaced == expected
        for older in running:
            assert older in self.running
            assert older.slot == entry.slot
        if expected:
            self.waiting[self.waiting.index(expected[0])] = entry
            self.waiting = [e for e in self.waiting if e not in expected]
        else:
            self.waiting.append(entry)

    @rule()
    def take(self):
        predicted = next(self.queue.order(), None)
        entry = self.queue.next()
        assert entry == predicted
        if entry is None:
            assert not self.waiting
            return
        best = min(PRIORITIES.index(e.priority) for e in self.waiting)
        assert PRIORITIES.index(entry.priority) == best
        own = [e for e in self.waiting if (e.session, e.priority) == (entry.session, entry.priority)]
        assert own[0] == entry, "a client's own jobs keep their order"
        self.waiting.remove(entry)
        self.running.append(entry)
        for other in {e.session for e in self.waiting if e.priority == entry.priority} - {entry.session}:
            passed = self.passed.setdefault((other, entry.priority), [])
            assert entry.session not in passed, "a client was served twice while another waited"
            passed.append(entry.session)
        self.passed.pop((entry.session, entry.priority), None)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data):
        entry = data.draw(st.sampled_from(self.waiting))
        assert self.queue.withdraw(entry.id)
        self.waiting.remove(entry)
        self.passed.clear()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data):
        entry = data.draw(st.sampled_from(self.running))
        assert not self.queue.withdraw(entry.id)
        self.queue.finish(entry.id)
        self.running.remove(entry)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def requeue(self, data):
        entry = data.draw(st.sampled_from(self.running))
        self.queue.requeue(entry.id)
        self.running.remove(entry)
        self.waiting.insert(0, entry)
        self.passed.clear()

    @invariant()
    def nothing_is_lost_or_doubled(self):
        assert sorted(e.id for e in self.queue.order()) == sorted(e.id for e in self.waiting)
        assert sorted(e.id for e in self.queue.running) == sorted(e.id for e in self.running)
        for place, entry in enumerate(self.queue.order()):
            assert self.queue.position(entry.id) == place + len(self.running)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(st.lists(entries, max_size=30))
def test_a_moved_job_is_served_once(whats):
    queue = Queue()
    for number, what in enumerate(whats):
        queue.submit(Entry(str(number), *what))
    ids = {entry.id for entry in queue.order()}
    for job_id in ids:
        queue.move(job_id, "new")
    served = []
    while entry := queue.next():
        served.append(entry.id)
        assert entry.session == "new"
    assert len(served) == len(set(served))
