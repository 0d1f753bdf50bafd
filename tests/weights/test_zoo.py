"""The zoo against a server on this machine: resumed, verified, whole or absent."""

import contextlib
import hashlib
import http.server
import io
import re
import threading

import numpy as np
import pytest
import torch

from weight_convert import CheckpointError, cli, download, read_state_dict, zoo


def checkpoint():
    buffer = io.BytesIO()
    torch.save({"model": {"w": torch.from_numpy(np.random.default_rng(0).standard_normal(200_000))}}, buffer)
    return buffer.getvalue()


DATA = checkpoint()
PREFIX = hashlib.sha256(DATA).hexdigest()[:8]


class Server(http.server.ThreadingHTTPServer):
    """Serves DATA; ``cuts`` are the numbers of bytes after which the next answers break off."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.cuts, self.status, self.ranges, self.data, self.asked = [], 200, True, DATA, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/model-{PREFIX}.pth"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if server.status != 200:
            return self.send_error(server.status)
        start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        size = len(server.data)
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if asked and server.ranges else 200)
        if asked and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else size
        with contextlib.suppress(ConnectionError):
            self.wfile.write(server.data[start : start + cut])
        self.close_connection = True
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("DETR_PARITY_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        monkeypatch.setitem(zoo.ZOO, "model", zoo.Entry("model", running.url, "a model"))
        yield running
        running.shutdown()
        thread.join()


def cache(tmp_path):
    return {path.name: path.stat().st_size for path in (tmp_path / "cache").iterdir()}


WHOLE = {f"model-{PREFIX}.pth": len(DATA)}


def test_fetched_once_then_from_the_cache(server, tmp_path):
    seen = []
    path = download.fetch(zoo.ZOO["model"], lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == DATA and cache(tmp_path) == WHOLE
    assert seen[0] == (0, len(DATA)) and seen[-1] == (len(DATA), len(DATA))
    assert download.fetch(zoo.ZOO["model"]) == path and server.asked == [None]


def test_an_interruption_is_continued_where_it_was(server, tmp_path):
    server.cuts = [500_000, 300_000]
    assert download.fetch(zoo.ZOO["model"]).read_bytes() == DATA
    assert server.asked == [None, "bytes=500000-", "bytes=800000-"]


def test_the_next_call_continues_what_the_last_one_left(server, tmp_path):
    server.cuts = [100_000, 100_000, 100_000]
    with pytest.raises(CheckpointError, match="300000 bytes are kept"):
        download.fetch(zoo.ZOO["model"])
    assert cache(tmp_path) == {f"model-{PREFIX}.pth.part": 300_000}
    assert download.fetch(zoo.ZOO["model"]).read_bytes() == DATA
    assert server.asked[-1] == "bytes=300000-" and cache(tmp_path) == WHOLE


def test_a_server_that_ignores_ranges(server, tmp_path):
    server.ranges, server.cuts = False, [500_000]
    assert download.fetch(zoo.ZOO["model"]).read_bytes() == DATA
    assert server.asked == [None, "bytes=500000-"]


def test_a_part_that_was_whole_already(server, tmp_path):
    part = zoo.cache_folder() / f"model-{PREFIX}.pth.part"
    part.write_bytes(DATA)
    assert download.fetch(zoo.ZOO["model"]).read_bytes() == DATA
    assert cache(tmp_path) == WHOLE


def test_a_part_longer_than_the_file_is_begun_again(server, tmp_path):
    part = zoo.cache_folder() / f"model-{PREFIX}.pth.part"
    part.write_bytes(DATA + b"x")
    assert download.fetch(zoo.ZOO["model"]).read_bytes() == DATA
    assert cache(tmp_path) == WHOLE


def test_a_wrong_file_is_removed(server, tmp_path):
    server.data = DATA[:-1] + b"x"
    with pytest.raises(CheckpointError, match=f"published is {PREFIX}"):
        download.fetch(zoo.ZOO["model"])
    assert cache(tmp_path) == {}
    (tmp_path / "cache" / f"model-{PREFIX}.pth").write_bytes(b"spoiled")
    with pytest.raises(CheckpointError, match="removed"):
        download.fetch(zoo.ZOO["model"])
    assert cache(tmp_path) == {}


@pytest.mark.parametrize("status", [404, 503])
def test_a_server_that_has_not_got_it(server, tmp_path, status):
    server.status = status
    with pytest.raises(CheckpointError, match=f"answers {status}"):
        download.fetch(zoo.ZOO["model"])
    assert cache(tmp_path) == {}


def test_nobody_answers(server, tmp_path, capsys, monkeypatch):
    with Server() as other:  # bound, then closed: the port refuses
        url = other.url
    monkeypatch.setitem(zoo.ZOO, "model", zoo.Entry("model", url, "a model"))
    assert cli.run(["model", str(tmp_path / "a.pkl")]) == 2
    err = capsys.readouterr().err
    assert "refused" in err and err.count("\n") == 1
    assert not (tmp_path / "a.pkl").exists() and cache(tmp_path) == {}


def test_silence_ends_in_an_error(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT", 0.1)
    monkeypatch.setattr(Handler, "do_GET", lambda self: threading.Event().wait(0.5))
    with pytest.raises(CheckpointError, match="timed out"):
        download.fetch(zoo.ZOO["model"])


def test_the_command_fetches_converts_and_lists(server, tmp_path, capsys):
    assert cli.run(["model", str(tmp_path / "a.pkl"), "--verify"]) == 0
    assert read_state_dict(tmp_path / "a.pkl")["w"].shape == (200_000,)
    assert cli.run(["model", str(tmp_path / "a.pkl")]) == 2  # exists: refused before anything is asked
    assert len(server.asked) == 1
    capsys.readouterr()
    assert cli.run(["zoo"]) == 0
    out = capsys.readouterr().out
    assert "https://dl.fbaipublicfiles.com/detr/detr-r50-e632da11.pth" in out
    assert out.count("\n") == 12 and all(len(entry.sha256_prefix) == 8 for entry in zoo.ZOO.values())


def test_a_file_of_that_name_comes_first(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").write_text("mine")
    assert cli.run(["model", "a.pkl"]) == 2
    assert server.asked == [] and "model: is not a checkpoint" in capsys.readouterr().err


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DETR_PARITY_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CheckpointError, match="DETR_PARITY_CACHE"):
        download.fetch(zoo.ZOO["resnet18"])
