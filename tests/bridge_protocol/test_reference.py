"""The reference pages say what the program does."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

from bridge_protocol import codec, jobs, reference
from bridge_protocol import messages as m
from bridge_protocol.blobs import Blob
from server.guard import Limits

ROOT = Path(reference.__file__).parents[1]
WIRE = (ROOT / "docs/protocol.md").read_text("utf-8")
STALE = "run python -m bridge_protocol.reference docs"


def test_the_pages_are_up_to_date():
    assert reference.updated(WIRE) == WIRE, STALE
    assert (ROOT / "docs/reference-jobs.md").read_text("utf-8") == reference.jobs_reference(), STALE


def test_every_message_and_every_kind_of_job_has_its_place():
    for name in m.TYPES:
        assert f"#### `{name}`\n" in WIRE
    for kind in jobs.KINDS:
        assert f"## {kind}\n" in reference.jobs_reference()


def test_the_frame_in_the_page_is_the_frame():
    shown = re.search(r"^(00 00 00 0f .*)$", WIRE, re.MULTILINE)
    assert shown
    assert bytes.fromhex(shown[1]) == codec.encode(m.Ping(7))


def test_the_digests_in_the_page_are_the_digests():
    blob = Blob.of(bytes(range(24)), shape=(2, 3, 4), color="srgb")
    assert blob.part_digests.hex() in WIRE
    assert blob.ref.digest.hex() in WIRE


def test_the_limits_in_the_page_are_the_limits():
    for number in (codec.MAX_HEADER, codec.MAX_PAYLOAD, codec.MAX_FRAME, codec.MAX_ITEMS):
        assert f"{number:,}" in WIRE
    for name in asdict(Limits()):
        assert f"`{name}`" in WIRE


def test_every_error_code_stands_in_the_page():
    raised = re.compile(
        r"""(?:ProtocolError|Error)\(\s*"(\w+)"|Failed\(0, [\w.]+, "(\w+)"|"""
        r"""code: ClassVar\[str\] = "(\w+)"|    code = "(\w+)\""""
    )
    codes = set()
    for file in [*(ROOT / "bridge_protocol").glob("*.py"), *(ROOT / "server").rglob("*.py")]:
        codes |= {code for found in raised.findall(file.read_text("utf-8")) for code in found if code}
    clients_own = {"no_server", "bad_address", "closed", "client_failed", "handshake_refused", "connection_lost"}
    codes -= {*clients_own, "cancelled", "timeout"}  # not on the wire
    assert {"bad_frame", "unknown_job", "out_of_memory", "worker_crashed"} <= codes
    table = WIRE.split("## Errors")[1].split("## Limits")[0]
    assert not [code for code in sorted(codes) if f"`{code}`" not in table]
