"""What comes with the rules: the other files they depend on, the list of signers, manifest and signatures; pure."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

SETTINGS = "hoopd.toml"
MANIFEST = "policy.manifest"
#: two authors, and room for keys that are being replaced
SIGNATURES_MAX = 16
#: the name under which a manifest lists the allowed signers, wherever their file is
SIGNERS = "allowed_signers"


@frozen
class Papers:
    """
    @ivar settings: the text of hoopd.toml.
    @ivar files: path to text of targets.d/, of the certificates that it names, and of the list of signers.
    @ivar signatures: file name to armoured signature.
    """

    settings: str = ""
    files: Mapping[str, str] = field(factory=dict)
    manifest: str | None = None
    signatures: Mapping[str, str] = field(factory=dict)

    def covered(self, policies: Mapping[str, str]) -> dict[str, str]:
        """Everything that rules depend on, as manifests name it: path to text.

        @param policies: file name to text.
        """
        return {**self.files, **{f"policies.d/{name}": text for name, text in policies.items()}}
