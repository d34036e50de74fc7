"""Traces of Raft that the commands write: sound to their last line, and one line if they cannot."""

import signal
from pathlib import Path

import pytest

from tests.support.processes import TRIO440, finished_here, started
from tests.support.raft_trace_model import Model

pytestmark = pytest.mark.real

REPLAY = ("sim", "replay", "raft", "--level", "A", "--seed", "3", "--profile", "hostile")


def read(path: Path) -> Model:
    model = Model()
    model.read(path.read_bytes().splitlines(keepends=True))
    return model


@pytest.mark.slow
def test_a_peer_tells_of_all_its_lives_in_one_file(tmp_path: Path) -> None:
    trace = tmp_path / "traces" / "n1.ndjson"
    serve = [*TRIO440, "raft", "serve", "--id", "n1", "--data", str(tmp_path / "n1"), "--new"]
    serve += ["--listen", "127.0.0.1:0", "--trace", str(trace)]
    serve += ["--election-seconds", "0.2"]
    for number in range(2):
        with started(serve) as peer:
            at = f"127.0.0.1:{peer.port()}"
            assert finished_here("raft", "put", "k", f"{number}", "--at", at)[0] == 0
            peer.signal(signal.SIGTERM)
            assert peer.end() == (0, "", "")
    assert len(read(trace).committed) >= 4
    assert trace.read_text().count('"InitState"') == 2


def test_a_replay_writes_what_all_its_peers_do_and_stays_the_same(tmp_path: Path) -> None:
    trace = tmp_path / "trace.ndjson"
    status, out, err = finished_here(*REPLAY, "--tla-trace", trace)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == f"level A: the peers' trace is in {trace}"
    assert out.splitlines()[1] == "level A: hash " + finished_here(*REPLAY, "--hash")[1].strip()
    model = read(trace)
    assert len(model.peers) > 2
    assert model.committed


def test_a_trace_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "trace"
    peer = ("raft", "serve", "--id", "n1", "--data", tmp_path / "n1", "--new")
    serve = (*peer, "--listen", "127.0.0.1:0", "--trace")
    for words, wanted, says in (
        ((*serve, below), 1, f"trio440: error: the trace {below} cannot be written: "),
        ((*serve, tmp_path), 2, f"File '{tmp_path}' is a directory."),
        ((*REPLAY, "--tla-trace", below), 2, f"{below.parent} is no directory"),
        (("sim", "replay", "lsp", "--seed", "1", "--tla-trace", tmp_path / "t"), 2, "raft has"),
    ):
        status, out, err = finished_here(*words)
        assert (status, out, err.count("\n")) == (wanted, "", 1)
        assert says in err
