"""The services that roles share, as zope interfaces; not their implementations.

Each interface has the real implementation, a remote one over AMP where another process needs it (L{hoopd.ipc}),
and an in-memory one; one contract test class in tests/contracts runs against all of them. "Deferred of X"
means the method returns a Deferred firing with X. Every method may fail with L{hoopd.errors.Unavailable} when
its service is away; that is not repeated below. Times are epoch seconds, durations seconds.
"""

from __future__ import annotations

from zope.interface import Attribute, Interface


class IStore(Interface):
    """Durable state of the broker. Only the broker process opens it."""

    def transact(work):
        """Run C{work(tx)} in one serialisable transaction, in the store's own thread.

        C{tx.execute(sql, args=())} returns a list of tuples; placeholders are C{?}; SQL keeps to what SQLite
        and PostgreSQL share. When the Deferred fires the transaction is on disk (fsynced).

        @return: Deferred of what C{work} returned. An exception of C{work} rolls back and is the failure.
        @raise hoopd.errors.Unavailable: disk full, locked or unwritable.
        """

    def close():
        """@return: Deferred of None once everything is written and the store is closed."""


class IIdentityProvider(Interface):
    """Turns a proof into an identity. Broker only; workers reach it through L{ISessions.admit}."""

    def authenticate(proof):
        """
        @type proof: L{hoopd.values.Proof}
        @return: Deferred of L{hoopd.values.Identity}
        @raise hoopd.errors.AuthenticationFailed: indistinguishable for unknown name, wrong secret, expired
            or revoked token.
        """


class ICredentialVault(Interface):
    """Secrets of targets. Broker only, but for the answering of challenges, which workers reach by grant."""

    def put(name, secret, by):
        """Store C{secret} (L{hoopd.secret.Secret}) under C{name}, replacing an older version.

        @return: Deferred of L{hoopd.values.SecretEntry}
        """

    def entries():
        """@return: Deferred of a list of L{hoopd.values.SecretEntry}, by name."""

    def remove(name, by):
        """@return: Deferred of None. @raise KeyError: no such name."""

    def rotate_master_key(by):
        """Re-wrap every data key under a new master key; values are not re-encrypted.

        @return: Deferred of the number of secrets re-wrapped.
        """

    def check():
        """Open every secret once. @return: Deferred of a list of problems, as text; empty is well."""

    def start_challenge(grant, target, offer):
        """Begin the one SASL exchange of C{grant}.

        @type grant: L{hoopd.values.Grant}
        @type target: L{hoopd.values.Target}
        @type offer: L{hoopd.values.ScramServerFirst}
        @return: Deferred of C{(mechanism: str, client_first: bytes)}
        @raise hoopd.errors.Denied: the grant is spent, lapsed or for another target.
        @raise hoopd.errors.TargetError: certificate not good, or no acceptable mechanism.
        """

    def continue_challenge(grant, server_first):
        """@return: Deferred of the client-final message, bytes. @raise hoopd.errors.TargetError"""

    def finish_challenge(grant, server_final):
        """Check the server's signature. @return: Deferred of None. @raise hoopd.errors.TargetError"""

    def weak_answer(grant, target, method, salt):
        """Answer C{"md5"} (with 4 salt bytes) or C{"cleartext"} where the target's configuration allows it.

        @return: Deferred of bytes, the PasswordMessage payload without its terminator.
        @raise hoopd.errors.Denied: not allowed for this target.
        """


class ISshCredentials(Interface):
    """Signing in at SSH hosts in the place of workers, by grant; and whose host keys are good. Broker only, but for these
    calls, which workers reach by grant."""

    def check_host(grant, target, key):
        """
        @type grant: L{hoopd.values.Grant}
        @type target: L{hoopd.values.Target}
        @param key: the host's key or certificate in wire form; the caller checks that it signed the key exchange
        @return: Deferred of None: it is the target's
        @raise hoopd.errors.TargetError: it is not, or is not known yet; the text says what an administrator can do
        """

    def offer(grant, target, login):
        """What to show for the account C{login}: a certificate made for this grant, a key, or a password. Once.

        @return: Deferred of L{hoopd.values.SshOffer}
        @raise hoopd.errors.Denied: the grant is spent, lapsed or for another target, or the account is not open.
        @raise hoopd.errors.TargetError: nothing is stored for it.
        """

    def sign(grant, signed):
        """Sign the authentication request for what was offered, once; anything else is refused.

        @param signed: what RFC 4252 section 7 has signed
        @return: Deferred of the signature in wire form, bytes
        @raise hoopd.errors.Denied
        """

    def certify_host(key):
        """A host certificate for one of the gateway's own host keys, in the names of its SSH targets.

        @param key: public, in wire form; one of those that C{[listen.ssh]} names
        @return: Deferred of the certificate in wire form, bytes
        @raise hoopd.errors.Denied: it is none of them
        """


class ILoginLinks(Interface):
    """Login links of people who show no proof, as workers see them. A link is its worker's, and opens nothing itself: who
    has logged in by it is proven by its token (C{Proof.method} is C{"link"})."""

    def begin(provider, address):
        """
        @param provider: name of an C{identity.oidc} table
        @param address: the client's, for the bound on links of one address
        @return: Deferred of L{hoopd.values.LoginLink}
        @raise hoopd.errors.Denied: too many links are open. @raise hoopd.errors.Unavailable: the provider makes none
        """

    def settled(token):
        """Wait for the person to log in, a while. The provider is asked only while somebody waits here.

        @return: Deferred of bool: True: they have; False: not yet, ask again
        @raise hoopd.errors.Denied: they never will: refused, lapsed, or the link is not known (any more)
        """

    def leave(token):
        """The link is of no use any more: the connection is over, or its client proven. @return: Deferred of None"""


class ILobby(Interface):
    """People who are proven and in no session, as workers see them. A pass opens no target."""

    def enter(proof):
        """@return: Deferred of L{hoopd.values.Pass}. @raise hoopd.errors.AuthenticationFailed"""

    def call(token, verb, arguments):
        """Ask as whoever holds the pass: a verb of L{hoopd.flow.lobby.VERBS}.

        @return: Deferred of a JSON-able value
        @raise hoopd.errors.Denied: not entitled, or the pass is void. @raise KeyError, ValueError: as L{IAdministration.call}
        """

    def leave(token):
        """@return: Deferred of None: the pass is void"""


class ISessions(Interface):
    """Life of sessions, as workers see it: the broker's side of the route."""

    def admit(proof, target, protocol):
        """Authenticate, authorise, open the recording; everything is stored before the answer.

        @type proof: L{hoopd.values.Proof}
        @param target: the target's name as the client gave it
        @return: Deferred of L{hoopd.values.Admission}
        @raise hoopd.errors.AuthenticationFailed: bad proof. Whether the target exists is not told.
        @raise hoopd.errors.Denied: proven, but unknown target or no rule gives access to it.
        """

    def catalogue_grant(session, token):
        """A further grant, for the catalogue connection to the session's own target: a grant answers one exchange.

        @return: Deferred of L{hoopd.values.Grant}
        @raise hoopd.errors.Denied: no such live session.
        """

    def ended(session, token, why, operations, denied, held):
        """@return: Deferred of None"""

    def resume(sessions):
        """A worker tells a new broker which sessions it has alive.

        @param sessions: list of C{(session, token)}
        @return: Deferred of the list of session ids that are not known; the worker ends those
        """

    def register_cancel(session, token, key):
        """Make C{key} (process id, secret: 4 + 4..256 bytes) route to this session.

        @return: Deferred of None
        """

    def cancel(key, peer):
        """A CancelRequest arrived somewhere; rate-limited, silently dropped if nothing matches.

        @return: Deferred of None
        """


class IApprovals(Interface):
    """Holds and their approval. States and legal transitions: L{hoopd.approvals.states}."""

    def request(session, token, held):
        """Park an operation; an identical one that waits or is approved already is joined, not repeated, and one that a
        grant covers is not asked for.

        @type held: L{hoopd.values.HeldOperation}
        @return: Deferred of L{hoopd.values.Approval} (state pending, or approved when joined, or granted)
        """

    def covering(session, token, held):
        """What lets an operation run now; nothing is asked for.

        @return: Deferred of L{hoopd.values.Covering}: an approval (state approved or granted), or why there is none
        """

    def request_several(session, token, plan, shown):
        """Ask ahead for several operations that are to run in this order, each once, in one session.

        @param plan: list of L{hoopd.values.HeldOperation}. @param shown: redacted text of all that will run.
        @return: Deferred of L{hoopd.values.Approval}
        """

    def decided(approval):
        """@return: Deferred of the L{hoopd.values.Approval} once it is no longer pending."""

    def claim(session, token, approval, held):
        """Move approved to claimed, on disk, for exactly C{held}, before it is forwarded, once; or take one use of what is
        granted and covers it.

        @return: Deferred of L{hoopd.values.Approval}: its id, which is the use's own, is what L{settle} takes
        @raise hoopd.errors.Denied: not approved (any more), lapsed, claimed by another, or not this operation.
        """

    def settle(session, token, approval, outcome, detail):
        """@param outcome: C{"executed"}, C{"failed"} or C{"unknown"}. @return: Deferred of L{Approval}"""

    def withdraw(session, token, approval, why):
        """The requester gives up a pending request. @return: Deferred of L{Approval}"""

    def decide(approval, identity, approve, reason, reach=None, lasts=None, max_rows=None):
        """One entitled person's word; quorum counts distinct people.

        @type identity: L{hoopd.values.Identity}
        @param reach, lasts: how far a yes reaches (L{hoopd.values.Scope}) and for how many seconds, from approval, if
            otherwise than it was asked for; of several people the one who gives least counts
        @param max_rows: how many rows it may touch, if otherwise than was proposed
        @return: Deferred of L{hoopd.values.Approval}
        @raise hoopd.errors.Denied: requester, agent, not entitled, voted already, or no longer pending.
        @raise ValueError: no reason, or more than the rules let anybody grant
        """

    def find(states=None, requester=None, target=None):
        """@return: Deferred of a list of L{hoopd.values.Approval}, newest first."""

    def show(approval):
        """@return: Deferred of L{hoopd.values.Approval}. @raise KeyError: unknown id."""


class IBreakGlass(Interface):
    """Break glass of one session, as its worker reaches it. The broker's own is keyed by identity and target
    (L{hoopd.breakglass.service}); what is proven by session token is checked in between.
    """

    def open(session, token, reason):
        """The session's identity breaks glass on the session's target.

        @return: Deferred of L{hoopd.values.Opening}
        @raise hoopd.errors.Denied: no rule gives the right, or a review is overdue. @raise ValueError: no reason
        """

    def close(session, token):
        """@return: Deferred of the list of ids of what was open and has ended"""

    def skip(session, token, held):
        """Let one operation pass C{held.skipped} under C{held.break_glass}; in the ledger when it fires.

        @type held: L{hoopd.values.HeldOperation}
        @return: Deferred of None
        @raise hoopd.errors.Denied: it does not, or not any more. @raise hoopd.errors.RecordError: it must not run
        """


class IRecorder(Interface):
    """One session's recording, as its worker writes it (hoopd.audit.recording says the format)."""

    session = Attribute("session id")

    def write(kind, fields):
        """Append one frame before returning: it is with the kernel, so a C{kill -9} of us loses nothing.

        @param kind: a frame kind of L{hoopd.audit.events.FRAMES}
        @param fields: JSON-able mapping; already scrubbed and masked
        @return: the frame's sequence number
        @raise hoopd.errors.RecordError: nothing more can be written; the session takes no further operation.
        """

    def write_many(records):
        """Append several frames with one write(2), as L{write} does.

        @param records: pairs of kind and fields
        @return: the sequence number of the first frame
        @raise hoopd.errors.RecordError: as L{write}; some of them may be in the file.
        """

    def sync():
        """@return: Deferred of None once all that was written is on disk (grouped fdatasync in a thread)."""

    def close():
        """Close the descriptor."""


class ILedger(Interface):
    """The append-only Merkle log (RFC 6962). Broker only."""

    def append(kind, fields):
        """Add a leaf; durable when fired.

        @param kind: a leaf kind of L{hoopd.audit.events.LEAVES}
        @return: Deferred of the leaf's index (int)
        """

    def checkpoint():
        """Sign and publish the present head. @return: Deferred of the signed note, str."""


class IPolicyService(Interface):
    """Pure judgement over one versioned snapshot; no I/O, any process."""

    version = Attribute("digest of rules, targets and mask key id: str")

    def targets():
        """@return: mapping of name to L{hoopd.values.Target}"""

    def may_connect(identity, target, now):
        """@return: L{hoopd.values.Decision}: "allow" if any rule could allow something there."""

    def decide(identity, target, operation, now, opening=None):
        """
        @type operation: L{hoopd.values.Operation}
        @param opening: L{hoopd.values.Opening}: break glass that the identity uses on this target, or None
        @return: L{hoopd.values.Decision}; what break glass lets pass is a hold with C{break_glass} set
        """

    def masks(identity, target, now, opening=None):
        """@return: tuple of L{hoopd.values.Mask} that apply (exceptions taken out)."""

    def break_glass(identity, target):
        """@return: tuple of the break_glass rules that give the identity the right on the target."""

    def skips(opening, identity, target, now):
        """@return: frozenset of what C{opening} lets the identity skip: C{"holds"}, C{"denies"}, C{"masks"}"""

    def observed_masks(identity, target, now):
        """@return: tuple of L{hoopd.values.Mask} that enforcement would apply where policy only observes; else none."""

    def record_masks(target):
        """@return: tuple of L{hoopd.values.Mask} of what is recorded and shown to others: all of the target's."""


class IMasker(Interface):
    """Redacts values; pure. One per policy snapshot, because it holds the installation's hash key."""

    def redact(mask, value):
        """
        @type mask: L{hoopd.values.Mask}
        @param value: text value, bytes in the session's encoding (UTF-8)
        @return: bytes, or None for SQL NULL. Never raises: what it cannot treat it replaces wholly.
        """

    def scanner(masks):
        """
        @param masks: tuple of L{hoopd.values.Mask} with something to detect, at least one
        @return: L{hoopd.masking.detectors.Scanner}
        """

    def finders(masks):
        """
        @param masks: as for L{scanner}
        @return: L{hoopd.masking.finders.Finders}, for streams
        """


class IProtocolPlugin(Interface):
    """One wire protocol that a worker serves."""

    name = Attribute("C{postgres}, C{ssh} …: the configuration's listener table and worker kind")

    def factory(worker):
        """
        @param worker: L{IWorker}
        @return: a Twisted IProtocolFactory for the client side of the protocol
        """


class IWorker(Interface):
    """What a worker process offers to its protocol plugin."""

    sessions = Attribute("L{ISessions}")
    approvals = Attribute("L{IApprovals}")
    vault = Attribute("the challenge answering part of L{ICredentialVault}")
    break_glass = Attribute("L{IBreakGlass}")
    ssh = Attribute("L{ISshCredentials}")
    lobby = Attribute("L{ILobby}")
    login_links = Attribute("L{ILoginLinks}")
    login_providers = Attribute(
        "names of the providers that offer login links, in the configuration's order: tuple of str"
    )
    policy = Attribute("the present L{IPolicyService}; replaced when the broker sends a new snapshot")
    masker = Attribute("the present L{IMasker}")
    config = Attribute("the listener's configuration: L{hoopd.config.schema.Listener}")
    tls = Attribute("ITLS options for the client leg: IOpenSSLServerConnectionCreator, or None")
    asks_certificates = Attribute("whether clients are asked for TLS certificates: bool")
    discovery = Attribute("L{hoopd.protocols.postgres.oauthbearer.Discovery} for clients without a token, or None")
    reactor = Attribute("IReactorTCP, IReactorTime")

    def recorder(admission):
        """@return: L{IRecorder} on C{admission.recording}"""

    def event(name, fields):
        """Log one decision as a versioned JSON line (L{hoopd.audit.events.CATALOGUE})."""

    def available():
        """@return: C{""} while operations may run; else why not (broker away longer than its grace)."""

    def opening(identity, target, now):
        """@return: L{hoopd.values.Opening} that this identity uses on this target (its name) now, or None"""

    def opened(session):
        """A session protocol object began. It has C{cancel()}, C{end(why)} and C{session} (id or None); and, where
        break glass concerns its protocol, C{broken()}, called when what is in use changes."""

    def closed(session):
        """It ended."""


class IVerifier(Interface):
    """Fetches and parses what identity providers say. Lives in the verifier process, holds no secret of ours."""

    def verify(token):
        """Check an OIDC JWT wholly: issuer, audience, times, algorithm, signature.

        @type token: L{hoopd.secret.Secret}
        @return: Deferred of L{hoopd.identity.values.VerifiedToken}: provider name, claims, expiry
        @raise hoopd.errors.AuthenticationFailed: not good. @raise hoopd.errors.Unavailable: provider is away and
            its keys are not cached.
        """

    def begin_device(provider, secret):
        """Ask for a login link (RFC 8628 section 3.1).

        @param provider: name of an C{identity.oidc} table that has C{login_client}
        @type secret: L{hoopd.secret.Secret}, that client's; empty for a public one. Nothing of it is kept.
        @return: Deferred of L{hoopd.identity.values.DeviceRequest}
        @raise hoopd.errors.Unavailable: the provider makes none, or nothing that may be shown
        """

    def poll_device(provider, code, secret):
        """Ask, once, what became of a login link (RFC 8628 section 3.4).

        @type code: L{hoopd.secret.Secret}: the device code
        @return: Deferred of L{hoopd.identity.values.DeviceAnswer}; a token in it is not verified
        @raise hoopd.errors.Unavailable: no answer: ask again, later than usual (section 3.5)
        """


class INotices(Interface):
    """What approvers and officers are told. Broker only. A notice that is posted is delivered at least once to each
    channel, or given up after its time with a leaf of the ledger; the same notice posted again is not told again."""

    def post(tx, notice, channels=()):
        """Post within the transaction of what it tells, so that neither is without the other; then call L{wake}.

        @param tx: of the broker's L{IStore}
        @type notice: L{hoopd.notices.notice.Notice}, made by L{hoopd.notices.notice.notice}
        @param channels: names of channels; the default ones (notifications.default) if empty
        @return: None
        """

    def tell(notice, channels=()):
        """Post in a transaction of its own. @return: Deferred of None: it is on disk, and on its way."""

    def wake():
        """Something was posted and is committed: deliver. @return: None"""


class INotifier(Interface):
    """Takes rendered notices to their receivers. Lives in the notifier process, which keeps nothing."""

    def deliver(delivery):
        """Try once, in bounded time.

        @type delivery: L{hoopd.notices.deliveries.Post}, L{hoopd.notices.deliveries.Mail} or
            L{hoopd.notices.deliveries.Run}
        @return: Deferred of L{hoopd.notices.deliveries.Outcome}, also where the receiver refused or was not reached
        """


class IAdministration(Interface):
    """What hoopctl asks for. Broker only; control relays it."""

    def call(token, verb, arguments):
        """Authenticate C{token}, check the duty that C{verb} needs, act, and record it.

        @type token: L{hoopd.secret.Secret}; empty for the verbs that take a one-time token instead
        @param verb: a name of L{hoopd.administration.VERBS}, such as C{"approvals.approve"}
        @param arguments: JSON-able mapping
        @return: Deferred of a JSON-able value
        @raise hoopd.errors.AuthenticationFailed, hoopd.errors.Denied, KeyError (unknown id), ValueError (arguments)
        """
