"""Whom our TLS clients believe: certificates of authorities as configured, or the system's. Not how connections are made."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.web.client import BrowserLikePolicyForHTTPS


def trusted(authorities: str) -> list[Certificate]:
    """@return: the certificates in PEM text. @raise OpenSSL.crypto.Error: one of them is none."""
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", authorities, re.DOTALL)
    return [Certificate.loadPEM(one) for one in blocks]


def trust_root(authorities: str) -> Any:
    """@return: IOpenSSLTrustRoot of the certificates in PEM text."""
    return trustRootFromCertificates(trusted(authorities))


def verifying(authorities: str) -> BrowserLikePolicyForHTTPS:
    """@param authorities: PEM text, or C{""} for the system's.

    @return: what verifies a server's certificate and name for an Agent.
    """
    return BrowserLikePolicyForHTTPS(trust_root(authorities)) if authorities else BrowserLikePolicyForHTTPS()
