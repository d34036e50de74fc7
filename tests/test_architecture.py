"""The layering of the package, read from its source.

Three promises: a layer imports only the layers below it; a pure module (a protocol core) knows
no event loop, socket, clock or chance; a shell touches the world through its ``Host`` alone.
A new module is entered in ``MODULES`` below.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.layering import Touch, cycles, matching, read_module

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "trio440"

PURE, SHELL, REAL, FACE, COMMAND, ENGINE = "pure", "shell", "real", "face", "command", "engine"
PORT = "port"

MODULES = {
    "trio440": FACE,
    "trio440.__main__": COMMAND,
    "trio440.errors": PURE,
    "trio440.cmud": FACE,
    "trio440.cmud.commands": PURE,
    "trio440.cmud.company": SHELL,
    "trio440.cmud.desk": SHELL,
    "trio440.cmud.doors": SHELL,
    "trio440.cmud.face": SHELL,
    "trio440.cmud.fight": SHELL,
    "trio440.cmud.game": SHELL,
    "trio440.cmud.keys": PURE,
    "trio440.cmud.ledger": SHELL,
    "trio440.cmud.names": PURE,
    "trio440.cmud.places": PURE,
    "trio440.cmud.prose": PURE,
    "trio440.cmud.room": PURE,
    "trio440.cmud.rules": PURE,
    "trio440.core": FACE,
    "trio440.core.accepting": SHELL,
    "trio440.core.refusing": SHELL,
    "trio440.core.channels": SHELL,
    "trio440.core.epochs": SHELL,
    "trio440.core.host": PURE,
    "trio440.core.lifetimes": SHELL,
    "trio440.core.parking": SHELL,
    "trio440.core.real": REAL,
    "trio440.core.real.clock": REAL,
    "trio440.core.real.disk": REAL,
    "trio440.core.real.net": REAL,
    "trio440.core.real.stream_group": REAL,
    "trio440.core.real.threads": REAL,
    "trio440.core.selecting": SHELL,
    "trio440.core.tracked_scopes": SHELL,
    "trio440.wire": FACE,
    "trio440.wire.gojson": PURE,
    "trio440.wire.codec": PURE,
    "trio440.wire.framing": PURE,
    "trio440.rpc": FACE,
    "trio440.rpc.answering": SHELL,
    "trio440.rpc.backoff": PURE,
    "trio440.rpc.client": SHELL,
    "trio440.rpc.deadlines": PURE,
    "trio440.rpc.eager": SHELL,
    "trio440.rpc.envelope": PURE,
    "trio440.rpc.hands": SHELL,
    "trio440.rpc.hello": PURE,
    "trio440.rpc.holding": PURE,
    "trio440.rpc.limits": PURE,
    "trio440.rpc.link": SHELL,
    "trio440.rpc.outbox": SHELL,
    "trio440.rpc.pulse": PURE,
    "trio440.rpc.replies": PURE,
    "trio440.rpc.server": SHELL,
    "trio440.rpc.service": PURE,
    "trio440.rpc.serving": SHELL,
    "trio440.rpc.session": PURE,
    "trio440.journal": FACE,
    "trio440.journal.batch": SHELL,
    "trio440.journal.files": PURE,
    "trio440.journal.format": PURE,
    "trio440.journal.journal": SHELL,
    "trio440.journal.limits": PURE,
    "trio440.journal.opening": SHELL,
    "trio440.journal.recovery": PURE,
    "trio440.linekv": FACE,
    "trio440.linekv.changes": PURE,
    "trio440.linekv.client": SHELL,
    "trio440.linekv.limits": PURE,
    "trio440.linekv.outbox": SHELL,
    "trio440.linekv.owner": SHELL,
    "trio440.linekv.protocol": PURE,
    "trio440.linekv.server": SHELL,
    "trio440.linekv.session": SHELL,
    "trio440.linekv.store": PURE,
    "trio440.lsp": FACE,
    "trio440.lsp.client": SHELL,
    "trio440.lsp.connection": SHELL,
    "trio440.lsp.endpoint": SHELL,
    "trio440.lsp.faults": SHELL,
    "trio440.lsp.message": PURE,
    "trio440.lsp.params": PURE,
    "trio440.lsp.server": SHELL,
    "trio440.lsp.session": PURE,
    "trio440.lsp.statistics": PURE,
    "trio440.lsp.window": PURE,
    "trio440.mining": FACE,
    "trio440.mining.client": SHELL,
    "trio440.mining.engines": FACE,
    "trio440.mining.engines.compiled": ENGINE,
    "trio440.mining.engines.hashlib_child": ENGINE,
    "trio440.mining.engines.hashlib_engine": ENGINE,
    "trio440.mining.engines.kernel": ENGINE,
    "trio440.mining.engines.numba_engine": ENGINE,
    "trio440.mining.engines.opening": ENGINE,
    "trio440.mining.engines.sliced": SHELL,
    "trio440.mining.engines.warm": ENGINE,
    "trio440.mining.hashing": PURE,
    "trio440.mining.jobs": PURE,
    "trio440.mining.messages": PURE,
    "trio440.mining.policy": PURE,
    "trio440.mining.ranges": PURE,
    "trio440.mining.scheduler": PURE,
    "trio440.mining.server": SHELL,
    "trio440.mining.speed": PURE,
    "trio440.mining.worker": SHELL,
    "trio440.raft": FACE,
    "trio440.raft.acquaintance": PURE,
    "trio440.raft.batches": PURE,
    "trio440.raft.config": PURE,
    "trio440.raft.dedupe": PURE,
    "trio440.raft.disk_storage": SHELL,
    "trio440.raft.election": PURE,
    "trio440.raft.following": PURE,
    "trio440.raft.kept": PURE,
    "trio440.raft.kv": PURE,
    "trio440.raft.kv_history": PURE,
    "trio440.raft.kv_messages": PURE,
    "trio440.raft.kv_state": PURE,
    "trio440.raft.log": PURE,
    "trio440.raft.machine": PURE,
    "trio440.raft.meeting": SHELL,
    "trio440.raft.membership": PURE,
    "trio440.raft.messages": PURE,
    "trio440.raft.node": PURE,
    "trio440.raft.pieces": PURE,
    "trio440.raft.progress": PURE,
    "trio440.raft.quorum": PURE,
    "trio440.raft.reading": PURE,
    "trio440.raft.ready": PURE,
    "trio440.raft.records": PURE,
    "trio440.raft.replication": PURE,
    "trio440.raft.snapshot_files": PURE,
    "trio440.raft.soundness": PURE,
    "trio440.raft.roles": PURE,
    "trio440.raft.state": PURE,
    "trio440.raft.status": PURE,
    "trio440.raft.storage": PURE,
    "trio440.raft.client": SHELL,
    "trio440.raft.endpoints": SHELL,
    "trio440.raft.peer_config": PURE,
    "trio440.raft.wire": PURE,
    "trio440.raft.waiting": SHELL,
    "trio440.raft.trace_file": SHELL,
    "trio440.raft.trace_lines": PURE,
    "trio440.raft.tracing": PURE,
    "trio440.raft.watched": SHELL,
    "trio440.raft.watching": SHELL,
    "trio440.raft.transport": SHELL,
    "trio440.raft.opening": SHELL,
    "trio440.raft.peer": SHELL,
    "trio440.raft.driver": SHELL,
    "trio440.raft.desk": SHELL,
    "trio440.raft.applier": SHELL,
    "trio440.actors": FACE,
    "trio440.actors.cluster": FACE,
    "trio440.actors.cluster.config": PURE,
    "trio440.actors.cluster.datagrams": PURE,
    "trio440.actors.cluster.dissemination": PURE,
    "trio440.actors.cluster.events": PURE,
    "trio440.actors.cluster.exchange": PURE,
    "trio440.actors.cluster.gossip": SHELL,
    "trio440.actors.cluster.lifeguard": PURE,
    "trio440.actors.cluster.local": PURE,
    "trio440.actors.cluster.members": PURE,
    "trio440.actors.cluster.messages": PURE,
    "trio440.actors.cluster.names": PURE,
    "trio440.actors.cluster.probing": PURE,
    "trio440.actors.cluster.ring": PURE,
    "trio440.actors.cluster.seeds": SHELL,
    "trio440.actors.cluster.statistics": PURE,
    "trio440.actors.cluster.swim": PURE,
    "trio440.actors.cluster.timers": PURE,
    "trio440.actors.actor": SHELL,
    "trio440.actors.belongings": SHELL,
    "trio440.actors.checks": PURE,
    "trio440.actors.cell": SHELL,
    "trio440.actors.family": SHELL,
    "trio440.actors.handlers": PURE,
    "trio440.actors.inbox": SHELL,
    "trio440.actors.limits": PURE,
    "trio440.actors.lives": SHELL,
    "trio440.actors.mailbox": SHELL,
    "trio440.actors.messages": PURE,
    "trio440.actors.notices": PURE,
    "trio440.actors.oneshot": SHELL,
    "trio440.actors.post": SHELL,
    "trio440.actors.rates": PURE,
    "trio440.actors.ref": PURE,
    "trio440.actors.remote": FACE,
    "trio440.actors.remote.incoming": PURE,
    "trio440.actors.remote.limits": PURE,
    "trio440.actors.remote.link": SHELL,
    "trio440.actors.remote.links": SHELL,
    "trio440.actors.remote.naming": SHELL,
    "trio440.actors.remote.network": SHELL,
    "trio440.actors.remote.opening": SHELL,
    "trio440.actors.remote.outgoing": PURE,
    "trio440.actors.remote.parcels": PURE,
    "trio440.actors.remote.receiving": SHELL,
    "trio440.actors.remote.reports": SHELL,
    "trio440.actors.remote.service": SHELL,
    "trio440.actors.remote.shots": SHELL,
    "trio440.actors.remote.visits": SHELL,
    "trio440.actors.remote.spawning": SHELL,
    "trio440.actors.remote.values": PURE,
    "trio440.actors.remote.watches": SHELL,
    "trio440.actors.reporting": SHELL,
    "trio440.actors.signals": SHELL,
    "trio440.actors.speaker": SHELL,
    "trio440.actors.supervision": PURE,
    "trio440.actors.system": SHELL,
    "trio440.actors.testing": FACE,
    "trio440.actors.testing.clock": SHELL,
    "trio440.actors.testing.probe": SHELL,
    "trio440.actors.testing.recorder": SHELL,
    "trio440.actors.timers": SHELL,
    "trio440.kv": FACE,
    "trio440.kv.address_book": SHELL,
    "trio440.kv.client": SHELL,
    "trio440.kv.description": PURE,
    "trio440.kv.digests": PURE,
    "trio440.kv.feed": PURE,
    "trio440.kv.following": SHELL,
    "trio440.kv.hlc": PURE,
    "trio440.kv.keeper": SHELL,
    "trio440.kv.keeping": PURE,
    "trio440.kv.lanes": SHELL,
    "trio440.kv.leases": PURE,
    "trio440.kv.linearizable": SHELL,
    "trio440.kv.linearizable_peer": SHELL,
    "trio440.kv.local": SHELL,
    "trio440.kv.memory": SHELL,
    "trio440.kv.connect": SHELL,
    "trio440.kv.discovery": PURE,
    "trio440.kv.served": SHELL,
    "trio440.kv.status": SHELL,
    "trio440.kv.store": SHELL,
    "trio440.kv.strangers": SHELL,
    "trio440.kv.unanswered": PURE,
    "trio440.kv.voters": SHELL,
    "trio440.kv.namespace": SHELL,
    "trio440.kv.operation_types": PURE,
    "trio440.kv.operations": PURE,
    "trio440.kv.packing": PURE,
    "trio440.kv.peers": PURE,
    "trio440.kv.positions": PURE,
    "trio440.kv.questions": PURE,
    "trio440.kv.query_actor": SHELL,
    "trio440.kv.records": PURE,
    "trio440.kv.replica": PURE,
    "trio440.kv.replica_core": PURE,
    "trio440.kv.replica_limits": PURE,
    "trio440.kv.siblings": PURE,
    "trio440.kv.router": PURE,
    "trio440.kv.server": SHELL,
    "trio440.kv.service": PURE,
    "trio440.kv.sync": PURE,
    "trio440.kv.sync_messages": PURE,
    "trio440.kv.table": PURE,
    "trio440.kv.table_core": PURE,
    "trio440.kv.table_deadlines": PURE,
    "trio440.kv.table_history": PURE,
    "trio440.kv.table_limits": PURE,
    "trio440.kv.table_machine": PURE,
    "trio440.kv.table_order": PURE,
    "trio440.kv.table_state": PURE,
    "trio440.kv.resp": FACE,
    "trio440.kv.resp.about": PURE,
    "trio440.kv.resp.batch": SHELL,
    "trio440.kv.resp.calls": PURE,
    "trio440.kv.resp.globs": PURE,
    "trio440.kv.resp.keys": PURE,
    "trio440.kv.resp.limits": PURE,
    "trio440.kv.resp.memory": PURE,
    "trio440.kv.resp.notifications": SHELL,
    "trio440.kv.resp.outbox": SHELL,
    "trio440.kv.resp.parser": PURE,
    "trio440.kv.resp.plain": PURE,
    "trio440.kv.resp.reactor": SHELL,
    "trio440.kv.resp.replies": PURE,
    "trio440.kv.resp.server": SHELL,
    "trio440.kv.resp.session": SHELL,
    "trio440.kv.resp.strings": PURE,
    "trio440.kv.resp.subscriptions": SHELL,
    "trio440.kv.resp.sweeping": SHELL,
    "trio440.kv.resp.table": PURE,
    "trio440.kv.resp.transacting": SHELL,
    "trio440.kv.resp.transactions": PURE,
    "trio440.sim": FACE,
    "trio440.sim.ablating": PURE,
    "trio440.sim.active_faults": PURE,
    "trio440.sim.addressing": PURE,
    "trio440.sim.blocking": PORT,
    "trio440.sim.campaign": PURE,
    "trio440.sim.chance": PURE,
    "trio440.sim.checking": FACE,
    "trio440.sim.checking.channel_follower": PURE,
    "trio440.sim.checking.channel_model": PURE,
    "trio440.sim.checking.explanation": PURE,
    "trio440.sim.checking.history": PURE,
    "trio440.sim.checking.linearizability": PURE,
    "trio440.sim.checking.model": PURE,
    "trio440.sim.checking.models": PURE,
    "trio440.sim.clock": PORT,
    "trio440.sim.draws": PURE,
    "trio440.sim.disk": PURE,
    "trio440.sim.disk_device": PURE,
    "trio440.sim.disk_image": PURE,
    "trio440.sim.disk_tree": PURE,
    "trio440.sim.fabric": PURE,
    "trio440.sim.faults": PURE,
    "trio440.sim.interface": PORT,
    "trio440.sim.links": PURE,
    "trio440.sim.net": PORT,
    "trio440.sim.outcome": PURE,
    "trio440.sim.packets": PURE,
    "trio440.sim.power": PURE,
    "trio440.sim.profiles": PURE,
    "trio440.sim.scheduling": PORT,
    "trio440.sim.marking": SHELL,
    "trio440.sim.pytest_plugin": SHELL,
    "trio440.sim.shrinking": PURE,
    "trio440.sim.systems": FACE,
    "trio440.sim.systems.base": SHELL,
    "trio440.sim.systems.registry": SHELL,
    "trio440.sim.timeline": FACE,
    "trio440.sim.timeline.page": PURE,
    "trio440.sim.stage": PURE,
    "trio440.sim.stream_group": PORT,
    "trio440.sim.tcp": PORT,
    "trio440.sim.tcp_listener": PORT,
    "trio440.sim.tcp_table": PORT,
    "trio440.sim.machine": PORT,
    "trio440.sim.world": PORT,
    "trio440.sim.running": PORT,
    "trio440.sim.systems.actors": PORT,
    "trio440.sim.systems.actors_people": PORT,
    "trio440.sim.systems.actors_stage": PURE,
    "trio440.sim.systems.actors_watch": PURE,
    "trio440.sim.systems.actors_world": PORT,
    "trio440.sim.systems.core": PORT,
    "trio440.sim.systems.core_draws": PURE,
    "trio440.sim.systems.core_fairness": PORT,
    "trio440.sim.systems.core_timers": PORT,
    "trio440.sim.systems.core_watch": PURE,
    "trio440.sim.systems.core_world": PORT,
    "trio440.sim.systems.kv": PORT,
    "trio440.sim.systems.kv_people": PURE,
    "trio440.sim.systems.kv_replicas": PURE,
    "trio440.sim.systems.kv_stage": PURE,
    "trio440.sim.systems.kv_watch": PURE,
    "trio440.sim.systems.kv_world": PORT,
    "trio440.sim.systems.linekv": PORT,
    "trio440.sim.systems.linekv_desk": PURE,
    "trio440.sim.systems.linekv_stage": PURE,
    "trio440.sim.systems.linekv_watch": PURE,
    "trio440.sim.systems.linekv_world": PORT,
    "trio440.sim.systems.lsp": PORT,
    "trio440.sim.systems.lsp_stage": PURE,
    "trio440.sim.systems.lsp_watch": PURE,
    "trio440.sim.systems.lsp_world": PORT,
    "trio440.sim.systems.miner": PORT,
    "trio440.sim.systems.miner_cast": PURE,
    "trio440.sim.systems.miner_pipe": PURE,
    "trio440.sim.systems.miner_stage": PURE,
    "trio440.sim.systems.miner_watch": PURE,
    "trio440.sim.systems.miner_world": PORT,
    "trio440.sim.systems.raft": PORT,
    "trio440.sim.systems.raft_clients": PURE,
    "trio440.sim.systems.raft_disk": PURE,
    "trio440.sim.systems.raft_drivers": PORT,
    "trio440.sim.systems.raft_elections": PURE,
    "trio440.sim.systems.raft_losses": PURE,
    "trio440.sim.systems.raft_machines": PURE,
    "trio440.sim.systems.raft_meeting": PURE,
    "trio440.sim.systems.raft_mirror": PORT,
    "trio440.sim.systems.raft_network": PURE,
    "trio440.sim.systems.raft_owner": PURE,
    "trio440.sim.systems.raft_record": PURE,
    "trio440.sim.systems.raft_snapshots": PURE,
    "trio440.sim.systems.raft_stage": PURE,
    "trio440.sim.systems.raft_watch": PURE,
    "trio440.sim.systems.raft_world": PORT,
    "trio440.sim.trace": PURE,
    "trio440.sim.udp": PORT,
}
"""Every module and what it is.

``pure``: standard library, attrs, msgspec and other pure modules. ``shell``: trio and its Host.
``real``: the Host of this machine. ``face``: imports and ``__all__``. ``command``: the command
line, which is the process's own edge. ``engine``: computes hashes, by its own processes or
threads. ``port``: a simulated machine's Host, made of trio's virtual time and of values.
"""

COMMANDS = "trio440.cli"
"""Every module of this package is a ``command``."""

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "core": {"errors"},
    "wire": {"errors"},
    "journal": {"errors", "core", "wire"},
    "linekv": {"errors", "core", "wire", "journal"},
    "lsp": {"errors", "core", "wire"},
    "rpc": {"errors", "core", "wire"},
    "raft": {"errors", "core", "wire", "journal", "rpc"},
    "actors": {"errors", "core", "wire", "rpc"},
    "kv": {"errors", "core", "wire", "journal", "rpc", "raft", "actors"},
    "cmud": {"errors", "core", "kv"},
    "mining": {"errors", "core", "wire", "lsp"},
    "sim": {
        *("errors", "core", "wire", "journal", "linekv", "lsp"),
        *("mining", "raft", "rpc", "actors", "kv"),
    },
    "cli": {
        *("errors", "core", "wire", "journal", "linekv", "lsp"),
        *("mining", "raft", "rpc", "actors", "kv", "cmud"),
        "sim",
    },
    "__main__": {"cli"},
    "": {"errors", "core"},
}
"""The layers that each layer may import beside itself."""

TIME = "time comes from ports.clock and ports.wall"
NETWORK = "the network is ports.net"
CHANCE = "chance comes from ports.rng"
FILES = "files are ports.disk"
THREADS = "blocking work goes to ports.blocking"
PROCESSES = "only the command line and the hash engines start processes or hear signals"
PRIVATE = "private names of trio may change with any release"
OUTPUT = "what a terminal shows is the command line's business"
LOOPS = "there is one event loop, trio"
OWNED = "every task has an owner"
DODGE = "an import that cannot be read here hides what a module touches"

WORLD = {
    "trio.sleep*": TIME,
    "trio.current_time": TIME,
    "trio.fail_after": TIME,
    "trio.fail_at": TIME,
    "trio.move_on_after": TIME,
    "trio.move_on_at": TIME,
    "trio.CancelScope(deadline=)": TIME,
    "trio.CancelScope(relative_deadline=)": TIME,
    "trio.lowlevel.current_clock": TIME,
    "time": TIME,
    "datetime.datetime.now": TIME,
    "datetime.datetime.utcnow": TIME,
    "datetime.datetime.today": TIME,
    "datetime.date.today": TIME,
    "trio.socket": NETWORK,
    "trio.open_tcp_*": NETWORK,
    "trio.open_ssl_*": NETWORK,
    "trio.open_unix_socket": NETWORK,
    "trio.serve_*": NETWORK,
    "trio.Socket*": NETWORK,
    "trio.lowlevel.wait_readable": NETWORK,
    "trio.lowlevel.wait_writable": NETWORK,
    "trio.lowlevel.notify_closing": NETWORK,
    "socket": NETWORK,
    "select": NETWORK,
    "selectors": NETWORK,
    "ssl": NETWORK,
    "random.[!R]*": CHANCE,
    "secrets": CHANCE,
    "uuid": CHANCE,
    "os.urandom": CHANCE,
    "os.getrandom": CHANCE,
    "builtins.open": FILES,
    "unknown": FILES,
    "pathlib.Path": FILES,
    "trio.Path": FILES,
    "trio.open_file": FILES,
    "io.open": FILES,
    "os": FILES,
    "shutil": FILES,
    "tempfile": FILES,
    "fcntl": FILES,
    "sqlite3": FILES,
    "trio.to_thread": THREADS,
    "trio.from_thread": THREADS,
    "trio.lowlevel.start_thread_soon": THREADS,
    "threading": THREADS,
    "_thread": THREADS,
    "queue": THREADS,
    "concurrent": THREADS,
    "multiprocessing": PROCESSES,
    "subprocess": PROCESSES,
    "signal": PROCESSES,
    "trio.run_process": PROCESSES,
    "trio.open_signal_receiver": PROCESSES,
    "trio.lowlevel.open_process": PROCESSES,
    "trio.run": OWNED,
    "trio.lowlevel.spawn_system_task": OWNED,
    "trio._*": PRIVATE,
    "builtins.print": OUTPUT,
    "builtins.input": OUTPUT,
    "sys.std*": OUTPUT,
    "logging": OUTPUT,
    "rich": OUTPUT,
    "click": OUTPUT,
    "asyncio": LOOPS,
    "importlib": DODGE,
    "builtins.__import__": DODGE,
    "builtins.exec": DODGE,
    "builtins.eval": DODGE,
    "*.[*]": DODGE,
    "pickle": "what comes from outside is decoded, never executed",
}
"""What no module outside ``core/real`` touches; a name covers everything below it."""

PURE_TOO = {
    "trio": "a core has no event loop",
    "trio_util": "a core has no event loop",
    "outcome": "a core has no event loop",
    "await": "a core never waits",
    "random.Random(*=)": CHANCE,
    "numba": "a core computes in plain Python",
    "numpy": "a core computes in plain Python",
}
"""What a pure module does not touch either."""

EXCEPTIONS: dict[str, dict[str, str]] = {
    "trio440.sim.running": {
        "trio.run": "a world is a run of its own",
        "threading": "the thread whose audit events are judged",
    },
    "trio440.sim.scheduling": {
        "trio._*": "the seed of trio's scheduler is private; tried out before each use",
        "trio.run": "the trial",
    },
    "trio440.errors": {
        "trio.BrokenResourceError": "trio's word for what the other side did",
        "trio.ClosedResourceError": "trio's word for what this side did",
        "trio.TooSlowError": "trio's word for what took too long",
    },
    "trio440.actors.reporting": {
        "logging": "a crash is heard of by default; what is shown is the application's business",
    },
    "trio440.sim.systems.actors_world": {
        "logging": "what systems log by default is muted: a world is judged by its promises",
    },
    "trio440.sim.systems.kv_world": {
        "logging": "the same",
    },
    "trio440.sim.timeline.page": {
        "importlib": "the page's template, style and script are files of the package",
        "unknown.read_text": "the same",
    },
    "trio440.sim.systems.registry": {
        "importlib": "a system is imported when it is asked for",
    },
    ENGINE: {
        "subprocess": "processes are how hashlib uses every core",
        "trio.lowlevel.open_process": "the same",
        "trio.run_process": "numba compiles in a process that Ctrl-C can end",
        "signal": "a hash process leaves Ctrl-C to its parent",
        "select": "a hash process looks whether its parent is still there",
        "os": "its pipes by their descriptors, and the cores that there are",
        "importlib": "numba is imported when it is asked for",
        "pathlib.Path": "the script of a hash process, and what numba has compiled",
    },
    "trio440.sim.pytest_plugin": {
        "pathlib.Path": "the timeline of a test that failed goes where the user says",
        "unknown.write_text": "the same",
    },
    "trio440.cli.cmud": {
        "pathlib.Path": "a script is read where the user says",
        "unknown.read_text": "the same",
    },
    "trio440.cli.cmud_store": {
        "logging": "what servers in this process log waits until the terminal is free",
    },
    "trio440.cli.kv_shell": {
        "trio.open_signal_receiver": "Ctrl-C is for the command that is under way",
    },
    "trio440.cli.line_history": {
        "pathlib.Path": "earlier lines are in a file of the user's",
    },
    "trio440.cli.line_terminal": {
        "trio.lowlevel.wait_readable": "the keys of the terminal that the command was given",
        "signal": "the terminal says by a signal that it has another size",
        "trio.open_signal_receiver": "the same",
    },
    "trio440.cli.simulation.histories": {
        "pathlib.Path": "a timeline or a trace goes where the user says",
        "unknown.write_bytes": "the same",
    },
    "trio440.cli.simulation.patches": {
        "pathlib.Path": "deliberate bugs are found in the folders of a clone",
    },
    "trio440.cli.simulation.job": {
        "pathlib.Path": "the same",
    },
    "trio440.cli.simulation.ablations": {
        "pathlib.Path": "the same",
    },
    "trio440.cli.simulation.arguments": {
        "pathlib.Path": "a file that cannot be written is refused before the work",
    },
    COMMAND: {
        "click": "the command line is made with it",
        "rich": "progress on a terminal is drawn with it",
        "select": "whether somebody still reads standard output",
        "subprocess": "the demo is made of processes",
        "tempfile": "so it is of directories",
        "trio.lowlevel.open_process": "the same",
        "importlib": "a sub-command is imported when it is called for",
        "signal": "Ctrl-C and SIGTERM are for the whole process",
        "os": "exit statuses, and standard output and input by their descriptors",
        "builtins.print": "the command line shows what happened",
        "sys.std*": "the command line shows what happened",
        "trio.run": "the process starts its loop here",
        "trio.current_time": "the signal handler's watch over the loop is the process's own",
        "trio.to_thread": "a terminal is read by a thread that nobody can interrupt",
        "threading": "a thread watches whether the parent process is still there",
    },
}
"""Who may touch what of the above, and why; an entry that nobody needs fails a test."""


def problems(module: str, kind: str, touches: list[Touch]) -> list[str]:
    """Say everything that is wrong with what ``module`` imports and touches."""
    allowed = EXCEPTIONS.get(module, {}) | EXCEPTIONS.get(kind, {})
    allowed_lines = {touch for touch, _, _ in matching(touches, allowed)}
    rest = [touch for touch in touches if touch not in allowed_lines]
    found = list(_wrong_arrows(module, kind, rest))
    if kind == FACE:
        found += [
            f"{module}:{touch.line} touches {touch.name}: a package's face only imports and exports"
            for touch in rest
            if imported_module(touch) is None
        ]
    elif kind != REAL:
        forbidden = WORLD | (PURE_TOO if kind == PURE else {})
        if kind == PORT:
            forbidden = {name: reason for name, reason in WORLD.items() if reason != TIME}
        found += [
            f"{module}:{touch.line} touches {touch.name}: {reason}"
            for touch, _, reason in matching(rest, forbidden)
        ]
    return list(dict.fromkeys(found))


def _wrong_arrows(module: str, kind: str, touches: list[Touch]) -> Iterator[str]:
    for touch in touches:
        target = imported_module(touch)
        if target is None or target == module:
            continue
        here, there = layer_of(module), layer_of(target)
        if here != there and there not in MAY_IMPORT[here]:
            yield f"{module}:{touch.line} imports {target}: {here} is not above {there}"
        if kind == PURE and kind_of(target) != PURE:
            yield f"{module}:{touch.line} imports {target}: a core knows cores only"
        ports_only = target == "trio440.core.host" or there == "errors"
        if kind == REAL and not ports_only and MODULES[target] != REAL:
            yield f"{module}:{touch.line} imports {target}: the real host knows the ports only"


def imported_module(touch: Touch) -> str | None:
    """Return the module of this package that an import means, or None for any other touch."""
    if not touch.imported or touch.name.partition(".")[0] != PACKAGE.name:
        return None
    name = touch.name
    while name not in MODULES and not is_command(name) and "." in name:
        name = name.rpartition(".")[0]
    return name


def layer_of(module: str) -> str:
    """Return the part of the name that ``MAY_IMPORT`` speaks of."""
    return f"{module}.".split(".")[1]


def is_command(module: str) -> bool:
    """Whether a module belongs to the command line."""
    return f"{module}.".startswith(f"{COMMANDS}.")


def kind_of(module: str) -> str:
    """Return what a module is; KeyError for one that nobody has entered."""
    return COMMAND if is_command(module) else MODULES[module]


def module_files() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


FILES_BY_MODULE = module_files()


@cache
def touched(module: str) -> list[Touch]:
    """What a module of the package touches."""
    path = FILES_BY_MODULE[module]
    return read_module(path.read_text(), module, is_package=path.name == "__init__.py")


def test_every_module_is_entered_and_every_entry_exists() -> None:
    found = {module for module in FILES_BY_MODULE if not is_command(module)}
    assert found - set(MODULES) == set(), "enter these in MODULES"
    assert set(MODULES) - found == set(), "these are gone"


def test_every_module_keeps_to_its_layer_and_its_ports() -> None:
    assert len(FILES_BY_MODULE) > 100
    found = [problems(module, kind_of(module), touched(module)) for module in FILES_BY_MODULE]
    assert [problem for each in found for problem in each] == []


def test_no_module_imports_itself_through_others() -> None:
    imports = {
        module: {target for touch in touched(module) if (target := imported_module(touch))}
        - {module}
        for module in FILES_BY_MODULE
    }
    assert cycles(imports) == []


def test_every_exception_is_needed() -> None:
    for who, allowed in EXCEPTIONS.items():
        used = [
            touch
            for module in FILES_BY_MODULE
            if who in (module, kind_of(module))
            for touch in touched(module)
        ]
        needed = {pattern for _, pattern, _ in matching(used, allowed)}
        assert needed == set(allowed), f"{who} does not need {set(allowed) - needed}"


def test_the_layers_stand_on_each_other() -> None:
    assert cycles(MAY_IMPORT) == []
    assert set().union(*MAY_IMPORT.values()) <= set(MAY_IMPORT)


# The checker itself: it must complain about bad source


BAD = [
    # arrows
    ("trio440.core.channels", SHELL, "import trio440.lsp", "core is not above lsp"),
    ("trio440.core.channels", SHELL, "from trio440 import lsp", "core is not above lsp"),
    ("trio440.core.channels", SHELL, "from ..lsp import client", "core is not above lsp"),
    ("trio440.core.channels", SHELL, "from trio440.wire.gojson import x", "not above wire"),
    ("trio440.lsp.client", SHELL, "from trio440.mining.ranges import x", "not above mining"),
    ("trio440.lsp.client", SHELL, "from trio440.linekv import connect", "not above linekv"),
    ("trio440.linekv.server", SHELL, "import trio440.cli.running", "not above cli"),
    ("trio440.errors", PURE, "from trio440.core.host import Host", "errors is not above core"),
    (
        "trio440.mining.jobs",
        PURE,
        "def f():\n    from trio440.cli import main",
        "mining is not above cli",
    ),
    (
        "trio440.wire.gojson",
        PURE,
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import trio440.lsp",
        "wire is not above lsp",
    ),
    ("trio440.core.real.net", REAL, "from trio440.core.channels import Chan", "ports only"),
    # cores
    ("trio440.lsp.session", PURE, "import trio", "no event loop"),
    ("trio440.lsp.session", PURE, "from trio import BrokenResourceError", "no event loop"),
    ("trio440.errors", PURE, "from trio import sleep", "ports.clock"),
    ("trio440.errors", PURE, "from trio import Event", "no event loop"),
    ("trio440.errors", PURE, "import trio\ntrio.BrokenResourceError", "no event loop"),
    ("trio440.lsp.session", PURE, "from trio440.lsp.client import Client", "cores only"),
    ("trio440.lsp.session", PURE, "from trio440.core import Chan", "cores only"),
    ("trio440.lsp.session", PURE, "async def f(x):\n    await x", "never waits"),
    ("trio440.lsp.session", PURE, "async def f(x):\n    async with x: pass", "never waits"),
    ("trio440.lsp.session", PURE, "async def f(x):\n    async for _ in x: pass", "never waits"),
    ("trio440.lsp.session", PURE, "import time", "ports.clock"),
    ("trio440.lsp.session", PURE, "import logging", "command line's business"),
    ("trio440.lsp.session", PURE, "import random\nrandom.random()", "ports.rng"),
    ("trio440.mining.jobs", PURE, "import numpy as np", "plain Python"),
    # shells
    ("trio440.lsp.client", SHELL, "import trio\nasync def f():\n    await trio.sleep(1)", "clock"),
    ("trio440.lsp.client", SHELL, "from trio import sleep_until as nap", "ports.clock"),
    ("trio440.lsp.client", SHELL, "import trio as t\nt.current_time()", "ports.clock"),
    ("trio440.lsp.client", SHELL, "import trio\nwith trio.fail_after(1): pass", "ports.clock"),
    ("trio440.lsp.client", SHELL, "import trio\nwith trio.fail_at(1): pass", "ports.clock"),
    ("trio440.lsp.client", SHELL, "from trio import move_on_after", "ports.clock"),
    ("trio440.lsp.client", SHELL, "from trio import move_on_at", "ports.clock"),
    ("trio440.lsp.client", SHELL, "import trio\ntrio.CancelScope(deadline=3)", "ports.clock"),
    ("trio440.lsp.client", SHELL, "from time import monotonic", "ports.clock"),
    ("trio440.lsp.client", SHELL, "import datetime\ndatetime.datetime.now()", "ports.clock"),
    ("trio440.lsp.client", SHELL, "from datetime import datetime\ndatetime.now()", "ports.clock"),
    ("trio440.lsp.client", SHELL, "import random\nrandom.choice([1])", "ports.rng"),
    ("trio440.lsp.client", SHELL, "from random import randrange", "ports.rng"),
    ("trio440.lsp.client", SHELL, "import random\nrandom.SystemRandom()", "ports.rng"),
    ("trio440.lsp.client", SHELL, "import os\nos.urandom(4)", "ports.rng"),
    ("trio440.lsp.client", SHELL, "import uuid", "ports.rng"),
    ("trio440.lsp.client", SHELL, "import trio\ntrio.to_thread.run_sync(f)", "ports.blocking"),
    ("trio440.lsp.client", SHELL, "from trio import to_thread", "ports.blocking"),
    ("trio440.lsp.client", SHELL, "import threading", "ports.blocking"),
    ("trio440.lsp.client", SHELL, "from concurrent.futures import Future", "ports.blocking"),
    ("trio440.lsp.client", SHELL, "import trio\ntrio.open_tcp_stream('h', 1)", "ports.net"),
    ("trio440.lsp.client", SHELL, "import trio\ntrio.socket.socket()", "ports.net"),
    ("trio440.lsp.client", SHELL, "import trio.socket", "ports.net"),
    ("trio440.lsp.client", SHELL, "import socket", "ports.net"),
    ("trio440.lsp.client", SHELL, "import trio\ntrio.lowlevel.wait_readable(3)", "ports.net"),
    ("trio440.lsp.client", SHELL, "open('file')", "ports.disk"),
    ("trio440.lsp.client", SHELL, "def f(path):\n    path.read_text()", "ports.disk"),
    ("trio440.lsp.client", SHELL, "def f(p):\n    return (p / 'x').write_bytes(b'')", "ports.disk"),
    ("trio440.lsp.client", SHELL, "from pathlib import Path", "ports.disk"),
    ("trio440.lsp.client", SHELL, "import subprocess", "start processes"),
    ("trio440.lsp.client", SHELL, "import trio\ntrio.lowlevel.spawn_system_task(f)", "an owner"),
    ("trio440.lsp.client", SHELL, "from trio._core import _run", "private"),
    ("trio440.lsp.client", SHELL, "print('hello')", "command line's business"),
    ("trio440.lsp.client", SHELL, "import asyncio", "one event loop"),
    ("trio440.lsp.client", SHELL, "import pickle", "never executed"),
    ("trio440.lsp.client", SHELL, "from trio import *", "cannot be read"),
    ("trio440.lsp.client", SHELL, "__import__('socket')", "cannot be read"),
    ("trio440.lsp.client", SHELL, "import importlib", "cannot be read"),
    # faces and commands
    ("trio440.lsp", FACE, "import trio", "only imports and exports"),
    ("trio440.lsp", FACE, "from trio440.mining import x", "not above mining"),
    ("trio440.cli.mine", COMMAND, "import trio\ntrio.sleep(1)", "ports.clock"),
    ("trio440.cli.mine", COMMAND, "import random\nrandom.random()", "ports.rng"),
    ("trio440.cli.mine", COMMAND, "import socket", "ports.net"),
]

GOOD = [
    ("trio440.lsp.session", PURE, "import random, attrs, msgspec, hashlib, base64, enum"),
    ("trio440.lsp.session", PURE, "import random\ndef f(rng: random.Random): rng.random()"),
    ("trio440.lsp.session", PURE, "from trio440.errors import BadMessage"),
    ("trio440.lsp.session", PURE, "from trio440.lsp.message import Data"),
    ("trio440.errors", PURE, "from trio import BrokenResourceError, ClosedResourceError"),
    ("trio440.lsp.client", SHELL, "import trio\nasync def f():\n    await trio.Event().wait()"),
    ("trio440.lsp.client", SHELL, "import trio\ntrio.CancelScope(shield=True)"),
    ("trio440.lsp.client", SHELL, "async def f(ports):\n    await ports.clock.sleep(1)"),
    ("trio440.lsp.client", SHELL, "def f(timeline): return timeline.time.sleep"),
    ("trio440.lsp.client", SHELL, "from trio440.core import REAL_HOST, Host, select"),
    ("trio440.core.real.net", REAL, "import socket, time, os, trio\ntrio.current_time()"),
    ("trio440.core.real.net", REAL, "from trio440.core.host import Net"),
    ("trio440.cli.mine", COMMAND, "import click, os\nfrom trio440.mining import x\nprint(os)"),
]


@pytest.mark.parametrize(("module", "kind", "source", "complaint"), BAD)
def test_bad_source_is_found(module: str, kind: str, source: str, complaint: str) -> None:
    found = problems(module, kind, read_module(source, module, is_package=kind == FACE))
    assert any(complaint in problem for problem in found), found


@pytest.mark.parametrize(("module", "kind", "source"), GOOD)
def test_good_source_passes(module: str, kind: str, source: str) -> None:
    assert problems(module, kind, read_module(source, module)) == []


def test_a_problem_names_its_line() -> None:
    touches = read_module("x = 1\n\nimport socket\n", "trio440.lsp.client")
    assert problems("trio440.lsp.client", SHELL, touches) == [
        f"trio440.lsp.client:3 touches socket: {NETWORK}"
    ]


def test_a_module_that_nobody_entered_has_no_kind() -> None:
    with pytest.raises(KeyError):
        kind_of("trio440.lsp.surprise")


def test_cycles_are_found_once() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [["a", "b", "c", "a"]]
    assert cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
