"""Sources of the master key: their forms, their modes, and both keys during a rotation."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest

from hoopd.errors import ConfigError
from hoopd.secret import Secret
from hoopd.vault.envelope import MasterKey
from hoopd.vault.master import CredentialSource, FileSource, PassphraseSource, master_source, parse_keys

KEY = bytes(range(32))


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "content",
    [
        KEY,
        base64.b64encode(KEY),
        KEY.hex().encode() + b"\n",
        b"# made by hand\n\n hoopd-key-1 " + base64.b64encode(KEY) + b"\r\n",
    ],
)
def test_forms_of_a_key(content: bytes) -> None:
    assert parse_keys(content, "here") == (MasterKey(Secret(KEY)),)


@pytest.mark.parametrize(
    "content", [b"", b"\n", KEY[:31], KEY + b"x", b"not base64 at all!", base64.b64encode(KEY[:16]), b"\xff" * 44]
)
def test_what_is_no_key(content: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_keys(content, "/here")
    assert "/here" in str(caught.value)
    assert content == b"" or content.strip() == b"" or repr(content)[2:-1] not in str(caught.value)


class TestFile:
    def test_made_once_with_its_mode(self, tmp_path: Path) -> None:
        source = FileSource(tmp_path / "master")
        first = source.first()
        assert stat.S_IMODE((tmp_path / "master").stat().st_mode) == 0o600
        assert source.first() == first
        assert source.supplied("") == (first.key,)

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
    def test_a_mode_that_lets_others_in(self, tmp_path: Path, mode: int) -> None:
        path = write(tmp_path / "master", KEY, mode)
        with pytest.raises(ConfigError, match="chmod 600"):
            FileSource(path).supplied("")

    def test_another_users_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "master", KEY)
        if os.geteuid() == 0:
            os.chown(path, 12345, -1)
        else:
            # an ordinary user cannot give a file away, but can look at it as if being somebody else
            monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
        with pytest.raises(ConfigError, match="another user"):
            FileSource(path).supplied("")

    def test_links_directories_pipes_and_large_files(self, tmp_path: Path) -> None:
        write(tmp_path / "master", KEY)
        (tmp_path / "link").symlink_to(tmp_path / "master")
        (tmp_path / "directory").mkdir(mode=0o700)
        os.mkfifo(tmp_path / "pipe", 0o600)
        write(tmp_path / "large", KEY * 1000)
        for name in ("link", "directory", "pipe", "large", "absent"):
            with pytest.raises(ConfigError):
                FileSource(tmp_path / name).supplied("")
        # a dangling link is not where a new key is written
        (tmp_path / "dangling").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ConfigError):
            FileSource(tmp_path / "dangling").first()
        assert not (tmp_path / "elsewhere").exists()

    def test_both_keys_stand_in_the_file_until_it_is_settled(self, tmp_path: Path) -> None:
        source = FileSource(write(tmp_path / "master", KEY))
        old = source.first().key
        new = source.successor(old).key
        assert source.supplied("") == (new, old)
        source.settle(old)
        assert source.supplied("") == (old,)
        new = source.successor(old).key
        source.settle(new)
        assert source.supplied("") == (new,)
        assert [path.name for path in tmp_path.iterdir()] == ["master"]

    def test_settling_writes_only_if_it_must(self, tmp_path: Path) -> None:
        path = write(tmp_path / "master", KEY)
        before = path.stat().st_ino
        FileSource(path).settle(MasterKey(Secret(KEY)))
        assert path.stat().st_ino == before


class TestCredential:
    def test_first_and_second(self, tmp_path: Path) -> None:
        write(tmp_path / "key", KEY, 0o400)
        source = CredentialSource(tmp_path, "key")
        old = source.first().key
        with pytest.raises(ConfigError, match=r"key\.new"):
            source.successor(old)
        write(tmp_path / "key.new", KEY[::-1], 0o400)
        new = source.successor(old).key
        assert source.supplied("") == (old, new)
        source.settle(new)
        assert source.supplied("") == (old, new)

    def test_absent(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError):
            CredentialSource(tmp_path, "key").first()


class TestPassphrase:
    def test_derived_with_the_stores_salt(self, tmp_path: Path) -> None:
        source = PassphraseSource(write(tmp_path / "phrase", b"correct horse battery staple\n"))
        first = source.first()
        assert first.derivation.startswith("argon2id$m=65536,t=3,p=4$")
        assert source.supplied(first.derivation) == (first.key,)
        again = source.successor(first.key)
        assert again.key != first.key
        assert again.derivation != first.derivation

    def test_a_second_file_is_the_next_passphrase(self, tmp_path: Path) -> None:
        source = PassphraseSource(write(tmp_path / "phrase", b"correct horse battery staple"))
        first = source.first()
        write(tmp_path / "phrase.new", b"another horse altogether")
        second = source.successor(first.key)
        assert second.key in source.supplied(second.derivation)
        assert first.key in source.supplied(first.derivation)
        (tmp_path / "phrase.new").rename(tmp_path / "phrase")
        assert source.supplied(second.derivation) == (second.key,)

    def test_refusals(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="fewer"):
            PassphraseSource(write(tmp_path / "short", b"too short\nbut a long second line")).first()
        with pytest.raises(ConfigError, match="lets others"):
            PassphraseSource(write(tmp_path / "open", b"correct horse battery staple", 0o644)).first()
        good = PassphraseSource(write(tmp_path / "good", b"correct horse battery staple"))
        for derivation in ("", "argon2id", "argon2i$m=1,t=1,p=1$AAAA"):
            with pytest.raises(ConfigError):
                good.supplied(derivation)


def test_settings(tmp_path: Path) -> None:
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert isinstance(master_source("credential:hoopd-master-key", environment), CredentialSource)
    assert isinstance(master_source("file:/var/lib/hoopd/master", {}), FileSource)
    assert isinstance(master_source("passphrase:/etc/phrase", {}), PassphraseSource)
    for wrong in ("", "file:", "file:relative", "credential:../x", "credential:", "key:abc", "passphrase:x"):
        with pytest.raises(ConfigError):
            master_source(wrong, environment)
    with pytest.raises(ConfigError, match="systemd"):
        master_source("credential:hoopd-master-key", {})
