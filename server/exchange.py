"""Blobs between the store and the sessions: offers, uploads, downloads, and the shared folder.

What hashes, copies or touches a disk runs in a pool of threads. A blob that is on its way lies in memory, so that a
disk that is busy never holds the event loop up; how many bytes may do so is limited for each session and for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import mmap
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TypeVar

from bridge_protocol import messages as m
from bridge_protocol.blobs import DIGEST_SIZE, BlobRef, InvalidBlob, Part, verify
from bridge_protocol.codec import ProtocolError
from bridge_protocol.lanes import MIN_BYTES, SharedFolder
from bridge_protocol.session import Offered, ServerSession
from bridge_protocol.transfer import Incoming
from server import machine
from server.guard import Limits
from server.store import BlobStore, StoreFull

T = TypeVar("T")
#: How much memory of blobs that have arrived is kept for those that come: new memory costs more than what is put in it.
SPARE_BYTES = 32 << 20


@dataclass(eq=False)
class Party:
    """One session as its blobs see it.

    lane: the shared folder of the present socket; proven: whether the client has shown that it sees it. nonce: what
    stands in the server's probe there. coming: the bytes of each blob that is on its way, from the offer on.
    """

    session: ServerSession
    lane: SharedFolder | None = None
    nonce: str = ""
    proven: bool = False
    coming: dict[bytes, int] = field(default_factory=dict)


class Amendment(Incoming):
    """A blob that is another one but for some parts: these alone are expected, and are kept as they come.

    base: the other one, which may be gone when they are here. parts: their bytes, by their indices, of those that have
    come. part_digests: those of all parts.
    """

    def __init__(self, ref: BlobRef, missing: list[int], base: BlobRef, part_digests: bytes) -> None:
        super().__init__(ref, memoryview(b""), missing)
        self.base, self.part_digests = base, part_digests
        self.parts: dict[int, bytes] = {}

    def place(self, index: int, part: Part, view: memoryview) -> None:
        """Keep one part's bytes."""
        self.parts[index] = bytes(view)


class Exchange:
    """The traffic of blobs of all sessions of one server."""

    def __init__(self, store: BlobStore, limits: Limits) -> None:
        self._store, self._limits = store, limits
        self._pool = ThreadPoolExecutor(4, "blobs")
        self._writers = ThreadPoolExecutor(2, "blob files")
        self._spare: list[mmap.mmap] = []
        #: Blobs whose bytes are here and are being checked and stored.
        self._storing: dict[bytes, asyncio.Future[bool]] = {}

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()
        self._writers.shutdown()

    async def in_pool(self, function: Callable[..., T], *args: object) -> T:
        """Carry something out in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)

    # -- from the client

    async def take_offer(self, party: Party, offer: Offered, others: Iterable[Party]) -> None:
        """Answer an offer with Have or Need. others: all sessions, those longest without a socket first.

        Raises ProtocolError.
        """
        session, ref = party.session, offer.ref
        storing = self._storing.get(ref.digest)
        if storing is not None:
            await asyncio.wait([storing])
        if self._store.has(ref) or (
            self._store.may_have(ref) and await self.in_pool(self._store.find, ref) is not None
        ):
            self._stop(party, ref.digest)
            session.send(m.Have(ref.digest))
        elif ref.digest in session.incoming:
            session.begin(session.incoming[ref.digest])
        elif ref.digest not in party.coming:  # else the first offer is being prepared, and will be answered
            self._make_room(party, ref, list(others))
            party.coming[ref.digest] = ref.nbytes
            try:
                # A client that thinks that the blob is here still names it alone.
                part_digests = offer.part_digests or self._store.part_digests_of(ref)
                incoming = await self.in_pool(self._prepare, ref, part_digests)
            except BaseException:
                party.coming.pop(ref.digest, None)
                raise
            if incoming.complete:
                await self.store(party, incoming)
            else:
                session.begin(incoming)

    async def read_mapped(self, party: Party, mapped: m.Mapped) -> None:
        """Take a blob out of the shared folder. Raises ProtocolError."""
        about = mapped.digest.hex()
        incoming = party.session.stop(mapped.digest)
        lane = party.lane if party.proven else None
        if incoming is None or lane is None or isinstance(incoming, Amendment):
            party.coming.pop(mapped.digest, None)
            sentence = "That blob was not asked for whole, or there is no shared folder."
            raise ProtocolError("unexpected_mapped", sentence, "Offer it, and wait for Need.", about=about)
        try:
            await self.in_pool(lane.read_into, mapped.file, incoming.into)
        except (OSError, ValueError) as error:
            party.coming.pop(mapped.digest, None)
            sentence = f"The shared file cannot be read ({error})."
            raise ProtocolError("bad_mapped", sentence, "Send it inline.", retryable=True, about=about) from None
        finally:
            party.session.send(m.Release(mapped.file))
        await self.store(party, incoming)

    async def store(self, party: Party, incoming: Incoming) -> None:
        """Check a blob that has arrived, put it into the store, and say so. Raises ProtocolError."""
        digest = incoming.ref.digest
        about = digest.hex()
        storing = asyncio.ensure_future(self.in_pool(self._verify_and_store, incoming))
        self._storing[digest] = storing
        again = None
        try:
            if not await storing:  # another client's pictures needed the room of the base
                again = await self.in_pool(self._prepare, incoming.ref, b"")
        except InvalidBlob as error:
            sentence = f"A blob arrived broken: {error}."
            raise ProtocolError("bad_blob", sentence, "Send it again.", retryable=True, about=about) from None
        except StoreFull as full:
            raise ProtocolError("store_full", full.sentence, full.remedy, retryable=True, about=about) from None
        except OSError as error:
            sentence = f"The server's disk does not take the blob ({error.strerror})."
            raise ProtocolError("disk", sentence, "Make room on it.", retryable=True, about=about) from None
        finally:
            party.coming.pop(digest, None)
            if self._storing.get(digest) is storing:
                del self._storing[digest]
        if again is None:
            party.session.send(m.Have(digest))
        else:
            party.coming[digest] = again.ref.nbytes
            party.session.begin(again)

    # -- to the client

    async def send(self, party: Party, need: m.Need, ref: BlobRef | None) -> None:
        """Send what was asked for of a blob that is the session's to have. Raises ProtocolError."""
        blob = await self.in_pool(self._store.read, ref) if ref is not None else None
        if blob is None:
            sentence, remedy = "This server has no such blob for this session.", "Run the job again."
            raise ProtocolError("unknown_blob", sentence, remedy, about=need.digest.hex())
        lane = party.lane if party.proven else None
        file = None
        if lane is not None and need.offset == 0 and not need.parts and blob.ref.nbytes >= MIN_BYTES:
            with contextlib.suppress(OSError, ValueError):  # the folder is full or gone: the bytes go inline
                file = await self.in_pool(lane.put, blob.data)
        if file is not None and party.lane is lane:
            party.session.send(m.Mapped(need.digest, file))
        else:
            party.session.serve(need, blob)

    # -- the shared folder

    async def make_lane(self) -> tuple[SharedFolder, str, str]:
        """A folder for one socket, the name of the server's probe in it, and the probe's nonce. Raises OSError."""
        return await self.in_pool(_make_lane)

    async def check_lane(self, party: Party, proof: m.LaneProof) -> None:
        """Use the shared folder if the client has proven that it sees it. Raises ProtocolError."""
        lane = party.lane
        if lane is None or not secrets.compare_digest(proof.nonce.encode(), party.nonce.encode()):
            raise ProtocolError("bad_proof", "The nonce is not the one in the shared folder.", "Send payloads inline.")
        try:
            found = await self.in_pool(lane.read_probe, proof.probe)
        except (OSError, ValueError):
            found = ""
        if not found or found != proof.written:
            raise ProtocolError("bad_proof", "The client's probe is not in the shared folder.", "Send payloads inline.")
        party.proven = True
        party.session.send(m.LaneReady())

    async def drop_lane(self, party: Party) -> None:
        """Remove the shared folder; what the client still maps of it stays readable for it, and is not written to."""
        lane, party.lane, party.proven = party.lane, None, False
        if lane is not None:
            await self.in_pool(remove_lane, lane)

    # -- in the pool

    def _prepare(self, ref: BlobRef, part_digests: bytes) -> Incoming:
        """Room for a blob, or for what is missing of it where one is here that it differs little from.

        The room is memory that takes no place before it is written to, or that a blob of that size has left.
        """
        base = self._store.base_for(ref, part_digests) if part_digests else None
        if base is None:
            return Incoming(ref, memoryview(self._take_spare(ref.nbytes) or mmap.mmap(-1, ref.nbytes)))
        return Amendment(ref, base[1], base[0], part_digests)

    def _verify_and_store(self, incoming: Incoming) -> bool:
        """False where only a part of it came, and the blob is gone that has the others. Raises InvalidBlob."""
        if not isinstance(incoming, Amendment):
            self._store_whole(incoming)
            return True
        # The offer's digests gave the blob's own, and the other parts were hashed when they came: these are enough.
        for index, part in incoming.parts.items():
            if hashlib.sha256(part).digest() != incoming.part_digests[index * DIGEST_SIZE : (index + 1) * DIGEST_SIZE]:
                raise InvalidBlob(f"its part {index} does not have the digest that it was offered with")
        return self._store.amend(incoming.base, incoming.ref, incoming.part_digests, incoming.parts)

    def _store_whole(self, incoming: Incoming) -> None:
        """Written while it is hashed: each takes as long as the other, and neither holds Python's lock."""
        path = self._store.partial()
        writing = self._writers.submit(path.write_bytes, incoming.into)
        try:
            try:
                blob = verify(incoming.ref, incoming.into)
            finally:
                wait([writing])  # what is being written cannot be removed
            writing.result()
            self._store.adopt(path, blob.ref, blob.part_digests)
        finally:
            path.unlink(missing_ok=True)
        self._leave_spare(incoming.into.obj)

    # -- room

    def _take_spare(self, nbytes: int) -> mmap.mmap | None:
        found = next((one for one in list(self._spare) if len(one) == nbytes), None)
        if found is not None:
            with contextlib.suppress(ValueError):  # another thread has taken it meanwhile
                self._spare.remove(found)
                return found
        return None

    def _leave_spare(self, memory: object) -> None:
        if isinstance(memory, mmap.mmap) and sum(map(len, list(self._spare))) + len(memory) <= SPARE_BYTES:
            self._spare.append(memory)

    def _make_room(self, party: Party, ref: BlobRef, parties: list[Party]) -> None:
        """Uploads that were left half done by clients that are gone make room for new ones."""
        limits, mine = self._limits, sum(party.coming.values())
        if mine + ref.nbytes <= limits.incoming_bytes:
            coming = sum(sum(other.coming.values()) for other in parties)
            for other in (one for one in parties if one.session.queue is None):
                if coming + ref.nbytes <= limits.all_incoming_bytes:
                    break
                for digest, incoming in list(other.session.incoming.items()):
                    coming -= incoming.ref.nbytes
                    self._stop(other, digest)
            if coming + ref.nbytes <= limits.all_incoming_bytes:
                return
        raise ProtocolError(
            "too_much_incoming",
            f"{mine} bytes of this client are on their way; with {ref.nbytes} more it would be too much.",
            "Offer the next blob when the server has the ones before.",
            retryable=True,
            about=ref.digest.hex(),
        )

    def _stop(self, party: Party, digest: bytes) -> None:
        party.session.stop(digest)
        party.coming.pop(digest, None)


def remove_lane(lane: SharedFolder) -> None:
    """Remove a shared folder and all that lies in it."""
    with contextlib.suppress(OSError):  # what is left is removed at the next start
        lane.close(remove=True)


def _make_lane() -> tuple[SharedFolder, str, str]:
    lane = SharedFolder.create()
    machine.own_shared_folder(lane.path)
    return (lane, *lane.write_probe())
