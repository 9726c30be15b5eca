"""What a role offers to the process it runs in, and to the processes that talk to it; not the wire.

The compositions (L{hoopd.roles.broker}, L{hoopd.roles.worker}, L{hoopd.roles.verifier},
L{hoopd.roles.control}) implement these; L{hoopd.roles.child} and L{hoopd.ipc} call them. Each composition's
module has one public function C{start(context)} that takes a L{hoopd.roles.context.ChildContext} and returns
the role. Times are seconds.
"""

from __future__ import annotations

from zope.interface import Attribute, Interface


class IRole(Interface):
    """One child process's own part. Made by C{start(context)}; called by L{hoopd.roles.child} only."""

    def start():
        """Begin. The child reports itself ready when the Deferred fires: a worker's must not fire before its
        link has been attached once, a policy document has arrived and its listeners are served.

        @return: Deferred of None. A failure ends the process; the supervisor starts another, later.
        """

    def drain(limit):
        """Take nothing new, and let what runs end by itself. Listeners are closed already.

        @param limit: seconds after which the role must have ended what still runs, or None: without limit
        @return: Deferred of None once nothing is left; C{stop} follows
        """

    def stop():
        """End at once, and in order: what still runs is ended, what is open is closed.

        @return: Deferred of None
        """


class IWorkerServices(Interface):
    """What the broker offers to one worker. Every session token is checked by the services themselves."""

    sessions = Attribute("L{hoopd.interfaces.ISessions}")
    approvals = Attribute("L{hoopd.interfaces.IApprovals}; a worker reaches request, decided, claim, settle, withdraw")
    break_glass = Attribute("L{hoopd.interfaces.IBreakGlass}")
    vault = Attribute("L{hoopd.interfaces.ICredentialVault}; a worker reaches the answering of challenges")
    login_links = Attribute("L{hoopd.interfaces.ILoginLinks}")
    targets = Attribute(
        "mapping of name to L{hoopd.values.Target}: a worker names a target, and the broker's own entry is used, "
        "so that a worker cannot bend address, TLS or allowed methods"
    )


class IBrokerRole(IRole):
    """The broker's role, as its peers reach it. Called by L{hoopd.ipc.broker.Peers} only."""

    def worker_services(worker):
        """
        @param worker: the worker's id, such as C{"worker/postgres/2:4711"} (name and process id); it stays the
            same over restarts of the broker
        @return: L{IWorkerServices} for this worker alone
        """

    def worker_gone(worker):
        """The worker is dead: its sessions are over. Not called when it goes over to another broker.

        @return: None
        """

    def control_services():
        """@return: L{hoopd.interfaces.IAdministration}"""

    def verifier_attached(verifier):
        """A verifier is there, for the first time or again; it is always the same object.

        @param verifier: L{hoopd.interfaces.IVerifier}; fails with Unavailable while no verifier runs
        @return: None
        """

    def notifier_attached(notifier):
        """A notifier is there, for the first time or again; it is always the same object.

        @param notifier: L{hoopd.interfaces.INotifier}; fails with Unavailable while no notifier runs
        @return: None
        """

    def policy_document():
        """@return: bytes: the present policy snapshot, as workers load it (any size up to 64 MiB)"""

    def openings():
        """@return: list of every L{hoopd.values.Opening} in use now"""


class IWorkerRole(IRole):
    """The worker's role, as the broker reaches it through the link. Called by L{hoopd.ipc.link} only."""

    def take_policy(document):
        """A policy snapshot arrived: at every attachment, and whenever the broker's changes.

        @type document: bytes
        @return: None. An exception keeps the old snapshot and is logged.
        """

    def take_openings(openings):
        """Break glass in use: at every attachment, and whenever that changes. What is not among them is over.

        @type openings: list of L{hoopd.values.Opening}
        @return: None
        """

    def live_sessions():
        """@return: list of C{(session id: str, token: Secret)}: every session that must survive a new broker"""

    def ask_ahead(token, target, database, text, reason):
        """Judge statements as a session of the token's identity would, and ask for what is held.

        @param token: L{hoopd.secret.Secret}. @param database: C{""} is the target's first.
        @return: Deferred of L{hoopd.values.Asked}
        """

    def cancel(session):
        """A CancelRequest for this session was accepted by the broker. @return: None"""

    def end(session, why):
        """The session ends now: revoked, or unknown to a new broker. @return: None"""
