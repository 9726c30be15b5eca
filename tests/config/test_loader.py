import os
import re
from pathlib import Path

import attrs
import pytest

from hoopd.config.loader import load, reference
from hoopd.config.schema import Config, Limits, Listener
from hoopd.config.structure import ConfigErrors

SHIPPED = Path(__file__).parents[2] / "etc/hoopd"

GOOD = """
[listen.postgres]
port = 6432
certificate = "server.pem"
key = "server.key"
[vault]
master_key = "file:master.key"
"""
TARGET = """
[targets.orders]
protocol = "postgres"
host = "127.0.0.1"
port = 5432
username = "app"
credential = "orders"
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "hoopd.toml").write_text(GOOD)
    (tmp_path / "targets.d").mkdir()
    (tmp_path / "targets.d/orders.toml").write_text(TARGET)
    (tmp_path / "server.pem").write_text("PEM")
    (tmp_path / "server.key").write_text("PEM")
    (tmp_path / "server.key").chmod(0o600)
    for path in ("hoopd.toml", "targets.d/orders.toml"):
        (tmp_path / path).chmod(0o644)
    return tmp_path


def wrong(directory: Path, text: str = "", file: str = "hoopd.toml", before: str = GOOD) -> str:
    if text:
        (directory / file).write_text(before + text)
    with pytest.raises(ConfigErrors) as caught:
        load(str(directory))
    return str(caught.value)


def test_a_good_directory(directory: Path) -> None:
    config = load(str(directory))
    assert config.listen["postgres"].certificate == str(directory / "server.pem")
    assert config.vault.master_key == f"file:{directory / 'master.key'}"
    assert config.targets["orders"].databases == ("orders",)
    assert config.targets["orders"].tls.mode == "verify-full"
    assert config.limits == Limits()


def test_durations_and_sizes(directory: Path) -> None:
    (directory / "hoopd.toml").write_text(
        GOOD + '[processes]\nbroker_grace = "2m"\ndrain = 5\n[limits]\nstatement_max = "64KiB"\n'
    )
    config = load(str(directory))
    assert (config.processes.broker_grace, config.processes.drain) == (120.0, 5.0)
    assert config.limits.statement_max == 65536


OIDC = '[identity.oidc.x]\nissuer = "https://a"\naudience = ["h"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[proceses]\ndrain = "1m"', "hoopd.toml: proceses: unknown key (did you mean processes?)"),
        ('[processes]\ndrain = "soon"', 'processes.drain: must be a duration such as "15m"'),
        ("[paths]\nstate = 5", "paths.state: must be a string, not 5"),
        ('[identity.oidc.x]\nissuer = "https://a"', "identity.oidc.x.audience: is missing"),
        ('[identity.oidc.x]\nissuer = "http://a"\naudience = ["h"]', "must be an https URL"),
        ('[identity.oidc.x]\nissuer = "https://a"\naudience = ["h"]\nalgorithms = ["none"]', "none is not a proof"),
        (
            '[identity.oidc.x]\nissuer = "https://a"\naudience = ["h"]\nkind = "robot"',
            "must be one of 'human', 'agent'",
        ),
        ('[approvals]\npassword = "x"', "secrets are never in these files"),
        ("[listen.http]\nport = 1\nplaintext_loopback = true", "this version serves postgres, ssh, not 'http'"),
        ("[audit\n", "not valid TOML"),
        ("[targets.x]\nport = 1", "targets are files in targets.d/"),
        ("[limits]\nqueue_bytes = true", "must be a size"),
        ('[duties]\nconflicts = [["vault", "emperor"]]', "'emperor' is no duty"),
        (
            '[duties]\nconflicts = [["vault", "auditor"]]\n[identity.oidc.x]\nissuer = "https://a"\naudience = ["h"]\n'
            'duties = { sre = "auditor vault" }',
            'identity.oidc.x.duties."sre": auditor and vault exclude each other',
        ),
        ('[identity.oidc.x]\nissuer = "https://a"\naudience = ["h"]\nduties = { a = "admin" }', "'admin' is no duty"),
        (f'{OIDC}login_client = "g"', "identity.oidc.x.audience: lacks 'g': that is the audience of the ID tokens"),
        (f'{OIDC}login_client = "h"\nkind = "agent"', "identity.oidc.x.login_client: is for people"),
        (f'{OIDC}login_client = "h"\nlogin_secret = "corp"', "must name a vault secret that begins with login/"),
        ("[identity]\nlogin_links = 0", "identity.login_links: must be at least 1"),
        (f'{OIDC}login_secret = "login/x"', "identity.oidc.x.login_client: is missing"),
        (f'{OIDC}login_client = "h"\nlogin_proof = "code"', "must be one of 'id_token', 'access_token'"),
    ],
)
def test_mistakes_are_named(directory: Path, text: str, said: str) -> None:
    assert said in wrong(directory, "\n" + text)


@pytest.mark.parametrize(
    "line", ["ssh-ed25519", "web1 ssh-ed25519 AAAA", "@cert-authority", "ssh-ed25519 !!!!", "ssh-ed25519 AAAA"]
)
def test_a_host_key_that_is_none_is_a_mistake_here_and_not_at_the_first_connection(directory: Path, line: str) -> None:
    host = (
        f'[targets.web1]\nprotocol = "ssh"\nhost = "h"\nport = 22\nusername = "u"\nssh = {{ host_keys = ["{line}"] }}\n'
    )
    (directory / "targets.d/web.toml").write_text(host)
    said = wrong(directory, "")
    assert "targets.web1.ssh.host_keys" in said
    assert "ssh-keyscan" in said


def test_all_mistakes_are_told_together(directory: Path) -> None:
    (directory / "targets.d/orders.toml").write_text(TARGET.replace("host", "hots") + 'tls = { mode = "of" }')
    said = wrong(directory, "\n[pathes]\n")
    assert "pathes: unknown key" in said
    assert "targets.orders.hots: unknown key (did you mean host?)" in said
    assert "targets.orders.host: is missing" in said
    assert "did you mean 'off'?" in said


def test_unsafe_modes(directory: Path) -> None:
    (directory / "hoopd.toml").chmod(0o666)
    (directory / "server.key").chmod(0o644)
    said = wrong(directory)
    assert "hoopd.toml: is writable by group or others (chmod go-w" in said
    assert "listen.postgres.key" in said
    assert "unsafe mode 0644" in said


def test_foreign_owner(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(directory / "hoopd.toml", 65534, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert "hoopd.toml: belongs to user id" in wrong(directory)


def test_missing_files(directory: Path) -> None:
    (directory / "server.pem").unlink()
    assert "server.pem is not there" in wrong(directory)
    (directory / "hoopd.toml").unlink()
    assert "hoopd.toml: cannot be read" in wrong(directory)


def test_shipped_configuration_loads_and_shows_every_key() -> None:
    config = load(str(SHIPPED), check_files=False)
    assert set(config.targets) == {"orders", "web1"}
    text = (SHIPPED / "hoopd.toml").read_text()
    for section in attrs.fields(Config):
        cls = section.type if attrs.has(section.type) else None
        for key in attrs.fields(cls) if cls else ():
            if key.name != "oidc":
                assert re.search(rf"^(# )?{key.name} =", text, re.M), f"{section.name}.{key.name} is not in hoopd.toml"


def test_commented_defaults_are_the_defaults() -> None:
    text = (SHIPPED / "hoopd.toml").read_text()
    uncommented = re.sub(r"(?m)^# (?=\[|[a-z_]+ =)", "", text)
    assert uncommented != text
    loaded = load_text(uncommented)
    plain = load_text(text)
    for section in ("approvals", "limits"):
        assert getattr(loaded, section) == getattr(plain, section), section
    assert attrs.evolve(loaded.processes, users={}) == plain.processes
    assert attrs.evolve(loaded.audit, witness=()) == plain.audit
    assert attrs.evolve(loaded.emergency, notify=()) == plain.emergency
    # each was loaded from a directory of its own
    assert _elsewhere(loaded) == _elsewhere(plain)


def _elsewhere(config: Config) -> dict[str, Listener]:
    return {name: attrs.evolve(each, host_keys=()) for name, each in config.listen.items()}


@pytest.mark.parametrize(
    ("line", "said"),
    [('notify = ["nobody"]', "there is no channel 'nobody'"), ('key_lapse = "1h"', "or no key ever counts")],
)
def test_emergencies_that_cannot_work(line: str, said: str) -> None:
    with pytest.raises(ConfigErrors, match=said):
        load_text(f"[emergency]\n{line}\n")


def load_text(text: str) -> Config:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        Path(name, "hoopd.toml").write_text(text)
        return attrs.evolve(strip(load(name, check_files=False), name), directory="")


def strip(config: Config, name: str) -> Config:
    listen = {key: attrs.evolve(each, certificate="", key="") for key, each in config.listen.items()}
    return attrs.evolve(config, listen=listen)


def test_reference_is_in_the_documentation() -> None:
    page = (SHIPPED.parents[1] / "docs/configuration.md").read_text()
    assert reference() in page, (
        "run: python -m hoopd.ctl.main config reference, and paste it into docs/configuration.md"
    )


def test_what_talks_to_receivers_is_not_the_broker_s_user(directory: Path) -> None:
    channel = '[notify.pager]\nkind = "command"\nrun = ["/bin/true"]\n'
    users = '[processes]\nusers = { worker = "hoopd-worker" }\n'
    assert "processes.users.notifier: is missing where there are channels" in wrong(directory, channel + users)
    (directory / "hoopd.toml").write_text(
        GOOD + channel + users.replace("worker =", 'notifier = "hoopd-notifier", worker =')
    )
    assert load(str(directory)).notify
    (directory / "hoopd.toml").write_text(GOOD + channel)
    assert load(str(directory)).notify
