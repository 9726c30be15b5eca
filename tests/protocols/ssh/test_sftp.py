"""SFTP's packets: vectors in three splits, both hellos, and hostile octets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.errors import PeerError
from hoopd.protocols.ssh import sftp
from hoopd.protocols.ssh.messages import number, string
from hoopd.protocols.ssh.sftp import Attributes, Packets
from hoopd.protocols.ssh.sftp_requests import PATHS, Said, opening, read_paths

#: as OpenSSH's sftp sends them, but for the ids
OPEN = bytes.fromhex("0000001a 03 00000007 00000005") + b"/etc/" + bytes.fromhex("00000001 00000004 000001a4")
CLOSE = bytes.fromhex("0000000d 04 00000008 00000004 00000000")
READ = bytes.fromhex("00000019 05 00000009 00000004 00000000 0000000100000002 00008000")
WRITE = bytes.fromhex("0000001c 06 0000000a 00000004 00000000 0000000000000003 00000003") + b"abc"
RENAME = bytes.fromhex("0000002d c8 0000000b 00000018") + b"posix-rename@openssh.com" + bytes.fromhex(
    "00000002 2f61 00000002 2f62"
)  # fmt: skip


def test_vectors() -> None:
    for packet in (OPEN, CLOSE, READ, WRITE, RENAME):
        assert len(packet) == 4 + int.from_bytes(packet[:4], "big")
    assert sftp.head(OPEN) == (sftp.OPEN, 7)
    said = read_paths(PATHS[sftp.OPEN], OPEN)
    assert isinstance(said, Said)
    assert (said.paths, opening(said.rest)) == ((b"/etc/",), (1, "get"))
    assert sftp.handle(CLOSE) == bytes(4)
    assert sftp.read_request(READ) == (bytes(4), 0x100000002, 32768)
    handle, offset, piece = sftp.write_request(WRITE)
    assert (handle, offset, bytes(piece)) == (bytes(4), 3, b"abc")
    request = PATHS[b"posix-rename@openssh.com"]
    renamed = read_paths(request, RENAME)
    assert isinstance(renamed, Said)
    assert renamed.paths == (b"/a", b"/b")
    assert request.encode(11, RENAME, renamed.paths, renamed) == RENAME
    assert request.encode(11, RENAME, (b"/a", b"/long"), renamed).endswith(b"\0\0\0\5/long")


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_packets_are_cut_however_they_come(size: int) -> None:
    stream = OPEN + READ + WRITE + RENAME[:10]
    packets, found = Packets(), []
    for at in range(0, len(stream), size):
        packets.feed(stream[at : at + size])
        while (packet := packets.next()) is not None:
            found.append(packet)
    assert found == [OPEN, READ, WRITE]


@pytest.mark.parametrize("length", [0, sftp.PACKET_MAX + 1, 0xFFFFFFFF])
def test_lengths_that_are_none(length: int) -> None:
    packets = Packets()
    packets.feed(number(length) + b"x")
    with pytest.raises(PeerError, match="length"):
        packets.next()


def test_hellos() -> None:
    assert sftp.init(bytes.fromhex("00000005 01 00000006")) == bytes.fromhex("00000005 01 00000003")
    with pytest.raises(PeerError):
        sftp.init(bytes.fromhex("00000005 01 00000002"))
    with pytest.raises(PeerError):
        sftp.init(READ)
    pairs = string(b"hardlink@openssh.com") + string(b"1") + string(b"statvfs@openssh.com") + string(b"9")
    content = b"\2" + number(3) + pairs + string(b"vendor-id") + string(b"x")
    kept = b"\2" + number(3) + string(b"hardlink@openssh.com") + string(b"1")
    assert sftp.version(number(len(content)) + content) == number(len(kept)) + kept
    for other in (
        number(5) + b"\2" + number(4),
        number(5) + b"\2" + number(2),
        READ,
        number(7) + b"\2" + number(3) + b"xy",
    ):
        with pytest.raises(PeerError):
            sftp.version(other)


def test_attributes() -> None:
    from hoopd.protocols.ssh.messages import Reader

    raw = number(0x8000000F) + bytes(7) + b"\5" + number(1) + number(2) + number(0o100644) + number(8) + number(9)
    raw += number(1) + string(b"a@b") + string(b"c")
    reader = Reader(raw)
    assert sftp.attributes(reader) == Attributes(5, (1, 2), 0o100644, (8, 9))
    reader.end()
    assert Attributes(5, (1, 2), 0o104755).text == "mode 4755, owner 1:2, size 5"
    assert [Attributes(mode=mode).tree for mode in (None, 0o100644, 0o040755, 0o120777, 0o755)] == [
        True,
        False,
        True,
        False,
        True,
    ]
    for wrong in (number(0x10), number(0x80000000) + number(65), number(1) + bytes(7)):
        with pytest.raises(PeerError):
            sftp.attributes(Reader(wrong))


@pytest.mark.parametrize(("flags", "action"), [
    (1, "get"), (2, "put"), (3, "edit"), (0x1A, "put"), (0, ""), (0x20, ""), (4, "put"), (0x11, "edit"), (9, "edit"),
])  # fmt: skip
def test_what_a_file_is_opened_for(flags: int, action: str) -> None:
    assert opening(number(flags)) == (flags, action)


def test_names() -> None:
    entry = string(b"a") + string(b"-rw a") + number(0)
    assert sftp.names(sftp.packet(sftp.NAME, 1, number(2) + entry * 2)) == [b"a", b"a"]
    for wrong in (number(3) + entry * 2, number(1) + entry * 2, number(0xFFFFFFFF) + entry, b""):
        with pytest.raises(PeerError):
            sftp.names(sftp.packet(sftp.NAME, 1, wrong))


@pytest.mark.parametrize(("packet", "call"), [
    (sftp.packet(sftp.DATA, 1, number(4) + b"abc"), sftp.data),
    (sftp.packet(sftp.DATA, 1, number(2) + b"abc"), sftp.data),
    (sftp.packet(sftp.HANDLE, 1, string(b"")), sftp.handle),
    (sftp.packet(sftp.HANDLE, 1, string(bytes(257))), sftp.handle),
    (sftp.packet(sftp.HANDLE, 1, string(b"h") + b"x"), sftp.handle),
    (WRITE[:-1], sftp.write_request),
    (WRITE + b"x", sftp.write_request),
    (READ + b"x", sftp.read_request),
    (b"\0\0\0\1\3", sftp.head),
])  # fmt: skip
def test_packets_that_are_none(packet: bytes, call: Callable[[bytes], object]) -> None:
    with pytest.raises(PeerError):
        call(packet)


def test_paths_that_are_not_forwarded() -> None:
    assert read_paths(PATHS[sftp.STAT], sftp.packet(sftp.STAT, 1, string(b"a\0b"))) == "a path with a NUL in it"
    assert "too long" in str(
        read_paths(PATHS[sftp.STAT], sftp.packet(sftp.STAT, 1, string(bytes(4097).replace(b"\0", b"x"))))
    )


@given(st.binary(max_size=300), st.sampled_from(sorted(PATHS, key=str)))
def test_hostile_octets_raise_one_error(content: bytes, kind: int | bytes) -> None:
    packet = sftp.packet(kind, 1, content) if isinstance(kind, int) else sftp.packet(200, 1, string(kind) + content)
    for call in (
        sftp.data, sftp.names, sftp.handle, sftp.status_code, sftp.read_request, sftp.write_request, sftp.init, sftp.version,
        lambda each: read_paths(PATHS[kind], each),
    ):  # fmt: skip
        with contextlib.suppress(PeerError):
            call(packet)


@given(st.lists(st.binary(max_size=50)))
def test_any_stream_is_cut_or_refused_in_bounded_memory(chunks: list[bytes]) -> None:
    packets, fed, cut = Packets(), 0, 0
    with contextlib.suppress(PeerError):
        for chunk in chunks:
            packets.feed(chunk)
            fed += len(chunk)
            while (packet := packets.next()) is not None:
                cut += len(packet)
        assert len(packets._buffer) == fed - cut < 4 + sftp.PACKET_MAX
