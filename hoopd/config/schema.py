"""Every key an operator may write, with its type, its default and the reason for it; not the reading of files.

L{hoopd.config.loader} turns TOML into these classes, strictly. Durations in files are strings such as C{"15m"}
or numbers of seconds; here they are seconds. Sizes are integers of bytes or strings such as C{"64KiB"}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import NOTHING, field, frozen

from hoopd.config.channels import Channel, Notifications
from hoopd.values import Target

#: vault secrets of login links' clients begin so, and no target's credential does
LOGIN_SECRETS = "login/"


def key(why: str, default: Any = NOTHING, kind: str = "", factory: Any = None) -> Any:
    """One key of a table.

    @param why: the reason and meaning, for the reference page and for error messages.
    @param kind: "duration" or "size" where the file's form differs from the value's, "path" for file names.
    """
    metadata = {"why": why, "kind": kind}
    if factory is not None:
        return field(factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


@frozen
class Paths:
    state: str = key("store, recordings, ledger; backed up as one", "/var/lib/hoopd", "path")
    run: str = key("the control socket; emptied at boot", "/run/hoopd", "path")
    log: str = key("where decisions go as JSON lines; - is standard output, for the journal", "-", "path")


@frozen(kw_only=True)
class Listener:
    address: str = key("where to listen; loopback until an operator says otherwise", "127.0.0.1")
    port: int = key("TCP port")
    workers: int = key("processes; one per core that this protocol may use", 2)
    certificate: str = key("PEM file of the TLS certificate chain shown to clients", "", "path")
    plaintext_loopback: bool = key(
        "take passwords without TLS from loopback clients; off because a token in clear is a stolen token", False
    )
    max_connections: int = key("a worker's connections; 1,000 idle ones cost about 120 MiB", 1000)
    max_unauthenticated: int = key("connections that have not proven themselves, a worker; bounds floods", 600)
    login_timeout: float = key(
        "seconds for start-up and proof; a silent client costs a socket so long", 30.0, "duration"
    )
    login_link_timeout: float = key("SSH: how long somebody has to log in by a login link", 180.0, "duration")
    max_message: int = key("largest single message that must be held whole to be judged", 16 * 1024 * 1024, "size")
    record_rows: int = key("rows of a statement's result kept in the recording, then count and hash", 1000)
    record_bytes: int = key("bytes of a statement's result kept in the recording", 1024 * 1024, "size")
    break_glass_rows: int = key("likewise, of statements run under break glass", 100_000)
    break_glass_bytes: int = key("likewise bytes", 64 * 1024 * 1024, "size")
    durability: Literal["none", "writes", "all"] = key(
        "which operations wait for the disk before they are forwarded: writes, DDL and approved ones by default",
        "writes",
    )
    proof: Literal["password", "oauth"] = key(
        "what clients without a certificate are asked for: a password (or a token in its place), or SASL OAUTHBEARER; "
        "a client chooses the other by the start-up option hoopd.proof",
        "password",
    )
    oauth_provider: str = key(
        "table of identity.oidc whose address clients without a token are told; empty offers no OAUTHBEARER", ""
    )
    oauth_scope: str = key("scopes that such clients should ask for", "openid")
    server_names: str = key(
        "pattern of TLS server names that name a target, as {target}.db.example.com; empty for none", ""
    )
    host_keys: tuple[str, ...] = key("SSH: files of the listener's host keys, as ssh-keygen makes them", (), "path")
    max_channels: int = key("SSH: channels open at once in one connection", 100)
    record_input: bool = key("SSH: record what is typed at terminals; passwords typed there as well", False)
    # last: from here on "key" is this attribute, no longer the function
    key: str = key("PEM file of its key; mode 0600 or 0640", "", "path")


@frozen
class Processes:
    broker_grace: float = key("how long sessions go on while the broker is away", 30.0, "duration")
    drain: float = key("how long SIGTERM waits for sessions to end by themselves", 60.0, "duration")
    reload_drain: float = key(
        "how long a reload lets sessions of old workers live; 0 is until they end", 0.0, "duration"
    )
    silent: float = key("a child that says nothing for so long is killed", 10.0, "duration")
    restart_delay: float = key("first pause before a dead child is started again; doubles", 0.2, "duration")
    restart_delay_max: float = key("largest such pause", 30.0, "duration")
    users: Mapping[str, str] = key("system user of each role, in production", factory=dict)


@frozen
class OidcProvider:
    issuer: str = key("the issuer's URL, exactly as tokens carry it")
    audience: tuple[str, ...] = key("accepted audiences; a token for somebody else is refused")
    kind: Literal["human", "agent"] = key(
        "what the holders of this provider's tokens are; never taken from a claim", "human"
    )
    algorithms: tuple[str, ...] = key(
        "accepted signature algorithms; none and HMAC never are", ("RS256", "ES256", "EdDSA", "PS256")
    )
    subject_claim: str = key("claim that names the identity", "sub")
    groups_claim: str = key("claim that lists groups; empty for none", "groups")
    scopes_claim: str = key("claim whose words narrow what the token may do; empty for none", "")
    act_claim: str = key("claim that names on whose behalf an agent acts; empty for none", "")
    group_prefix: str = key("put before each group, so that two providers cannot name the same one", "")
    subject_prefix: str = key("put before each subject, likewise", "")
    duties: Mapping[str, str] = key(
        "group to duty, or several with spaces: administrator, approver, auditor, vault", factory=dict
    )
    leeway: float = key("clock difference forgiven", 30.0, "duration")
    authorities: str = key("PEM file of the authorities of the provider's TLS; empty is the system's", "", "path")
    allow_http: bool = key("permit a plain http issuer on loopback, for tests and demonstrations only", False)
    login_client: str = key(
        "client id under which SSH users without a proof get a login link (RFC 8628); empty offers none", ""
    )
    login_secret: str = key("vault secret, named login/…, of that client; empty for a public one", "")
    login_scope: str = key("scopes that are asked for with a login link", "openid")
    login_proof: Literal["id_token", "access_token"] = key(
        "which of the tokens that a login link brings is the proof", "id_token"
    )


@frozen
class CertificateIssuer:
    authorities: str = key("PEM file of the authorities whose client certificates count", "", "path")
    kind: Literal["human", "agent"] = key("what the holders of these certificates are", "agent")
    subject: Literal["uri", "email", "dns", "common-name"] = key(
        "which name in the certificate is the subject; there must be exactly one of it", "uri"
    )
    groups: Literal["", "organizational-unit"] = key("what names groups; empty for none", "")
    subject_prefix: str = key("put before each subject, so that two issuers cannot name the same one", "")
    group_prefix: str = key("put before each group, likewise", "")
    duties: Mapping[str, str] = key(
        "group to duty, or several with spaces: administrator, approver, auditor, vault", factory=dict
    )
    revoked: str = key("PEM file of revocation lists; read again when it changes, and refused when too old", "", "path")


@frozen
class IdentityConfig:
    oidc: Mapping[str, OidcProvider] = key("OpenID Connect providers by name", factory=dict)
    certificates: Mapping[str, CertificateIssuer] = key("issuers of TLS client certificates by name", factory=dict)
    token_lifetime: float = key("default life of issued tokens", 30 * 86400.0, "duration")
    token_lifetime_max: float = key("no issued token lives longer", 366 * 86400.0, "duration")
    ssh_key_lifetime: float = key("registered SSH keys are good for no longer", 90 * 86400.0, "duration")
    failures_per_minute: int = key("failed proofs a minute from one address before answers slow down", 30)
    login_links: int = key("login links open at once; each costs a connection and a request to the provider", 200)
    login_links_address: int = key("login links open at once from one address (IPv6: one /64)", 20)
    recovery_for: tuple[str, ...] = key(
        "who may have recovery codes beside those with a duty: names and groups, as rules write them", ()
    )
    recovery_lapse: float = key("a sheet of recovery codes is worthless after so long", 180 * 86400.0, "duration")


@frozen
class DutiesConfig:
    conflicts: tuple[tuple[str, ...], ...] = key(
        "duties that exclude each other; who holds two of a set has neither", ()
    )


@frozen
class PolicyConfig:
    signatures: int = key(
        "how many distinct people must have signed policy.manifest, which names every file that rules depend on; with 0 "
        "none is looked for",
        0,
    )
    allowed_signers: str = key(
        "who may sign: lines of user:NAME and a public key, as ssh-keygen(1) has them", "", "path"
    )
    authors_approve: bool = key(
        "false: who made the last change of the rules alone approves nothing until somebody else confirms it", True
    )


@frozen
class VaultConfig:
    master_key: str = key(
        "where the master key is: credential:NAME (systemd), file:PATH (mode 0600), passphrase:PATH (a file the "
        "passphrase is read from)",
        "credential:hoopd-master-key",
    )


@frozen
class EmergencyConfig:
    notify: tuple[str, ...] = key(
        "channels told of exports and officers' keys; those of notifications.default if empty", ()
    )
    key_wait: float = key(
        "an officer's new key counts after so long, in which whoever was told can object", 86400.0, "duration"
    )
    key_lapse: float = key("an officer's key must be registered again within", 180 * 86400.0, "duration")
    rotate_within: float = key(
        "hoopctl status complains of exports that are not rotated after", 30 * 86400.0, "duration"
    )


@frozen
class AuditConfig:
    origin: str = key("name of this log in its checkpoints (C2SP tlog-checkpoint)", "hoopd.local/ledger")
    witness: tuple[str, ...] = key("directories or https URLs that get every checkpoint", ())
    checkpoint_every: float = key("pause between checkpoints when leaves came", 10.0, "duration")
    segment_bytes: int = key("a recording is sealed after so many bytes", 1024 * 1024, "size")
    segment_every: float = key("or after so long", 10.0, "duration")


@frozen
class ApprovalsConfig:
    claim_within: float = key("how long an approval waits for the requester to come back", 900.0, "duration")
    open_for: float = key(
        "how long a request stays open for those who decide, if the wait is no longer: clients and what is between "
        "give up sooner than people answer, and the requester comes back to what was approved",
        3600.0,
        "duration",
    )
    run_within: float = key(
        "how long a run of several approved statements may take, from its first to its last", 3600.0, "duration"
    )
    pending_per_identity: int = key("open requests of one identity; more would bury the approvers", 20)


@frozen
class Limits:
    statement_inline: int = key(
        "statements up to this size are parsed in the worker, others in a killable child", 8192, "size"
    )
    statement_max: int = key("larger statements are refused", 1024 * 1024, "size")
    parse_seconds: float = key("a parse that takes longer is killed and the statement refused", 5.0, "duration")
    parse_memory: int = key("address space of a parser child", 1024 * 1024 * 1024, "size")
    queue_bytes: int = key("bytes a client may send ahead while its operation is held", 1024 * 1024, "size")
    catalogue_poll: float = key("pause between looks for DDL that did not pass through us", 5.0, "duration")
    probe_after: float = key(
        "a client or target silent for so long is probed (TCP keepalive); below the minutes after which firewalls "
        "forget a connection",
        30.0,
        "duration",
    )
    dead_after: float = key(
        "a client or target that acknowledges nothing for so long is given up (TCP_USER_TIMEOUT): one that vanished "
        "keeps its session, and its locks at the target, no longer",
        60.0,
        "duration",
    )


@frozen
class Config:
    """hoopd.toml and targets.d/ together; policies.d/ is L{hoopd.policy}'s."""

    directory: str
    paths: Paths = key("where things are", factory=Paths)
    listen: Mapping[str, Listener] = key("one table a protocol: listen.postgres", factory=dict)
    processes: Processes = key("the family of processes", factory=Processes)
    identity: IdentityConfig = key("who people and agents are", factory=IdentityConfig)
    duties: DutiesConfig = key("administrator, vault, approver, auditor: who may not be both", factory=DutiesConfig)
    policy: PolicyConfig = key("whose the rules are: four eyes over policies.d/ and targets.d/", factory=PolicyConfig)
    vault: VaultConfig = key("where secrets of targets are", factory=VaultConfig)
    emergency: EmergencyConfig = key(
        "credentials sealed to officers for when the broker is dead", factory=EmergencyConfig
    )
    audit: AuditConfig = key("the record", factory=AuditConfig)
    approvals: ApprovalsConfig = key("holds", factory=ApprovalsConfig)
    limits: Limits = key("bounds on what one client may cost", factory=Limits)
    notifications: Notifications = key("what is told to whom, for all channels", factory=Notifications)
    notify: Mapping[str, Channel] = key("channels that rules name with notify", factory=dict)
    targets: Mapping[str, Target] = key("targets by name, from targets.d/*.toml", factory=dict)


@frozen
class TargetTlsTable:
    mode: Literal["verify-full", "verify-ca", "off"] = key(
        "verify-full checks the chain and the name; off is for targets on this very machine", "verify-full"
    )
    authorities: str = key("PEM file of the authorities, beside the target's file; empty is the system's", "", "path")
    server_name: str = key("name in the certificate, where it is not the host", "")


@frozen
class TargetSshTable:
    logins: tuple[str, ...] = key("accounts that clients may name as login%target, patterns; besides username", ())
    sign_in: Literal["certificate", "key", "password"] = key(
        "certificate: made for each session by the gateway's own authority; key and password: from the vault",
        "certificate",
    )
    host_keys: tuple[str, ...] = key(
        "keys that are the host's, as lines of known_hosts without names; @cert-authority KEY is who certifies it", ()
    )


@frozen
class TargetTable:
    """C{[targets.NAME]} as an operator writes it; becomes L{hoopd.values.Target}."""

    protocol: str = key("postgres")
    host: str = key("host name or address")
    port: int = key("TCP port")
    username: str = key("account at the target that hoopd signs in with")
    credential: str = key("name of the vault secret with that account's password or key", "")
    databases: tuple[str, ...] = key("databases that clients may name, the first is the default", ())
    labels: Mapping[str, str] = key("words that policies select by", factory=dict)
    ssh: TargetSshTable = field(factory=TargetSshTable, metadata={"why": "SSH hosts", "inline": True})
    tls: TargetTlsTable = field(factory=TargetTlsTable, metadata={"why": "the leg to the target", "inline": True})
    mode: Literal["enforce", "observe"] = key("observe forwards everything and records what would have been", "enforce")
    weak_authentication: tuple[str, ...] = key("md5 and cleartext are answered only where named here", ())
    trusted_functions: tuple[str, ...] = key("the target's own functions that reveal no masked column", ())
    description: str = key("for people", "")
