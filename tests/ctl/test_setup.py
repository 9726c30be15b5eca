"""hoopctl setup, config and policy: real files, no gateway."""

from __future__ import annotations

import os
import ssl
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hoopd.config.loader import load
from hoopd.ctl.main import main


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def setup(directory: Path, *more: object) -> Result:
    return run("setup", "--directory", directory / "etc", "--state", directory / "state", "--run", directory / "run",
               "--port", 15432, *more)  # fmt: skip


def test_what_it_makes_is_good_and_private(tmp_path: Path) -> None:
    result = setup(tmp_path)
    assert result.exit_code == 0, result.output
    checked = run("config", "check", tmp_path / "etc")
    assert checked.exit_code == 0, checked.output
    config = load(str(tmp_path / "etc"))
    assert config.paths.state == str(tmp_path / "state")
    assert config.listen["postgres"].port == 15432
    for name in ("master.key", "tls/ca.key", "tls/server.key"):
        assert os.stat(tmp_path / "etc" / name).st_mode & 0o777 == 0o600, name
    assert os.stat(tmp_path / "state").st_mode & 0o777 == 0o700
    assert (tmp_path / "etc/master.key").read_text().strip() not in result.output
    tested = run("policy", "test", tmp_path / "etc")
    assert tested.exit_code == 0
    assert "4 passed, 0 failed" in tested.stdout


def test_an_ssh_listener_is_made_with_its_host_key(tmp_path: Path) -> None:
    result = setup(tmp_path, "--ssh-port", 2222)
    assert result.exit_code == 0, result.output
    checked = run("config", "check", tmp_path / "etc")
    assert checked.exit_code == 0, checked.output
    listener = load(str(tmp_path / "etc")).listen["ssh"]
    assert (listener.port, listener.host_keys) == (2222, (str(tmp_path / "etc/tls/ssh_host_ed25519_key"),))
    key = tmp_path / "etc/tls/ssh_host_ed25519_key"
    assert os.stat(key).st_mode & 0o777 == 0o600
    shown = subprocess.run(["ssh-keygen", "-y", "-f", key], capture_output=True, text=True, check=True).stdout
    assert shown.split()[:2] == key.with_suffix(".pub").read_text().split()[:2]
    tested = run("policy", "test", tmp_path / "etc")
    assert "8 passed, 0 failed" in tested.stdout
    before = key.read_bytes()
    assert setup(tmp_path, "--ssh-port", 2222).exit_code == 0
    assert key.read_bytes() == before


def test_who_adds_ssh_later_is_told_what_to_write(tmp_path: Path) -> None:
    setup(tmp_path)
    assert "ssh" not in load(str(tmp_path / "etc")).listen
    result = setup(tmp_path, "--ssh-port", 2222)
    toml = tmp_path / "etc/hoopd.toml"
    told = result.output.partition("which was there:")[2].partition("\nNext:")[0]
    assert "[listen.ssh]" in told
    toml.write_text(toml.read_text() + told)
    assert run("config", "check", tmp_path / "etc").exit_code == 0
    assert load(str(tmp_path / "etc")).listen["ssh"].port == 2222
    assert "which was there" not in setup(tmp_path, "--ssh-port", 2222).output


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    setup(tmp_path)
    files = [path for path in (tmp_path / "etc").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    again = setup(tmp_path, "--name", "other")
    assert again.exit_code == 0, again.output
    assert {path: path.read_bytes() for path in files} == before
    assert "made" not in again.output


def test_a_server_certificate_is_renewed_by_taking_it_away(tmp_path: Path) -> None:
    setup(tmp_path)
    authority = (tmp_path / "etc/tls/ca.pem").read_bytes()
    for name in ("server.pem", "server.key"):
        (tmp_path / "etc/tls" / name).unlink()
    assert setup(tmp_path).exit_code == 0
    assert (tmp_path / "etc/tls/ca.pem").read_bytes() == authority
    verified(tmp_path / "etc/tls")


def test_half_a_set_of_certificates_is_refused(tmp_path: Path) -> None:
    setup(tmp_path)
    (tmp_path / "etc/tls/server.key").unlink()
    result = setup(tmp_path)
    assert result.exit_code == 1
    assert "do not go together" in result.stderr


def verified(tls: Path) -> None:
    """OpenSSL's own opinion."""
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "localhost",
         "-CAfile", str(tls / "ca.pem"), str(tls / "server.pem")], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls / "server.pem", tls / "server.key")


def test_its_certificate_holds_for_the_names_that_were_given(tmp_path: Path) -> None:
    setup(tmp_path, "--name", "bastion.example", "--address", "0.0.0.0")
    verified(tmp_path / "etc/tls")
    shown = subprocess.run(
        ["openssl", "x509", "-in", str(tmp_path / "etc/tls/server.pem"), "-noout", "-ext", "subjectAltName"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "DNS:bastion.example" in shown
    assert "IP Address:127.0.0.1" in shown
    assert "0.0.0.0" not in shown


def test_a_path_cannot_smuggle_settings_in(tmp_path: Path) -> None:
    odd = tmp_path / 'a"b\\c'
    assert setup(odd).exit_code == 0
    assert load(str(odd / "etc")).paths.state == str(odd / "state")
    evil = tmp_path / "a\nworkers = 99"
    assert setup(evil).exit_code == 2
    assert not (evil / "etc" / "hoopd.toml").exists()


def test_every_error_of_a_configuration_is_told_at_once(tmp_path: Path) -> None:
    setup(tmp_path)
    toml = tmp_path / "etc/hoopd.toml"
    toml.write_text(toml.read_text().replace("workers = 2", "workres = 2") + "\n[audti]\n")
    (tmp_path / "etc/policies.d/example.toml").chmod(0o666)
    result = run("config", "check", tmp_path / "etc")
    assert result.exit_code == 1
    assert "workres" in result.stderr
    assert "workers" in result.stderr, "with a suggestion"
    assert "audti" in result.stderr


def test_a_failing_policy_test_says_which_and_what(tmp_path: Path) -> None:
    setup(tmp_path)
    rules = tmp_path / "etc/policies.d/example.toml"
    rules.write_text(rules.read_text().replace('DROP TABLE orders" = ["deny.drop"]', 'DROP TABLE orders" = []'))
    result = run("policy", "test", tmp_path / "etc")
    assert result.exit_code == 1
    assert "FAIL  example: user:priya DROP TABLE orders" in result.stdout
    assert "deny.drop" in result.stdout
    assert run("config", "check", tmp_path / "etc").exit_code == 1


def test_the_reference_has_every_table() -> None:
    result = run("config", "reference")
    assert result.exit_code == 0
    for table in ("paths", "listen.NAME", "processes", "identity.oidc.NAME", "vault", "audit", "targets.NAME"):
        assert f"[{table}]" in result.stdout


@pytest.mark.parametrize("words", [[], ["--help"], ["vault"], ["approvals", "--help"], ["setup", "--help"]])
def test_help_is_there(words: list[str]) -> None:
    assert "Usage:" in run(*words).output
