"""People without any proof log in by a link: stock OpenSSH at a terminal, a real OpenID provider, the whole gateway."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator

import paramiko
import pytest

from tests.integration.browser import Browser
from tests.integration.sshd import LOGIN, SshGateway, SshServer
from tests.integration.terminal import Terminal
from tests.integration.test_oidc import Provider
from tests.integration.tiny.running import PATIENCE, until

SECRET = "gateway+secret: 100%&="
PROMPT = "Token (or press Enter once you have logged in): "


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    started = Provider(tmp_path_factory.mktemp("provider"))
    yield started
    started.stop()


def settings(provider: Provider, **more: object) -> dict[str, dict[str, object]]:
    return {
        "identity.oidc.corp": {
            "issuer": provider.issuer,
            "audience": ["gateway"],
            "authorities": str(provider.certificate),
            "login_client": "gateway",
            "login_secret": "login/corp",
            **more,
        }
    }


@pytest.fixture(scope="module")
def gateway(provider: Provider) -> Iterator[SshGateway]:
    with SshServer() as server, SshGateway(server, settings=settings(provider)) as started:
        started.hoopctl("vault", "put", "login/corp", text=SECRET)
        yield started


def words(gateway: SshGateway, *command: str, to: str = "web1@127.0.0.1") -> list[str]:
    # the first value of an option counts
    return ["ssh", "-o", "NumberOfPasswordPrompts=3", *gateway.ssh_words(), to, *command]


def shown(terminal: Terminal) -> tuple[str, str]:
    """@return: link and code, as the person at the terminal reads them."""
    text = terminal.expect(PROMPT)
    found = re.search(r"open\s+(https://\S+)\s+and enter the code\s+([A-Z-]+)\s+within 3 min", text)
    assert found is not None, text
    return found.group(1), found.group(2)


def settled(gateway: SshGateway, outcome: str) -> dict[str, object]:
    """What the log says of the last link. @raise AssertionError: it never comes to C{outcome}"""

    def last() -> dict[str, object] | None:
        found = gateway.events("login.settled")
        return found[-1] if found and found[-1]["outcome"] == outcome else None

    return until(last, f"the last link is {outcome}") or {}


def test_whoever_logs_in_by_the_link_is_at_the_target(gateway: SshGateway, provider: Provider) -> None:
    with Terminal(words(gateway, "id -un; exit 3")) as terminal:
        link, code = shown(terminal)
        assert link.startswith(provider.issuer)
        Browser(provider.certificate).approve(link, code, "priya")
        terminal.type("\n")
        assert terminal.end() == 3
        assert LOGIN in terminal.shown
    (opened,) = gateway.events("session.opened")
    assert opened["identity"] == "user:priya"
    assert opened["proof"] == f"oidc:{provider.issuer} by login link"
    assert settled(gateway, "proven")["identity"] == "user:priya"


def test_who_refuses_at_the_provider_is_told_so_and_comes_in_nowhere(gateway: SshGateway, provider: Provider) -> None:
    with Terminal(words(gateway, "true")) as terminal:
        link, code = shown(terminal)
        terminal.type("\n")
        terminal.expect("Waiting for your login")
        Browser(provider.certificate).deny(link, code)
        assert terminal.end() == 255
        assert "the login was refused at the identity provider (connect again for a new link)" in terminal.shown
    settled(gateway, "denied")


def test_a_link_lapses_and_says_so(gateway: SshGateway, provider: Provider) -> None:
    provider.life(8)
    try:
        with Terminal(words(gateway, "true")) as terminal:
            terminal.expect("within 8 s")
            terminal.expect(PROMPT)
            terminal.type("\n")
            assert terminal.end() == 255
            # the broker's word or the connection's own, whichever is sooner
            assert re.search("the login link lapsed before anybody|nobody has logged in within 8 s", terminal.shown)
    finally:
        provider.life(600)


def test_a_token_is_pasted_at_the_same_prompt(gateway: SshGateway, provider: Provider) -> None:
    pasted = gateway.identity("user:mo", groups=["ops"])
    with Terminal(words(gateway, "echo as always")) as terminal:
        first = shown(terminal)
        terminal.type("no token\n")
        # the link stays while the connection does
        assert shown(terminal) == first
        terminal.type(f"{pasted}\n")
        assert terminal.end() == 0
        assert "as always" in terminal.shown
    settled(gateway, "left")
    assert gateway.events("session.opened")[-1]["identity"] == "user:mo"


def test_nobody_is_asked_for_a_client_that_is_gone(gateway: SshGateway, provider: Provider) -> None:
    with Terminal(words(gateway, "true")) as terminal:
        link, code = shown(terminal)
        before = provider.polls()
        terminal.type("\n")
        terminal.expect("Waiting for your login")
        until(lambda: provider.polls() > before, "the provider is asked")
        count = len(gateway.events("login.settled"))
        terminal.kill()
        until(lambda: len(gateway.events("login.settled")) > count, "it is left")
    settled(gateway, "left")
    asked = provider.polls()
    # longer than the provider's interval
    time.sleep(7)
    assert provider.polls() == asked
    # who logs in now does so for nobody
    Browser(provider.certificate).approve(link, code, "priya")
    settled(gateway, "left")


def test_the_gateway_itself_knows_who_logged_in(gateway: SshGateway, provider: Provider) -> None:
    with Terminal(words(gateway, "whoami", to="bastion@127.0.0.1")) as terminal:
        link, code = shown(terminal)
        Browser(provider.certificate).approve(link, code, "lee")
        terminal.type("\n")
        assert terminal.end() == 0
        assert "user:lee: user" in terminal.shown


def test_a_jump_asks_on_both_ways_and_both_must_be_one(gateway: SshGateway, provider: Provider) -> None:
    authorities = gateway.directory / "known_authorities"
    authorities.write_text(gateway.hoopctl("ssh", "ca", "--hosts", "web1").stdout)
    config = gateway.directory / "config-link"
    config.write_text(
        f"Host bastion\n  HostName 127.0.0.1\n  Port {gateway.ssh_port}\n  UserKnownHostsFile {gateway.known_hosts}\n"
        f"Host web1\n  ProxyJump bastion\n  UserKnownHostsFile {authorities}\n"
        "Host *\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n  IdentitiesOnly yes\n  IdentityAgent none\n"
        "  IdentityFile none\n  PreferredAuthentications keyboard-interactive\n"
    )
    for inner, status in (("priya", 0), ("lee", 255)):
        with Terminal(["ssh", "-F", str(config), f"{LOGIN}@web1", "true"]) as terminal:
            for login in ("priya", inner):
                link, code = shown(terminal)
                Browser(provider.certificate).approve(link, code, login)
                terminal.type("\n")
            assert terminal.end() == status
    assert "the way here was user:priya's, and this is user:lee" in terminal.shown


def test_a_verifier_that_dies_meanwhile_is_missed_by_nobody(gateway: SshGateway, provider: Provider) -> None:
    with Terminal(words(gateway, "echo at last")) as terminal:
        link, code = shown(terminal)
        terminal.type("\n")
        terminal.expect("Waiting for your login")
        (verifier,) = gateway.pids("verifier")
        os.kill(verifier, signal.SIGKILL)
        Browser(provider.certificate).approve(link, code, "priya")
        assert terminal.end() == 0
        assert "at last" in terminal.shown


def test_a_broker_that_dies_has_forgotten_the_link_and_the_person_is_told(
    gateway: SshGateway, provider: Provider
) -> None:
    with Terminal(words(gateway, "true")) as terminal:
        shown(terminal)
        terminal.type("\n")
        terminal.expect("Waiting for your login")
        gateway.kill_broker()
        assert terminal.end() == 255
        # the new broker's word, or the worker's own where that one takes long to start
        assert re.search(r"does not know this login link any more \(connect again|broker is away", terminal.shown)
    with Terminal(words(gateway, "true")) as terminal:
        link, code = shown(terminal)
        Browser(provider.certificate).approve(link, code, "priya")
        terminal.type("\n")
        assert terminal.end() == 0


def test_paramiko_is_asked_the_same(gateway: SshGateway, provider: Provider) -> None:
    asked: list[tuple[str, list[str]]] = []

    def answer(title: str, instruction: str, prompts: list[tuple[str, bool]]) -> list[str]:
        asked.append((instruction, [prompt for prompt, _ in prompts]))
        found = re.search(r"open\s+(https://\S+)\s+and enter the code\s+(\S+)", instruction)
        if found is not None:
            Browser(provider.certificate).approve(found.group(1), found.group(2), "priya")
        return [""] * len(prompts)

    with paramiko.Transport(("127.0.0.1", gateway.ssh_port)) as transport:
        transport.auth_timeout = PATIENCE
        transport.connect()
        assert transport.auth_interactive("web1", answer) == []
        channel = transport.open_session()
        channel.exec_command("exit 7")
        assert channel.recv_exit_status() == 7
    assert [prompts for _, prompts in asked] == [[PROMPT], []]


def test_a_provider_that_makes_no_link_leaves_the_token(gateway: SshGateway) -> None:
    gateway.hoopctl("vault", "put", "login/corp", text="another secret")
    try:
        with Terminal(words(gateway, "true")) as terminal:
            assert "No login link: the identity provider makes no login link now." in terminal.expect("Token: ")
    finally:
        gateway.hoopctl("vault", "put", "login/corp", text=SECRET)
    assert "made no login link: status 401: invalid_client" in gateway.text()


def test_of_two_providers_one_is_chosen_and_only_its_tokens_count(provider: Provider) -> None:
    both = settings(provider)
    # both have one audience: what the issuer gives is the first one's, whoever made the link
    both["identity.oidc.partners"] = {**both["identity.oidc.corp"], "subject_prefix": "partner/"}
    with SshServer() as server, SshGateway(server, settings=both) as gateway:
        gateway.hoopctl("vault", "put", "login/corp", text=SECRET)
        for typed, accepted in (("\n", True), ("2\n", False)):
            with Terminal(words(gateway, "true")) as terminal:
                offered = terminal.expect("Token, or the number (Enter for 1): ")
                assert re.search(r"1  corp\s+2  partners", offered), offered
                terminal.type(typed)
                link, code = shown(terminal)
                Browser(provider.certificate).approve(link, code, "priya")
                terminal.type("\n")
                assert terminal.end() == (0 if accepted else 255)
        assert "your login is not accepted by this gateway (whoever runs it finds why in its log)" in terminal.shown
        assert settled(gateway, "refused")["why"] == "a token for corp"
        assert "eyJ" not in gateway.text(), "no token is in the log"
