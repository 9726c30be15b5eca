"""People without any proof log in by a link: stock OpenSSH at a terminal, a real OpenID provider, the whole gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.integration.browser import Browser
from tests.integration.sshd import LOGIN, SshGateway, SshServer
from tests.integration.terminal import Terminal
from tests.integration.test_oidc import Provider

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
        started.hoopctl("vault", "put", "login/corp", text="gateway+secret: 100%&=")
        yield started


def words(gateway: SshGateway, *command: str, to: str = "web1@127.0.0.1") -> list[str]:
    return ["ssh", *gateway.ssh_words("-o", "NumberOfPasswordPrompts=3"), to, *command]


def shown(terminal: Terminal) -> tuple[str, str]:
    """@return: link and code, as the person at the terminal reads them."""
    text = terminal.expect(PROMPT)
    found = re.search(r"open\s+(https://\S+)\s+and enter the code\s+([A-Z-]+)\s+within 3 min", text)
    assert found is not None, text
    return found.group(1), found.group(2)


def settled(gateway: SshGateway) -> dict[str, object]:
    return gateway.events("login.settled")[-1]


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
    assert settled(gateway)["outcome"] == "proven"
    assert settled(gateway)["identity"] == "user:priya"
