"""Somebody at a browser who opens a login link of the provider in tests/integration/oidc, by plain HTTP."""

from __future__ import annotations

import html
import http.cookiejar
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path


class Browser:
    """One browser with its cookies. @param authority: PEM file that the provider's TLS is checked by"""

    def __init__(self, authority: Path) -> None:
        context = ssl.create_default_context(cafile=str(authority))
        self._open = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
        ).open

    def _get(self, url: str, form: dict[str, str] | None = None) -> tuple[str, str]:
        """@return: where it ended, and the page"""
        sent = None if form is None else urllib.parse.urlencode(form).encode()
        try:
            with self._open(url, sent, timeout=60) as answer:
                return answer.url, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.url or url, error.read().decode()

    def _submit(self, at: tuple[str, str], **typed: str) -> tuple[str, str]:
        """Fill in the page's form and send it."""
        url, page = at
        action = re.search(r'<form[^>]*action="([^"]*)"', page)
        assert action is not None, page
        hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page)
        form = {name: html.unescape(value) for name, value in hidden} | typed
        return self._get(urllib.parse.urljoin(url, html.unescape(action.group(1))), form)

    def _confirming(self, link: str, code: str) -> tuple[str, str]:
        """Type the code. @raise AssertionError: the provider does not show it again, for comparison"""
        page = self._submit(self._get(link), user_code=code)
        assert code in page[1], page[1]
        return page

    def approve(self, link: str, code: str, login: str) -> None:
        """Type the code, log in as C{login}, and consent."""
        page = self._submit(self._confirming(link, code))
        page = self._submit(page, login=login, password="any")
        page = self._submit(page)
        assert "Sign-in Success" in page[1], page[1]

    def deny(self, link: str, code: str) -> None:
        """Type the code, and abort."""
        self._submit(self._confirming(link, code), abort="yes")
