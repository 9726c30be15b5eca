"""Reads /etc/hoopd: hoopd.toml and targets.d/*.toml, strictly; policies.d/ is L{hoopd.policy.snapshot}'s.

Everything wrong is reported together.
"""

from __future__ import annotations

import re
import stat
import tomllib
from pathlib import Path
from typing import Any, get_type_hints

import attrs

from hoopd.config import channels
from hoopd.config.files import Files
from hoopd.config.schema import LOGIN_SECRETS, Config, Listener, OidcProvider, TargetTable
from hoopd.config.structure import ConfigErrors, Reading
from hoopd.errors import ConfigError
from hoopd.identity import duties
from hoopd.values import DUTIES, Target, TargetSsh, TargetTls

#: protocols that this version serves
PROTOCOLS = ("postgres", "ssh")


def load(directory: str, check_files: bool = True) -> Config:
    """
    @param check_files: also check modes and that the files that keys name are there
    @raise ConfigErrors: with every error found
    """
    return load_whole(directory, check_files)[0]


def load_whole(directory: str, check_files: bool = True) -> tuple[Config, dict[str, str]]:
    """Like L{load}. @return: also the texts that it was made from, by path below C{directory}."""
    errors: list[ConfigError] = []
    top = Path(directory)
    files = Files(top, errors, check_files)
    main = read_toml(top / "hoopd.toml", files)
    tables: dict[str, tuple[str, Any]] = {}
    for path in files.listed("targets.d"):
        for name, table in _targets(path, files).items():
            if name in tables:
                errors.append(ConfigError(f"target {name} is also in {tables[name][0]}", str(path), f"targets.{name}"))
            tables[name] = (str(path), table)
    reading = Reading(str(top / "hoopd.toml"), errors)
    main = dict(main)
    for reserved in ("targets", "directory"):
        if reserved in main:
            reading.wrong(reserved, "does not belong here", "targets are files in targets.d/")
            del main[reserved]
    config: Config | None = reading.table(Config, {**main, "directory": str(top)})
    targets = {name: _target(name, file, table, files) for name, (file, table) in tables.items()}
    if config is not None:
        config = attrs.evolve(
            _resolved(config, top), targets={name: target for name, target in targets.items() if target}
        )
        _check(config, reading, check_files)
    if errors:
        raise ConfigErrors(errors)
    assert config is not None
    return config, files.texts


def read_toml(path: Path, files: Files) -> dict[str, Any]:
    """The tables of one file; C{{}} with the error noted where it cannot be read."""
    text = files.read(path)
    try:
        return tomllib.loads(text) if text is not None else {}
    except tomllib.TOMLDecodeError as problem:
        files.errors.append(ConfigError(f"not valid TOML: {problem}", str(path)))
    return {}


def check_key_mode(path: Path, key: str, file: str, errors: list[ConfigError]) -> None:
    """A private key is for its owner, and at most one group to read."""
    try:
        mode = path.stat().st_mode
    except OSError as problem:
        errors.append(ConfigError(f"{path} cannot be read: {problem.strerror}", file, key))
        return
    if mode & (stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP):
        errors.append(ConfigError(f"{path} has unsafe mode {stat.S_IMODE(mode):04o}", file, key, f"chmod 0600 {path}"))


def _targets(path: Path, files: Files) -> dict[str, Any]:
    tables = read_toml(path, files)
    reading = Reading(str(path), files.errors)
    for name in tables:
        if name != "targets":
            reading.unknown(name, name, ["targets"])
    found = tables.get("targets", {})
    if not isinstance(found, dict):
        reading.wrong("targets", "must be a table: write [targets.NAME]")
        return {}
    return found


def _target(name: str, file: str, table: Any, files: Files) -> Target | None:
    errors = files.errors
    reading = Reading(file, errors)
    key = f"targets.{name}"
    before = len(errors)
    read: TargetTable | None = reading.table(TargetTable, table, key)
    if read is None:
        return None
    if read.protocol not in PROTOCOLS:
        reading.wrong(f"{key}.protocol", f"this version speaks {', '.join(PROTOCOLS)}, not {read.protocol!r}")
    if not all(part.isalnum() or part in "-_." for part in name) or not name:
        reading.wrong(key, "a target's name has letters, digits, and - _ . only: clients write it as a database name")
    authorities = None
    if read.tls.authorities:
        # certificates, whoever may write the file: the system's own list is one
        authorities = attrs.evolve(files, check=False).read(Path(file).parent / read.tls.authorities)
    for method in read.weak_authentication:
        if method not in ("md5", "cleartext"):
            reading.wrong(f"{key}.weak_authentication", f"{method!r} is not known: md5 or cleartext")
    if not read.credential and not (read.protocol == "ssh" and read.ssh.sign_in == "certificate"):
        reading.wrong(f"{key}.credential", "names no vault secret", "hoopctl vault put NAME, and NAME here")
    if read.credential.startswith(channels.SECRETS):
        reading.wrong(f"{key}.credential", f"names a secret of channels: no target's begins with {channels.SECRETS}")
    if read.credential.startswith(LOGIN_SECRETS):
        reading.wrong(f"{key}.credential", f"names a secret of login links: no target's begins with {LOGIN_SECRETS}")
    for line in read.ssh.host_keys:
        # here: only SSH hosts need what reads keys
        from hoopd.vault.ssh_hosts import problem

        if wrong := problem(line):
            reading.wrong(
                f"{key}.ssh.host_keys", f"{line[:60]!r} {wrong}", "ssh-keyscan HOST prints them behind the name"
            )
    if len(errors) > before:
        return None
    return Target(
        name=name,
        protocol=read.protocol,
        host=read.host,
        port=read.port,
        labels=read.labels,
        credential=read.credential,
        username=read.username,
        databases=read.databases or (name,),
        tls=TargetTls(read.tls.mode, authorities, read.tls.server_name or None),
        mode=read.mode,
        weak_authentication=read.weak_authentication,
        description=read.description,
        trusted_functions=read.trusted_functions,
        ssh=TargetSsh(read.ssh.logins, read.ssh.sign_in, read.ssh.host_keys),
    )


def _resolved(value: Any, top: Path) -> Any:
    """C{value} with every file name made absolute from the configuration's directory."""
    changes: dict[str, Any] = {}
    for field in attrs.fields(type(value)):
        each = getattr(value, field.name)
        if field.metadata.get("kind") == "path" and each and each != "-" and isinstance(each, str):
            changes[field.name] = str((top / each).absolute())
        elif field.metadata.get("kind") == "path" and isinstance(each, tuple):
            changes[field.name] = tuple(str((top / path).absolute()) for path in each)
        elif attrs.has(type(each)):
            changes[field.name] = _resolved(each, top)
        elif isinstance(each, dict) and any(attrs.has(type(inner)) for inner in each.values()):
            changes[field.name] = {name: _resolved(inner, top) for name, inner in each.items()}
        elif field.name == "master_key" and each.partition(":")[0] in ("file", "passphrase"):
            scheme, _, path = each.partition(":")
            changes[field.name] = f"{scheme}:{(top / path).absolute()}"
    return attrs.evolve(value, **changes)


def _check(config: Config, reading: Reading, check_files: bool) -> None:
    for name, listener in config.listen.items():
        key = f"listen.{name}"
        if name not in PROTOCOLS:
            reading.wrong(key, f"this version serves {', '.join(PROTOCOLS)}, not {name!r}")
        if not 0 < listener.port < 65536:
            reading.wrong(f"{key}.port", "must be from 1 to 65535")
        if listener.workers < 1:
            reading.wrong(f"{key}.workers", "must be at least 1")
        if bool(listener.certificate) != bool(listener.key):
            reading.wrong(f"{key}.certificate", "certificate and key go together")
        if name == "ssh":
            _check_host_keys(listener, key, reading, check_files)
            continue
        if not listener.certificate and not listener.plaintext_loopback:
            reading.wrong(
                f"{key}.certificate", "is missing: passwords are taken over TLS only", "hoopctl setup makes one"
            )
        if check_files and listener.certificate:
            if not Path(listener.certificate).is_file():
                reading.wrong(f"{key}.certificate", f"{listener.certificate} is not there")
            check_key_mode(Path(listener.key), f"{key}.key", reading.file, reading.errors)
        if listener.oauth_provider and listener.oauth_provider not in config.identity.oidc:
            known = ", ".join(config.identity.oidc) or "none is configured"
            reading.wrong(f"{key}.oauth_provider", f"{listener.oauth_provider!r} is no identity.oidc table", known)
        if listener.proof == "oauth" and not listener.oauth_provider:
            reading.wrong(f"{key}.oauth_provider", "is missing: clients without a token must learn where to get one")
        if listener.server_names and not re.fullmatch(r"\{target\}(\.[a-z0-9-]+)+", listener.server_names):
            reading.wrong(f"{key}.server_names", "must be {target} and a domain, as {target}.db.example.com")
    for name, provider in config.identity.oidc.items():
        key = f"identity.oidc.{name}"
        for algorithm in provider.algorithms:
            if algorithm == "none" or algorithm.startswith("HS"):
                reading.wrong(f"{key}.algorithms", f"{algorithm} is not a proof: anybody can make such a token")
        if not provider.audience:
            reading.wrong(f"{key}.audience", "is empty: a token for anybody else would be taken")
        loopback = provider.issuer.startswith(("http://127.0.0.1", "http://localhost", "http://[::1]"))
        if not provider.issuer.startswith("https://") and not (provider.allow_http and loopback):
            reading.wrong(f"{key}.issuer", "must be an https URL")
        _check_login_link(provider, key, reading)
    for bound in ("login_links", "login_links_address"):
        if getattr(config.identity, bound) < 1:
            reading.wrong(f"identity.{bound}", "must be at least 1", "leave out login_client to offer no links")
    reading.errors += channels.unknown_channels(
        config.emergency.notify, config.notify, reading.file, "emergency.notify"
    )
    if config.emergency.key_lapse <= config.emergency.key_wait:
        reading.wrong("emergency.key_lapse", "must be longer than key_wait, or no key ever counts")
    for name, issuer in config.identity.certificates.items():
        key = f"identity.certificates.{name}"
        if not issuer.authorities:
            reading.wrong(f"{key}.authorities", "is missing: without authorities no certificate can be good")
        elif check_files and not Path(issuer.authorities).is_file():
            reading.wrong(f"{key}.authorities", f"{issuer.authorities} is not there")
        if check_files and issuer.revoked and not Path(issuer.revoked).is_file():
            reading.wrong(f"{key}.revoked", f"{issuer.revoked} is not there")
    channels.check(config.notify, config.notifications, reading.wrong, check_files)
    if config.notify and config.processes.users and "notifier" not in config.processes.users:
        why = "as the service's own user what talks to receivers, and its commands, could read the broker's state"
        reading.wrong("processes.users.notifier", f"is missing where there are channels: {why}", "hoopd-notifier")
    _check_duties(config, reading)
    if not 0 <= config.policy.signatures <= 9:
        reading.wrong("policy.signatures", "must be from 0 to 9")
    if config.policy.signatures and not config.policy.allowed_signers:
        reading.wrong("policy.allowed_signers", "is missing: nobody could sign")
    if config.policy.signatures and config.processes.users.get("broker"):
        why = "the check before a reload reads what was accepted last, in the broker's state"
        reading.wrong("processes.users.broker", f"must be left out where policy.signatures is set: {why}")
    scheme = config.vault.master_key.partition(":")[0]
    if scheme not in ("credential", "file", "passphrase"):
        reading.wrong("vault.master_key", "must be credential:NAME, file:PATH or passphrase:PATH")


def _check_login_link(provider: OidcProvider, key: str, reading: Reading) -> None:
    if provider.login_secret and not provider.login_secret.startswith(LOGIN_SECRETS):
        reading.wrong(f"{key}.login_secret", f"must name a vault secret that begins with {LOGIN_SECRETS}")
    if not provider.login_client:
        if provider.login_secret:
            reading.wrong(f"{key}.login_client", "is missing: login_secret is the secret of nobody")
        return
    if provider.kind != "human":
        reading.wrong(f"{key}.login_client", "is for people: an agent opens no link", 'a provider with kind = "human"')
    if provider.login_proof == "id_token" and provider.login_client not in provider.audience:
        why = f"lacks {provider.login_client!r}: that is the audience of the ID tokens that login links bring"
        reading.wrong(f"{key}.audience", why, 'or login_proof = "access_token"')


def _check_host_keys(listener: Listener, key: str, reading: Reading, check_files: bool) -> None:
    if not listener.host_keys:
        reading.wrong(f"{key}.host_keys", "is missing: clients must know whom they talk to", "hoopctl setup makes one")
    for path in listener.host_keys if check_files else ():
        check_key_mode(Path(path), f"{key}.host_keys", reading.file, reading.errors)
        if not Path(path + ".pub").is_file():
            reading.wrong(f"{key}.host_keys", f"{path}.pub is not there", f"ssh-keygen -y -f {path} > {path}.pub")


def _check_duties(config: Config, reading: Reading) -> None:
    for problem in duties.mistakes(config.duties.conflicts):
        reading.wrong("duties.conflicts", problem)
    tables = [(f"identity.oidc.{name}", each.duties) for name, each in config.identity.oidc.items()]
    tables += [(f"identity.certificates.{name}", each.duties) for name, each in config.identity.certificates.items()]
    for key, given in tables:
        for group, words in given.items():
            where = f'{key}.duties."{group}"'
            for word in words.split():
                if word not in DUTIES:
                    reading.wrong(where, f"{word!r} is no duty", f"known: {', '.join(DUTIES)}")
            clashing = duties.clashes(words.split(), config.duties.conflicts)
            if clashing:
                listed = " and ".join(sorted(clashing))
                reading.wrong(where, f"{listed} exclude each other by duties.conflicts", "give them to two groups")


def reference() -> str:
    """Every key with type, default and reason, as markdown."""
    lines: list[str] = []
    _describe(Config, "", lines)
    lines += [
        "",
        "### `[targets.NAME]` in targets.d/*.toml",
        "",
        "| key | type | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    _rows(TargetTable, "", lines)
    return "\n".join(lines).strip() + "\n"


def _describe(cls: type, prefix: str, lines: list[str]) -> None:
    hints = get_type_hints(cls)
    for field in attrs.fields(cls):
        if field.name in ("directory", "targets"):
            continue
        hint = hints[field.name]
        inner = _inner(hint)
        if inner is None:
            continue
        mapped = not attrs.has(hint)
        name = f"{prefix}{field.name}" + (".NAME" if mapped else "")
        lines += [
            "",
            f"### `[{name}]`",
            "",
            f"{field.metadata.get('why', '')}.",
            "",
            "| key | type | default | meaning |",
            "| --- | --- | --- | --- |",
        ]
        _rows(inner, name + ".", lines)
        _describe(inner, name + ".", lines)


def _rows(cls: type, prefix: str, lines: list[str]) -> None:
    hints = get_type_hints(cls)
    for field in attrs.fields(cls):
        hint = hints[field.name]
        if _inner(hint) is not None and not field.metadata.get("inline"):
            continue
        default = "required" if field.default is attrs.NOTHING else f"`{_default(field.default)}`"
        kind = field.metadata.get("kind") or getattr(hint, "__name__", str(hint)).replace("typing.", "")
        if kind in ("tuple", "Mapping", "Literal"):
            kind = {"tuple": "list", "Mapping": "table", "Literal": "word"}[kind]
        lines.append(
            f"| `{field.metadata.get('name', field.name)}` | {kind} | {default} | {field.metadata.get('why', '')} |"
        )


def _inner(hint: Any) -> type | None:
    if attrs.has(hint):
        found: type = hint
        return found
    arguments = getattr(hint, "__args__", ())
    return next((each for each in arguments if isinstance(each, type) and attrs.has(each)), None)


def _default(value: Any) -> str:
    if isinstance(value, attrs.Factory):  # type: ignore[arg-type]
        return "{}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{each}"' for each in value) + "]"
    return str(value)
