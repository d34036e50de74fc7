"""Every exception that trio440 raises on purpose, in one tree.

::

    Trio440Error
    ├── InvalidParameter (ValueError)      the caller passed a value outside its range
    ├── BadMessage (ValueError)            the remote side sent bytes that are no message
    ├── AddressError (OSError)             an address cannot be used
    │   ├── AddressInUse                   somebody already listens there
    │   ├── AddressUnavailable             this machine may not listen there
    │   ├── ResolutionFailed               a host name has no address
    │   └── ConnectionRefused              nobody listens there, or the way is blocked
    ├── ConnectionBroken (BrokenResourceError)  an open stream broke
    ├── EngineUnavailable                  a hash engine needs a package that is absent
    ├── LspError
    │   ├── ConnectFailed (BrokenResourceError)      nobody answered the handshake
    │   ├── ConnectionLost (BrokenResourceError)     the other side fell silent
    │   ├── ConnectionClosed (ClosedResourceError)   this side closed the connection
    │   ├── FlushFailed (BrokenResourceError)        connections fell silent while being flushed
    │   ├── UnknownConnection (LookupError)          no connection has that id
    │   ├── PayloadTooLarge (ValueError)             a payload does not fit one datagram
    │   └── SendBufferFull                           too much is waiting to be sent
    ├── MiningError
    │   ├── EngineFailed                             a process of a hash engine died
    │   └── ServerLost (BrokenResourceError)         the mining server fell silent
    ├── JournalError
    │   ├── JournalBusy                              another process, or task, has it open
    │   ├── JournalCorrupt                           what is on disk was damaged after it was synced
    │   ├── JournalFailed (BrokenResourceError)      a write or sync failed; reopen to go on
    │   └── RecordTooLarge (ValueError)              a record passes the journal's limit
    ├── RaftError
    │   ├── NotLeader                                somebody else leads, or nobody does
    │   ├── ProposalRefused                          a limit is met, or leadership is on its way
    │   ├── ChangeRefused                            the members cannot be changed like this now
    │   ├── TransferRefused                          leadership cannot go to this peer
    │   ├── ReadRefused                              too many reads wait
    │   ├── NotQueryable (TypeError)                 a state machine answers no questions
    │   ├── WatchRefused                             too many watch, or there is nothing to watch
    │   ├── HistoryCompacted                         is a KvError, too: see there
    │   ├── LeadershipLost                           whether a command is carried out is not known
    │   ├── NoAnswer (TooSlowError)                  a cluster did not answer in the time given
    │   ├── SessionExpired                           a cluster has forgotten a client
    │   ├── PeerStopped (ClosedResourceError)        this peer has stopped and answers nothing
    │   ├── FellBehind                               a reader of applied entries was too slow
    │   ├── WrongStorage                             a directory is another peer's, or cluster's
    │   ├── LostStorage                              the cluster knows this id with another storage
    │   ├── TraceFailed                              a trace cannot be written, or only so far
    │   └── RaftViolated (AssertionError)            a peer broke Raft's rules; it must stop
    ├── RpcError
    │   ├── RemoteError                              the other side could not answer, and says why
    │   ├── CallTimedOut (TooSlowError)              no answer within the call's time
    │   ├── AnswerLost (BrokenResourceError)         the connection broke before the answer came
    │   ├── RpcClosed (ClosedResourceError)          this side has closed the client
    │   ├── HandshakeRefused (BrokenResourceError)   the two sides do not belong together
    │   ├── HandlerFailed                            a handler raised; for the server's own eyes
    │   └── MessageTooLarge (ValueError)             a message passes the limit of a frame
    ├── ActorError
    │   ├── ActorStopped (BrokenResourceError)       an actor has ended, or was never there
    │   ├── ActorFailed                              a handler raised, or a hook did
    │   ├── StartFailed                              an actor could not be started
    │   ├── RestartsExhausted                        an actor failed more often than is allowed
    │   ├── AskTimedOut (TooSlowError)               no answer within the ask's time
    │   ├── MailboxFull                              an actor has too much to do
    │   ├── LimitReached                             a system holds as many as it may
    │   ├── NameTaken                                another actor has the name
    │   ├── SystemStopped (ClosedResourceError)      the actor system has been left
    │   └── SystemSuperseded                         a later life has its address
    ├── KvError
    │   ├── HistoryCompacted (RaftError)             changes that were asked for are forgotten
    │   ├── OperationRefused (ValueError)            a limit is met, or an engine cannot do it
    │   └── StoreUnavailable                         no server of the store has answered
    └── SimulationError
        ├── BadHistory (ValueError)                  a line is no event of a recorded history
        ├── InvariantViolated (AssertionError)       a simulated system broke a promise
        ├── SchedulerUnavailable                     trio's scheduler cannot be seeded
        └── RealWorldTouched                         a simulated program started a thread

Trio's own words keep their meaning: ``ClosedResourceError`` (you closed it),
``BrokenResourceError`` (the other side or the network did), ``BusyResourceError``,
``EndOfChannel``, ``WouldBlock``. Of trio this module uses these exception classes and nothing
else, so that a protocol core which imports it still has no event loop, clock or socket.

The text of each error is one line that names what is wrong and, where there is one, the limit;
the commands print it as it is.
"""

from trio import BrokenResourceError, ClosedResourceError, TooSlowError

__all__ = [
    "ActorError",
    "ActorFailed",
    "ActorStopped",
    "AddressError",
    "AddressInUse",
    "AddressUnavailable",
    "AnswerLost",
    "AskTimedOut",
    "BadHistory",
    "BadMessage",
    "CallTimedOut",
    "ChangeRefused",
    "ConnectFailed",
    "ConnectionBroken",
    "ConnectionClosed",
    "ConnectionLost",
    "ConnectionRefused",
    "EngineFailed",
    "EngineUnavailable",
    "FellBehind",
    "FlushFailed",
    "HandlerFailed",
    "HandshakeRefused",
    "HistoryCompacted",
    "InvalidParameter",
    "InvariantViolated",
    "JournalBusy",
    "JournalCorrupt",
    "JournalError",
    "JournalFailed",
    "KvError",
    "LeadershipLost",
    "LimitReached",
    "LostStorage",
    "LspError",
    "MailboxFull",
    "MessageTooLarge",
    "MiningError",
    "NameTaken",
    "NameUnknown",
    "NoAnswer",
    "NotLeader",
    "NotQueryable",
    "OperationRefused",
    "PayloadTooLarge",
    "PeerStopped",
    "ProposalRefused",
    "RaftError",
    "RaftViolated",
    "ReadRefused",
    "RealWorldTouched",
    "RecordTooLarge",
    "RemoteError",
    "ResolutionFailed",
    "RestartsExhausted",
    "RpcClosed",
    "RpcError",
    "SchedulerUnavailable",
    "SendBufferFull",
    "ServerLost",
    "SessionExpired",
    "SimulationError",
    "StartFailed",
    "StoreUnavailable",
    "SystemStopped",
    "SystemSuperseded",
    "TraceFailed",
    "TransferRefused",
    "Trio440Error",
    "UnknownConnection",
    "WatchRefused",
    "WrongStorage",
]


class Trio440Error(Exception):
    """Base of every exception that this package raises on purpose."""


class InvalidParameter(Trio440Error, ValueError):
    """A parameter is outside its documented range; the caller is at fault."""

    def __init__(self, name: str, value: object, allowed: str) -> None:
        """Name the parameter, the value it had and what is allowed, e.g. ``"at least 1"``."""
        super().__init__(f"{name} must be {allowed}, not {value!r}")
        self.name = name
        self.value = value
        self.allowed = allowed


class BadMessage(Trio440Error, ValueError):
    """Bytes from the network are no message of the protocol; the remote side is at fault."""


class AddressError(Trio440Error, OSError):
    """An address cannot be used; ``host`` and ``port`` are what was asked for."""

    def __init__(self, host: str, port: int, problem: str) -> None:
        """Say which address, and the problem in words that follow it: ``HOST:PORT problem``."""
        shown = f"[{host}]" if ":" in host else host
        super().__init__(f"{shown}:{port} {problem}")
        self.host = host
        self.port = port
        self.problem = problem


class AddressInUse(AddressError):
    """Somebody else already listens on this address."""


class AddressUnavailable(AddressError):
    """This machine has no such address, or this user may not listen on it."""


class ResolutionFailed(AddressError):
    """The host name has no address of the wanted family."""


class ConnectionRefused(AddressError):
    """A stream could not be opened to this address: refused, unreachable or timed out.

    ``nobody_listens`` says whether the machine is there and has refused it.
    """

    def __init__(self, host: str, port: int, problem: str, *, nobody_listens: bool = False) -> None:
        """Say which address, the problem, and whether it is that nobody listens there."""
        super().__init__(host, port, problem)
        self.nobody_listens = nobody_listens


class ConnectionBroken(Trio440Error, BrokenResourceError):
    """A stream that was open broke, or the other side closed it too early."""

    def __init__(self, address: str) -> None:
        """Say whose stream it was."""
        super().__init__(f"the connection to {address} is broken")
        self.address = address


class EngineUnavailable(Trio440Error):
    """The chosen hash engine needs a package that is not installed."""


class LspError(Trio440Error):
    """Base of the errors of the Live Sequence Protocol."""


class ConnectFailed(LspError, BrokenResourceError):
    """The handshake was not answered within the epoch limit."""

    def __init__(self, address: str, epochs: int) -> None:
        """Say who was asked, and for how many epochs."""
        super().__init__(f"no answer from {address} within {epochs} epochs")
        self.address = address
        self.epochs = epochs


class ConnectionLost(LspError, BrokenResourceError):
    """Nothing was heard from the other side for the epoch limit."""

    def __init__(self, conn_id: int) -> None:
        """Say which connection."""
        super().__init__(f"connection {conn_id} is lost: the other side fell silent")
        self.conn_id = conn_id


class ConnectionClosed(LspError, ClosedResourceError):
    """This side has closed the connection."""

    def __init__(self, conn_id: int) -> None:
        """Say which connection."""
        super().__init__(f"connection {conn_id} is closed on this side")
        self.conn_id = conn_id


class FlushFailed(LspError, BrokenResourceError):
    """A server was closed and these connections fell silent before all was acknowledged."""

    def __init__(self, conn_ids: tuple[int, ...]) -> None:
        """Say which connections."""
        which = ", ".join(map(str, sorted(conn_ids)))
        super().__init__(f"connections lost before everything written was acknowledged: {which}")
        self.conn_ids = conn_ids


class UnknownConnection(LspError, LookupError):
    """The server has no connection with this id."""

    def __init__(self, conn_id: int) -> None:
        """Say which id."""
        super().__init__(f"there is no connection {conn_id}")
        self.conn_id = conn_id


class PayloadTooLarge(LspError, ValueError):
    """The datagram of this payload would pass the protocol's limit."""

    def __init__(self, size: int, limit: int) -> None:
        """Give the payload's size and the largest that would fit, both in bytes."""
        super().__init__(f"a payload of {size} bytes is too large, the limit is {limit}")
        self.size = size
        self.limit = limit


class SendBufferFull(LspError):
    """Writing would pass the connection's send buffer; nothing was written."""

    def __init__(self, limit: int) -> None:
        """Give the limit in bytes."""
        super().__init__(f"the send buffer is full, its limit is {limit} bytes")
        self.limit = limit


class MiningError(Trio440Error):
    """Base of the errors of the distributed miner."""


class EngineFailed(MiningError):
    """A process of a hash engine died, cannot be started, or said what it should not."""


class ServerLost(MiningError, BrokenResourceError):
    """The mining server fell silent before it answered."""


class JournalError(Trio440Error):
    """Base of the errors of the journal."""


class JournalBusy(JournalError):
    """Another process, or another task of this one, has the journal open."""

    def __init__(self, directory: str) -> None:
        """Say which directory."""
        super().__init__(f"the journal in {directory} is open elsewhere")
        self.directory = directory


class JournalCorrupt(JournalError):
    """What had been synced is damaged or missing; opening it could lose acknowledged data."""

    def __init__(self, path: str, offset: int, problem: str) -> None:
        """Name the file, the byte in it, and what is wrong there."""
        super().__init__(f"{path} is damaged at byte {offset}: {problem}")
        self.path = path
        self.offset = offset


class JournalFailed(JournalError, BrokenResourceError):
    """A write or a sync failed, and what is on disk is no longer known; reopen to go on."""

    def __init__(self, problem: str) -> None:
        """Say what the disk said."""
        super().__init__(f"the journal has stopped: {problem}")
        self.problem = problem


class RecordTooLarge(JournalError, ValueError):
    """A record passes the journal's limit; nothing was written."""

    def __init__(self, size: int, limit: int) -> None:
        """Give the record's size and the limit, both in bytes."""
        super().__init__(f"a record of {size} bytes is too large, the limit is {limit}")
        self.size = size
        self.limit = limit


class RaftError(Trio440Error):
    """Base of the errors of Raft."""


class NotLeader(RaftError):
    """This peer does not lead; nothing was done."""

    def __init__(self, leader: str | None) -> None:
        """Name the leader that this peer knows of, or None."""
        who = "nobody is known to" if leader is None else f"{leader} does"
        super().__init__(f"this peer does not lead, {who}")
        self.leader = leader


class ProposalRefused(RaftError):
    """The leader does not take this command now; nothing was done."""


class ChangeRefused(RaftError):
    """The members cannot be changed like this, or not now; nothing was done."""


class TransferRefused(RaftError):
    """Leadership cannot go to this peer; nothing was done."""


class ReadRefused(RaftError):
    """Too many reads wait for their index; this one does not."""

    def __init__(self, limit: int) -> None:
        """Give the limit."""
        super().__init__(f"{limit} reads are waiting, which is the limit")
        self.limit = limit


class NotQueryable(RaftError, TypeError):
    """The state machine of a peer is no :class:`~trio440.raft.machine.Queryable`."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__("this state machine answers no questions: it has no method query")


class WatchRefused(RaftError):
    """A state machine cannot be watched, or too many watch it already."""


class LeadershipLost(RaftError):
    """This peer led when it took a command, and does no more.

    The command may be committed by another leader, now or later, or never.
    """

    def __init__(self, index: int, term: int) -> None:
        """Give the place of the command's entry."""
        super().__init__(f"leadership was lost before entry {index} of term {term} was applied")
        self.index = index
        self.term = term


class NoAnswer(RaftError, TooSlowError):
    """A cluster did not answer in the time that was given; what was asked may still be done."""

    def __init__(self, what: str, seconds: float | None, why: str = "") -> None:
        """Say what was asked, how long it was waited for, and what became of the last tries."""
        super().__init__(f"{what} was not answered within {seconds:g} s{why and f': {why}'}")
        self.seconds = seconds


class TraceFailed(RaftError):
    """A trace cannot be written, or is complete only up to some line; the peers go on."""

    def __init__(self, path: str, reason: str) -> None:
        """Name the file and say why."""
        super().__init__(f"the trace {path} cannot be written: {reason}")
        self.path = path
        self.reason = reason


class SessionExpired(RaftError):
    """A cluster has ended a client's session; whether its last commands were done is not known."""

    def __init__(self, session: int) -> None:
        """Give the session's id."""
        super().__init__(f"the cluster has ended session {session}")
        self.session = session


class PeerStopped(RaftError, ClosedResourceError):
    """This peer has stopped; what was under way may be carried out by the others."""

    def __init__(self, name: str, reason: str) -> None:
        """Name the peer, and say why it has stopped."""
        super().__init__(f"peer {name} has stopped: {reason}")
        self.name = name
        self.reason = reason


class FellBehind(RaftError):
    """A reader of applied entries would have missed some; the state machine has them."""

    def __init__(self, index: int) -> None:
        """Give the first index that it would have missed."""
        super().__init__(f"entry {index} was applied while the reader was too far behind")
        self.index = index


class WrongStorage(RaftError):
    """A directory is the storage of another peer, or of another cluster; it keeps what it held."""

    def __init__(self, directory: str, owner: tuple[str, str], wanted: tuple[str, str]) -> None:
        """Name the directory, whose it is and who asked: pairs of cluster and node."""
        super().__init__(
            f"{directory} belongs to node {owner[1]!r} of cluster {owner[0]!r}, "
            f"not to node {wanted[1]!r} of cluster {wanted[0]!r}"
        )
        self.directory = directory
        self.owner = owner
        self.wanted = wanted


class LostStorage(RaftError):
    """The cluster knows a peer's id with another storage, and what that holds is a promise.

    The peer must not start under this id.
    """

    def __init__(self, name: str, by: str) -> None:
        """Name the peer, and who knows its other storage."""
        super().__init__(
            f"peer {name!r} comes with another storage than {by} knows, and may have forgotten "
            f"what it promised: remove {name!r} from the members, and let it join with an empty "
            "storage and a new id"
        )
        self.name = name
        self.by = by


class RaftViolated(RaftError, AssertionError):
    """A message can only come from a peer that broke Raft's rules, or from another cluster.

    The peer that sees it must stop: what it would do next could lose data.
    """


class RpcError(Trio440Error):
    """Base of the errors of remote calls."""


class RemoteError(RpcError):
    """The other side could not answer a call; a handler that raises it chooses the name.

    ``name`` is the other side's word: the class of what its handler raised, or ``UnknownMethod``,
    ``BadRequest``, ``ResultTooLarge``, ``BadResult``.
    """

    def __init__(self, name: str, detail: str = "") -> None:
        """Give the name and, in one line, what happened."""
        super().__init__(f"{name}: {detail}" if detail else name)
        self.name = name
        self.detail = detail


class CallTimedOut(RpcError, TooSlowError):
    """A call was not answered in its time; the handler may have run, and is cancelled."""

    def __init__(self, method: str, seconds: float) -> None:
        """Name the method and how long it had."""
        super().__init__(f"{method} was not answered within {seconds:g} s")
        self.method = method
        self.seconds = seconds


class AnswerLost(RpcError, BrokenResourceError):
    """The connection broke after a call was sent; whether its handler ran is not known."""

    def __init__(self, method: str, address: str, reason: str) -> None:
        """Name the method, who was asked, and what became of the connection."""
        super().__init__(f"{method}: the connection to {address} is lost: {reason}")
        self.method = method
        self.address = address
        self.reason = reason


class RpcClosed(RpcError, ClosedResourceError):
    """The client was closed by this side; a call that was under way may have been handled."""

    def __init__(self, address: str) -> None:
        """Say whose client."""
        super().__init__(f"the client of {address} is closed")
        self.address = address


class HandshakeRefused(RpcError, BrokenResourceError):
    """Two sides met that do not belong together; raised, or reported, on both.

    ``reason`` is one of ``version``, ``cluster``, ``node``, ``incarnation`` and ``busy``, the
    last for a server that is full for now.
    """

    def __init__(self, address: str, reason: str, detail: str) -> None:
        """Give the other side's address, what does not match, and how in one line."""
        super().__init__(f"{address} and this side do not belong together: {detail}")
        self.address = address
        self.reason = reason
        self.detail = detail


class HandlerFailed(RpcError):
    """A handler raised what its author did not name; the cause is what it raised."""

    def __init__(self, method: str, problem: str) -> None:
        """Name the method and what was raised."""
        super().__init__(f"the handler of {method} failed: {problem}")
        self.method = method


class MessageTooLarge(RpcError, ValueError):
    """A message passes the limit of a frame; nothing was sent."""

    def __init__(self, size: int, limit: int) -> None:
        """Give the size and the limit, both in bytes."""
        super().__init__(f"a message of {size} bytes is too large, the limit is {limit}")
        self.size = size
        self.limit = limit


class ActorError(Trio440Error):
    """Base of the errors of actors; a ``ref`` in them is shown as ``address/counter``."""


class ActorStopped(ActorError, BrokenResourceError):
    """What was asked is not answered: the actor has ended, or there never was one."""

    def __init__(self, ref: object, detail: str) -> None:
        """Give the reference, and what became of its actor in words that follow it."""
        super().__init__(f"{ref} {detail}")
        self.ref = ref
        self.detail = detail


class ActorFailed(ActorError):
    """An actor raised; the cause is what it raised.

    The asker of the question at which it failed gets it, and so does the system's ``report``.
    """

    def __init__(self, ref: object, problem: str, consequence: str = "") -> None:
        """Give the actor, what it raised, and what follows, each in one line."""
        super().__init__(f"{ref} failed: {problem}{consequence and f'; {consequence}'}")
        self.ref = ref
        self.problem = problem
        self.consequence = consequence


class StartFailed(ActorError):
    """An actor was not spawned: its class or its ``on_start`` raised, which is the cause."""

    def __init__(self, ref: object, problem: str) -> None:
        """Give the reference that it would have had, and what was raised in one line."""
        super().__init__(f"{ref} could not be started: {problem}")
        self.ref = ref
        self.problem = problem


class RestartsExhausted(ActorError):
    """An actor failed once more than its supervision allows, so its supervisor fails, too."""

    def __init__(self, ref: object, restarts: int, period_seconds: float, problem: str) -> None:
        """Give the actor, its restarts and within what time, and how it failed the last time."""
        super().__init__(
            f"{ref} failed again after {restarts} restarts within {period_seconds:g} s: {problem}"
        )
        self.ref = ref
        self.restarts = restarts
        self.period_seconds = period_seconds


class AskTimedOut(ActorError, TooSlowError):
    """A question was not answered in its time; it may have been handled, or still be."""

    def __init__(self, ref: object, seconds: float) -> None:
        """Say who was asked, and how long it had."""
        super().__init__(f"{ref} gave no answer within {seconds:g} s")
        self.ref = ref
        self.seconds = seconds


class MailboxFull(ActorError):
    """An actor's mailbox, or what it has stashed, is at its limit: this was not handled."""

    def __init__(self, ref: object, capacity: int) -> None:
        """Say whose mailbox, and the limit in messages."""
        super().__init__(f"the mailbox of {ref} is full, its limit is {capacity} messages")
        self.ref = ref
        self.capacity = capacity


class LimitReached(ActorError):
    """A system of actors holds as many of something as its limits allow."""

    def __init__(self, what: str, limit: int) -> None:
        """Name what it is, and the limit."""
        super().__init__(f"there are {limit} {what}, which is the limit")
        self.what = what
        self.limit = limit


class NameTaken(ActorError):
    """Another actor of this system is registered under the name."""

    def __init__(self, name: str, ref: object) -> None:
        """Give the name and who has it."""
        super().__init__(f"the name {name!r} belongs to {ref}")
        self.name = name
        self.ref = ref


class NameUnknown(ActorError, TooSlowError):
    """Nobody had a name in time."""

    def __init__(self, name: str, seconds: float) -> None:
        """Give the name, and how long it was waited for."""
        super().__init__(f"nobody had the name {name!r} within {seconds:g} s")
        self.name = name
        self.seconds = seconds


class SystemStopped(ActorError, ClosedResourceError):
    """The actor system has been left, or is being left: nothing is started or answered there."""

    def __init__(self, address: str) -> None:
        """Say which system."""
        super().__init__(f"the actor system {address} has stopped")
        self.address = address


class SystemSuperseded(ActorError):
    """Others know a later life of this system at its address, and listen to this one no more.

    Where no other is there, the clock has gone back between two lives: then the next one may be
    opened with ``Networking(after=error.incarnation)``.
    """

    def __init__(self, address: str, incarnation: int) -> None:
        """Say which system, and the life that is known."""
        super().__init__(f"a later life of the actor system {address} is known to the others")
        self.address = address
        self.incarnation = incarnation


class KvError(Trio440Error):
    """Of the store."""


class HistoryCompacted(KvError, RaftError):
    """The changes behind a revision are no longer remembered: look at the state itself.

    Every namespace's watch raises it, and that of a key-value map on Raft: so it belongs to both.
    """

    def __init__(self, after: int, compacted: int) -> None:
        """Give the revision that was asked for, and the one behind which changes are known."""
        super().__init__(
            f"the changes behind revision {after} are compacted, up to revision {compacted}"
        )
        self.after = after
        self.compacted = compacted


class OperationRefused(KvError, ValueError):
    """The store has not carried out an operation: a limit is met, or its engine cannot do it."""


class StoreUnavailable(KvError):
    """No server of the store has answered.

    ``may_have_happened`` says whether what was asked may have been carried out, or still be: it
    is False for what only reads, and for what was never sent.
    """

    def __init__(self, reason: str, *, may_have_happened: bool = True) -> None:
        """Say whom was tried, and why it did not answer."""
        super().__init__(f"the store cannot be reached: {reason}")
        self.reason = reason
        self.may_have_happened = may_have_happened


class SimulationError(Trio440Error):
    """Base of the errors of the simulator."""


class BadHistory(SimulationError, ValueError):
    """A line of a recorded history is no event of one."""

    def __init__(self, line: int, problem: str) -> None:
        """Give the line's number, from 1, and say what is wrong with it."""
        super().__init__(f"line {line}: {problem}")
        self.line = line
        self.problem = problem


class InvariantViolated(SimulationError, AssertionError):
    """A simulated system broke one of its promises."""

    def __init__(self, invariant: str, detail: str, explanation: object = None) -> None:
        """Name the promise in a few words, and say what was seen.

        A checker's own ``explanation`` goes along for whoever can show more than text.
        """
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant
        self.detail = detail
        self.explanation = explanation


class SchedulerUnavailable(SimulationError):
    """This version of trio keeps its scheduler's randomness elsewhere; it cannot be seeded."""


class RealWorldTouched(SimulationError):
    """A simulated program did what only the real world can: it started a thread or a process."""
