"""A TCP proxy on the loopback interface that spoils what passes through it, and can be told how while it runs.

    with Proxy(6379) as proxy:            # in front of 127.0.0.1:6379, on a port of its own
        connect_to(proxy.port)
        proxy.spoil(latency_ms=80)        # from here on; the arguments that are not named: unspoilt
        proxy.reset()                     # every connection there is ends with a TCP reset
        proxy.heal()

What spoil() takes, all for both directions where nothing else is said:
    latency_ms, jitter_ms   each piece arrives that much later (order is kept)
    bytes_per_s             bandwidth, per connection and direction
    hold                    nothing passes, nothing is lost: a network that stands still
    mute                    whatever connection there is or comes dies in silence and for good: no byte, no end, not even after
                            heal(). A peer that vanished, or whose state a firewall forgot: half-open
    refuse                  new connections are reset at once; those there are go on
    cut_bytes, cut_reset    each connection ends (in a reset, where cut_reset) once that many bytes have come from the server
    life_ms, life_reset     each connection ends (in a reset, where life_reset) that long after it began
    close_delay_ms          the end of a connection is passed on that much later: slow close
mute_now() makes only the connections there are half-open; new ones are as good as before.

One thread does all of it, so that what a test sees from outside is one proxy and not a race: commands take effect between two of
its turns. Bounds: HELD_MAX bytes under way in a direction, then the sender is made to wait; a connection past CONNECTIONS_MAX is
refused."""

import random
import select
import socket
import struct
import threading
import time
from collections import deque

HELD_MAX = 256 * 1024
PIECE_MAX = 16 * 1024
CONNECTIONS_MAX = 512
IDLE_S = 0.5
UNSPOILT = {
    "latency_ms": 0,
    "jitter_ms": 0,
    "bytes_per_s": 0,
    "hold": False,
    "mute": False,
    "refuse": False,
    "cut_bytes": 0,
    "cut_reset": False,
    "life_ms": 0,
    "life_reset": False,
    "close_delay_ms": 0,
}


def end_with_reset(sock):
    """SO_LINGER of 0 s: close() sends RST."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    sock.close()


class Flow:
    """One direction of a connection: what was read from source and is not yet written to sink."""

    def __init__(self, source, sink, from_server):
        self.source, self.sink, self.from_server = source, sink, from_server
        self.pieces = deque()  # (due, bytes)
        self.held = 0
        self.last_due = 0.0
        self.end_due = None  # when source's end is to be passed on; None: it has not ended
        self.ended = False  # passed on
        self.passed = 0  # bytes since the last spoil()
        self.next_write = 0.0  # by the bandwidth

    def wants_read(self):
        return self.end_due is None and self.held < HELD_MAX

    def write_due(self):
        """When there is something to do for the sink; None: nothing."""
        if self.pieces:
            return max(self.pieces[0][0], self.next_write)
        return self.end_due if self.end_due is not None and not self.ended else None


class Connection:
    def __init__(self, client, server):
        self.client, self.server = client, server
        self.up, self.down = Flow(client, server, False), Flow(server, client, True)
        self.muted = False
        self.born = time.monotonic()
        self.open = {client.fileno(): client, server.fileno(): server}

    def close(self, reset=False):
        for sock in self.open.values():
            end_with_reset(sock) if reset else sock.close()
        self.open = {}


class Proxy:
    def __init__(self, target_port, port=0):
        self.target = ("127.0.0.1", target_port)
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(128)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.spoilt = dict(UNSPOILT)
        self.connections = []
        self.accepted = self.cuts = self.bytes = 0
        self.orders = deque()
        self.bell, self.bell_rope = socket.socketpair()
        self.bell.setblocking(False)
        self.stopping = False
        self.thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self.thread.start()

    # ---- commands, from the test's thread: done when the call returns

    def _order(self, work):
        done = threading.Event()
        self.orders.append((work, done))
        self.bell_rope.send(b"!")
        assert done.wait(10), "the proxy does not take orders"

    def spoil(self, **how):
        unknown = how.keys() - UNSPOILT.keys()
        assert not unknown, f"the proxy knows no {unknown}"
        self._order(lambda: self._spoil({**UNSPOILT, **how}))

    def heal(self):
        self._order(lambda: self._spoil(dict(UNSPOILT)))

    def reset(self):
        """Ends all connections with a reset."""
        self._order(lambda: self._end_all(True))

    def close_all(self):
        """Ends all connections as a process that exits does."""
        self._order(lambda: self._end_all(False))

    def mute_now(self):
        self._order(self._mute)

    def stop(self):
        if self.thread.is_alive():
            self._order(self._stop)
            self.thread.join(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    # ---- the thread

    def _spoil(self, how):
        self.spoilt = how
        for connection in self.connections:
            connection.down.passed = 0
        if how["mute"]:
            self._mute()

    def _mute(self):
        for connection in self.connections:
            connection.muted = True

    def _end_all(self, reset):
        for connection in self.connections:
            connection.close(reset)
        self.connections = []

    def _stop(self):
        self._end_all(True)
        self.listener.close()
        self.stopping = True

    def _obey(self):
        try:
            self.bell.recv(4096)
        except BlockingIOError:
            pass
        while self.orders:
            work, done = self.orders.popleft()
            work()
            done.set()

    def _run(self):
        while not self.stopping:
            watched, timeout_s = self._interests(time.monotonic())
            poller = select.poll()
            by_fd = {}
            for sock, connection, events in watched:
                poller.register(sock, events)
                by_fd[sock.fileno()] = connection
            happened = poller.poll(timeout_s * 1000)
            self._obey()
            if self.stopping:
                break
            for fd, events in happened:
                self._serve(fd, events, by_fd[fd])
            self._pass_on(time.monotonic())
            self._end_the_old(time.monotonic())
            self.connections = [c for c in self.connections if c.open]
        self.bell.close()

    def _interests(self, now):
        """What to wait for: [(socket, connection or None, events)], and how long at most. A muted connection's sockets are watched
        only for their ends."""
        watched = [(self.bell, None, select.POLLIN), (self.listener, None, select.POLLIN)]
        wait_s, life_s = IDLE_S, self.spoilt["life_ms"] / 1000
        for connection in self.connections:
            if life_s:
                wait_s = min(wait_s, connection.born + life_s - now)
            if connection.muted:
                watched += [(sock, connection, select.POLLRDHUP) for sock in connection.open.values()]
                continue
            wanted = {}
            for flow in (connection.up, connection.down) if not self.spoilt["hold"] else ():
                if flow.wants_read():
                    wanted[flow.source] = wanted.get(flow.source, 0) | select.POLLIN
                due = flow.write_due()
                if due is not None and due <= now:
                    wanted[flow.sink] = wanted.get(flow.sink, 0) | select.POLLOUT
                elif due is not None:
                    wait_s = min(wait_s, due - now)
            watched += [(sock, connection, events) for sock, events in wanted.items()]
        return watched, max(wait_s, 0)

    def _serve(self, fd, events, connection):
        if connection is None:
            if fd == self.listener.fileno():
                self._accept()
            return
        sock = connection.open.get(fd)
        if sock is None:
            return
        if connection.muted:
            del connection.open[fd]
            sock.close()  # this side has given up; the other one never hears of it
            return
        if self.spoilt["hold"]:
            return
        for flow in (connection.up, connection.down):
            if flow.source is sock and events & (select.POLLIN | select.POLLHUP | select.POLLERR) and flow.wants_read():
                self._read(connection, flow)
                break

    def _accept(self):
        try:
            client, _ = self.listener.accept()
        except OSError:
            return
        if self.spoilt["refuse"] or len(self.connections) >= CONNECTIONS_MAX:
            end_with_reset(client)
            return
        server = socket.socket()
        try:
            server.connect(self.target)  # loopback: at once, or refused
        except OSError:
            server.close()
            end_with_reset(client)
            return
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(client, server)
        connection.muted = self.spoilt["mute"]
        self.connections.append(connection)
        self.accepted += 1

    def _read(self, connection, flow):
        spoilt = self.spoilt
        now = time.monotonic()
        try:
            piece = flow.source.recv(PIECE_MAX)
        except BlockingIOError:
            return
        except OSError:
            connection.close(reset=True)
            return
        if not piece:
            flow.end_due = max(now + spoilt["close_delay_ms"] / 1000, flow.last_due)
            return
        if flow.from_server and spoilt["cut_bytes"]:
            left = spoilt["cut_bytes"] - flow.passed
            if len(piece) >= left:
                self._write_last(flow, piece[: max(left, 0)])
                connection.close(spoilt["cut_reset"])
                self.cuts += 1
                return
        flow.passed += len(piece)
        late_s = (spoilt["latency_ms"] + spoilt["jitter_ms"] * random.random()) / 1000
        flow.last_due = max(now + late_s, flow.last_due)
        flow.pieces.append((flow.last_due, piece))
        flow.held += len(piece)

    @staticmethod
    def _write_last(flow, piece):
        try:
            for held in [held for _, held in flow.pieces] + [piece]:
                flow.sink.send(held)
        except OSError:
            pass

    def _end_the_old(self, now):
        life_s = self.spoilt["life_ms"] / 1000
        for connection in self.connections if life_s else ():
            if connection.open and not connection.muted and connection.born + life_s <= now:
                connection.close(self.spoilt["life_reset"])
                self.cuts += 1

    def _pass_on(self, now):
        if self.spoilt["hold"]:
            return
        for connection in self.connections:
            if connection.muted:
                continue
            for flow in (connection.up, connection.down) if connection.open else ():
                try:
                    self._write(flow, now)
                except BlockingIOError:
                    pass
                except OSError:
                    connection.close(reset=True)
                    break
            if connection.up.ended and connection.down.ended:
                connection.close()

    def _write(self, flow, now):
        rate = self.spoilt["bytes_per_s"]
        while flow.pieces and flow.write_due() <= now:
            due, piece = flow.pieces[0]
            sent = flow.sink.send(piece[: max(rate // 50, 1)] if rate else piece)
            self.bytes += sent
            flow.held -= sent
            if rate:
                flow.next_write = max(flow.next_write, now - 0.02) + sent / rate
            if sent == len(piece):
                flow.pieces.popleft()
            else:
                flow.pieces[0] = (due, piece[sent:])
        if not flow.pieces and flow.end_due is not None and flow.end_due <= now and not flow.ended:
            flow.ended = True
            try:
                flow.sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # gone already


if __name__ == "__main__":  # by hand: proxy.py TARGET_PORT [PORT], then a line a command: spoil latency_ms=80 · reset · heal …
    import sys

    with Proxy(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0) as running:
        print(f"127.0.0.1:{running.port} -> 127.0.0.1:{sys.argv[1]}", flush=True)
        for line in sys.stdin:
            verb, *pairs = line.split() or [""]
            if verb in ("reset", "heal", "mute_now", "close_all", "spoil"):
                getattr(running, verb)(**{name: int(value) for name, value in (pair.split("=") for pair in pairs)})
