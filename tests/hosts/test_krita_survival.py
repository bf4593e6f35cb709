"""What outlives what, in real Krita: jobs, results and the history, when something is closed, cancelled or breaks."""

from __future__ import annotations

from tests.hosts.krita.docker import PREPARE, ask


def test_the_history_is_kept_with_the_document(krita, shared_folder):
    krita.run("new()")
    ask(krita, "generate", "a kept picture", seed=8)
    krita.until("len(bytes(doc.annotation('brushwire/history'))) > 0")
    path = shared_folder / "kept.kra"
    krita.run(f"doc.setBatchmode(True); doc.saveAs({str(path)!r})")
    krita.until(f"__import__('pathlib').Path({str(path)!r}).exists()")
    krita.run(f"""
        d.studio.history.remove(mine()[0].id)
        again = app.openDocument({str(path)!r})
        app.activeWindow().addView(again)
        app.setActiveDocument(again)
    """)
    krita.until("d._look() or any(e.title == 'a kept picture' for e in d.studio.history.entries)")
    assert krita.run("d.studio.history.thumbnail(mine()[0].id) is not None")
    krita.run("new()")


def test_a_job_is_cancelled_from_the_docker(krita, picture):
    krita.run('new(); ask("refine", "echo slowly", steps=60)')
    krita.until("mine() and mine()[0].stage == 'painting'")
    krita.until("d.progress.isVisible() and '/60' in d.progress.bar.format()")
    picture("progress")
    krita.run("d.progress.cancel.click()")
    krita.until("mine()[0].stage == 'cancelled'", 20)
    assert krita.run("[d.progress.isVisible(), said(), names()]") == [False, "", ["Background"]]


def test_a_result_lands_at_its_place_after_the_canvas_was_moved(krita):
    krita.run('new(); fill(); select(100, 100, 64, 64); ask("fill", "echo slowly", steps=2)')
    krita.until("mine() and mine()[0].stage == 'painting'")
    krita.run("doc.resizeImage(-40, -20, 320, 300); doc.waitForDone()")
    krita.until("ended()")
    krita.until("names()[-1].startswith('Fill')")
    assert krita.run("b = doc.rootNode().childNodes()[-1].bounds(); [b.x(), b.y()]") == [140, 120]


def test_a_result_whose_document_was_closed_waits_in_the_history(krita):
    krita.run('new(); ask("refine", "echo slowly", steps=2); closing = doc')
    krita.until("mine() and mine()[0].stage == 'painting'")
    krita.run("closing.setModified(False); closing.close(); del closing; doc = None; new()")
    krita.until("mine()[0].stage == 'finished'", 30)
    krita.until("said()")
    assert "closed" in krita.run("said()")
    krita.run("d.history.here.setChecked(False)")
    krita.until("d.history.refresh() or d.history.list.count() > 0")
    krita.run("d.message.hide(); d.history.list.setCurrentRow(0); d.history.apply.click()")
    krita.until("len(names()) == 2")
    krita.run("d.history.here.setChecked(True)")


def test_a_killed_server_is_said_and_the_job_comes_back_after_its_restart(krita, echo_server, picture):
    krita.run('new(); ask("generate", "a red brick wall", steps=30)')
    krita.until("mine() and mine()[0].stage == 'painting'")
    echo_server.kill()
    krita.until("d.studio.state.phase == 'lost'", 30)
    assert "lost" in krita.run("d.state.text.text()")
    picture("lost")
    echo_server.start()
    krita.until("d.studio.state.connected", 60)
    krita.until("ended()", 120)
    assert krita.run("mine()[0].stage") == "finished"
    assert krita.run("names()[-1]").startswith("Generate")


def test_krita_closed_with_a_job_running_exits_with_0_and_gets_the_result_at_its_next_start(krita, shared_folder):
    krita.run('new(); ask("refine", "echo slowly", steps=3)')
    krita.until("mine() and mine()[0].stage == 'painting'")
    assert krita.quit() == 0
    krita.start()
    krita.run(PREPARE)
    krita.run("first = 0")
    krita.until("d.studio.state.connected", 60)
    krita.until("any(t.stage == 'finished' and t.from_before for t in d.studio.tasks)", 60)
    krita.run("new(); d.history.here.setChecked(False); d.history.refresh()")
    assert krita.run("d.history.list.count()") > 0
