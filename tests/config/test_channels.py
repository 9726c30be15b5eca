"""Channels: every mistake is named, and no secret has a place in the file."""

from pathlib import Path

import pytest

from hoopd.config.channels import Channel, Notifications, check, program_problems, unknown_channels, valid_address

WEBHOOK = {"kind": "webhook", "url": "https://r.example/x", "secret": "notify/r"}
EMAIL = {"kind": "email", "server": "smtp.example.com", "sender": "h@example.com", "to": ("o@example.com",)}


def wrong(name: str = "orders", settings: Notifications = Notifications(), **table: object) -> list[str]:  # noqa: B008
    found: list[str] = []
    check(
        {name: Channel(**table)},  # type: ignore[arg-type]
        settings,
        lambda key, problem, hint: found.append(f"{key}: {problem} ({hint})"),
        check_files=False,
    )
    return found


@pytest.mark.parametrize(
    "table",
    [
        WEBHOOK,
        WEBHOOK | {"url": "http://127.0.0.1:8080/x", "allow_http": True, "events": ("approval.held",)},
        {"kind": "slack", "secret": "notify/s"},
        {"kind": "teams", "secret": "notify/t"},
        EMAIL,
        EMAIL | {"username": "u", "secret": "notify/smtp", "port": 465, "tls": "tls"},
        EMAIL | {"server": "127.0.0.1", "tls": "off", "port": 25},
        {"kind": "command", "run": ("/usr/bin/logger", "-t", "x")},
    ],
)
def test_good_channels(table: dict[str, object]) -> None:
    assert wrong(**table) == []


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"kind": "webhook", "secret": "notify/r"}, "orders.url: is missing"),
        ({"kind": "webhook", "url": "https://r.example"}, "orders.secret: is missing"),
        (WEBHOOK | {"secret": "orders-db"}, "begins with notify/"),
        (WEBHOOK | {"url": "http://r.example/x"}, "must be https"),
        (WEBHOOK | {"url": "http://r.example/x", "allow_http": True}, "must be https"),
        (WEBHOOK | {"url": "https://u:p@r.example/x"}, "has a user name"),
        (WEBHOOK | {"url": "https://r.example/\r\nX: y"}, "is no URL"),
        (WEBHOOK | {"url": "ftp://r.example/"}, "must be https"),
        (WEBHOOK | {"url": "https://[::1"}, "is no URL"),
        (WEBHOOK | {"events": ("approval.helt",)}, "did you mean approval.held?"),
        (WEBHOOK | {"server": "x"}, "is no key of a channel of kind webhook"),
        ({"kind": "slack", "secret": "notify/s", "url": "https://hooks.slack.com/x"}, "is no key"),
        (EMAIL | {"tls": "off"}, "on loopback only"),
        (EMAIL | {"server": "127.0.0.1", "tls": "off", "username": "u", "secret": "notify/s"}, "never sent without"),
        (EMAIL | {"username": "u"}, "go together"),
        (EMAIL | {"to": ("o@example.com\nBcc: x@example.com",)}, "no plain address"),
        (EMAIL | {"sender": "H <h@example.com>"}, "no plain address"),
        (EMAIL | {"server": "smtp example"}, "must be a host name"),
        (EMAIL | {"port": 70000}, "1 to 65535"),
        ({"kind": "command", "run": ("page",)}, "absolute path"),
        ({"kind": "command", "run": ("/usr/bin/../bin/page",)}, "absolute path"),
        ({"kind": "command", "run": ("/usr/bin/page", "a\0b")}, "NUL"),
        ({"kind": "command", "run": ("/usr/bin/page",), "timeout": 600.0}, "at most a minute"),
        ({"kind": "command", "run": ("/usr/bin/page",), "memory": 1}, "at least 16MiB"),
    ],
)
def test_mistakes(table: dict[str, object], said: str) -> None:
    assert any(said in each for each in wrong(**table)), wrong(**table)


def test_names_and_defaults() -> None:
    assert "letters" in wrong("or ders", **WEBHOOK)[0]
    assert "did you mean orders?" in wrong(settings=Notifications(default=("ordres",)), **WEBHOOK)[0]
    assert "at least a minute" in wrong(settings=Notifications(give_up=1.0), **WEBHOOK)[0]


def test_unknown_channels_are_named() -> None:
    (error,) = unknown_channels(("orders", "securty"), {"orders", "security"}, "p.toml", "hold.write.notify")
    assert str(error) == "p.toml: hold.write.notify: there is no channel 'securty' (did you mean security?)"


@pytest.mark.parametrize("address", ["a@b", "a.b+c@d.example", "x_y@z-z.example"])
def test_addresses(address: str) -> None:
    assert valid_address(address)


@pytest.mark.parametrize("address", ["", "a", "@b", "a@", "a b@c", '"a"@b', "a@b>", "a@b\n", "<a@b>", "ä@b", "a@b c"])
def test_no_addresses(address: str) -> None:
    assert not valid_address(address)


def test_programs_that_others_may_write_are_refused(tmp_path: Path) -> None:
    program = tmp_path / "page"
    program.write_text("#!/bin/sh\n")
    assert "no executable file" in program_problems(str(program))[0]
    program.chmod(0o755)
    assert program_problems(str(program)) == []
    program.chmod(0o775)
    assert "writable" in program_problems(str(program))[0]
    program.chmod(0o755)
    tmp_path.chmod(0o777)
    assert "writable" in program_problems(str(program))[0]
    link = tmp_path / "link"
    link.symlink_to("/nowhere")
    assert "cannot be used" in program_problems(str(link))[0]
