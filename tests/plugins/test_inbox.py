"""News for a host's main thread."""

from __future__ import annotations

import threading
import time

from plugins.common.inbox import Inbox


def test_calls_are_made_in_their_order_and_in_the_thread_that_pumps():
    inbox, made = Inbox(), []
    threads = threading.Thread(
        target=lambda: [inbox.put(lambda i=i: made.append((i, threading.get_ident()))) for i in range(9)]
    )
    threads.start()
    threads.join()
    assert inbox.pump(1.0) == 0
    assert made == [(i, threading.get_ident()) for i in range(9)]


def test_of_calls_with_one_key_only_the_newest_is_made():
    inbox, made = Inbox(), []
    for i in range(1000):
        inbox.put(lambda i=i: made.append(i), "progress")
    inbox.put(lambda: made.append("end"))
    inbox.pump(1.0)
    assert made == [999, "end"]


def test_a_pump_stops_when_its_time_is_used_up_and_asks_for_another():
    woken = []
    inbox, made = Inbox(lambda: woken.append(1)), []
    for _ in range(10):
        inbox.put(lambda: (time.sleep(0.002), made.append(1)))
    assert inbox.pump(0.0) == 9
    assert (len(made), len(woken)) == (1, 2)
    assert inbox.pump(5.0) == 0
    assert len(made) == 10


def test_a_listener_that_raises_does_not_keep_the_others_from_theirs(caplog):
    inbox, made = Inbox(), []
    inbox.put(lambda: 1 / 0)
    inbox.put(lambda: made.append(1))
    inbox.pump(1.0)
    assert made == [1]
    assert "ZeroDivisionError" in caplog.text


def test_the_host_is_woken_once_for_what_waits_together():
    woken = []
    inbox = Inbox(lambda: woken.append(1))
    inbox.put(lambda: None)
    inbox.put(lambda: None)
    assert woken == [1]
    inbox.pump(1.0)
    inbox.put(lambda: None)
    assert woken == [1, 1]
