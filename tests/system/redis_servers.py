"""Redis with others of its kind: a cluster of six, and a master with replicas that sentinels look after. Everything on 127.0.0.1."""

import random
import re
import subprocess

import redis

from servers import Program, port_is_free, until

NODE_TIMEOUT_MS = 2000
DOWN_AFTER_MS = 1500


def bus_free_port(taken):
    """A port that is free together with its cluster bus's (+ 10000), below those the kernel gives away."""
    while True:
        port = random.randrange(11000, 22000)
        if port not in taken and port_is_free(port) and port_is_free(port + 10000):
            taken.add(port)
            return port


class Server(Program):
    """redis-server on a port of its own, in a folder of its own; answers when the constructor returns."""

    def __init__(self, name, folder, port, *options):
        self.port, self.address = port, f"127.0.0.1:{port}"
        subprocess.run(["mkdir", "-p", f"{folder}/{name}"], check=True)
        usual = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--maxmemory-policy", "noeviction"]
        super().__init__(name, f"{folder}/{name}", ["redis-server", *usual, "--dir", f"{folder}/{name}", *options])
        self.client = redis.Redis(port=port, socket_timeout=10, decode_responses=True)
        until(f"{name} answers", 10, self.answers)

    def answers(self):
        try:
            return self.client.ping()
        except redis.exceptions.RedisError:
            return False

    def role(self):
        try:
            return self.client.info("replication")["role"]
        except redis.exceptions.RedisError:
            return None


class Cluster:
    """Three masters with a replica each."""

    def __init__(self, folder):
        taken = set()
        self.folder = folder
        self.nodes, self.slots = [], {}
        try:
            for number in range(6):
                self.nodes.append(self.start(number, bus_free_port(taken)))
            self.cli("--cluster", "create", *(node.address for node in self.nodes), "--cluster-replicas", "1", "--cluster-yes")
            until("every node knows the cluster", 20, self.whole)
        except BaseException:
            self.stop()
            raise

    def start(self, number, port):
        # every write is on disk before its reply: what a killed master acknowledged comes back with it
        return Server(
            f"cluster-{number}",
            self.folder,
            port,
            *("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-config-file", "nodes.conf"),
            *("--repl-diskless-sync-delay", "0", "--appendonly", "yes", "--appendfsync", "always"),
        )

    def cli(self, *arguments):
        done = subprocess.run(["redis-cli", *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"redis-cli {' '.join(arguments[:2])}: {done.stdout[-600:]}{done.stderr[-300:]}"
        return done.stdout

    def whole(self):
        """All nodes agree that it is well, and each master has its replica in step."""
        for node in self.nodes:
            try:
                info = node.client.execute_command("CLUSTER INFO")
                replication = node.client.info("replication")
            except redis.exceptions.RedisError:
                return False
            text = info if isinstance(info, str) else str(info)
            if not re.search(r"cluster_state\W+ok", text):
                return False
            if replication["role"] == "master" and replication["connected_slaves"] < 1:
                return False
            if replication["role"] == "slave" and replication["master_link_status"] != "up":
                return False
        return True

    def agreed(self):
        """All nodes have heard who has which slot."""
        done = subprocess.run(["redis-cli", "--cluster", "check", self.masters()[0].address], capture_output=True, text=True, timeout=60)
        return done.returncode == 0 and "[ERR]" not in done.stdout

    def move(self, giver, taker, slots):
        """The first of the giver's slots, live."""
        ids = [node.client.execute_command("CLUSTER MYID") for node in (giver, taker)]
        until("the nodes agree", 20, self.agreed, pause_s=0.3)
        self.cli(
            *("--cluster", "reshard", giver.address, "--cluster-from", ids[0], "--cluster-to", ids[1]),
            *("--cluster-slots", str(slots), "--cluster-yes"),
        )

    def begin_move(self, slot):
        """Opens one slot for its move and leaves it so: keys that are not there yet are asked for at the taker. Returns how to end it."""
        masters = self.masters()
        giver = next(node for node in masters if any(row[0] <= slot <= row[1] for row in self.ranges(node)))
        taker = next(node for node in masters if node is not giver)
        giver_id, taker_id = (node.client.execute_command("CLUSTER MYID") for node in (giver, taker))
        taker.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", giver_id)
        giver.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", taker_id)

        def end():
            keys = giver.client.execute_command("CLUSTER GETKEYSINSLOT", slot, 1000)
            if keys:
                giver.client.execute_command("MIGRATE", "127.0.0.1", taker.port, "", 0, 5000, "KEYS", *keys)
            for node in (taker, giver):
                node.client.execute_command("CLUSTER SETSLOT", slot, "NODE", taker_id)

        return end

    def ranges(self, node):
        """The slots that the node itself serves."""
        own = node.client.execute_command("CLUSTER NODES")[node.address]
        return [(int(part[0]), int(part[-1])) for part in own["slots"]]

    def masters(self):
        return [node for node in self.nodes if node.alive() and node.role() == "master"]

    def restart(self, node):
        number = self.nodes.index(node)
        self.nodes[number] = self.start(number, node.port)

    def client(self):
        return redis.RedisCluster(host="127.0.0.1", port=self.masters()[0].port, socket_timeout=10)

    def stop(self):
        for node in self.nodes:
            node.kill()


class Guarded:
    """A master, two replicas, three sentinels."""

    master_name = "mymaster"
    password, sentinel_password = "store-secret", "watch-secret"

    def __init__(self, folder):
        taken = set()
        self.servers, self.sentinels = [], []
        try:
            for number in range(3):
                follow = ["--replicaof", "127.0.0.1", str(self.servers[0].port)] if number else []
                self.servers.append(self.server(folder, number, bus_free_port(taken), follow))
            until("the replicas are in step", 20, lambda: self.servers[0].client.info("replication")["connected_slaves"] == 2)
            for number in range(3):
                self.sentinels.append(self.sentinel(folder, number, bus_free_port(taken)))
            until("the sentinels know each other", 20, self.agreed)
        except BaseException:
            self.stop()
            raise

    def server(self, folder, number, port, follow):
        server = Server(f"store-{number}", folder, port, "--repl-diskless-sync-delay", "0", *follow)
        server.client.config_set("masterauth", self.password)
        server.client.config_set("requirepass", self.password)
        server.client = redis.Redis(port=port, password=self.password, socket_timeout=10, decode_responses=True)
        return server

    def sentinel(self, folder, number, port):
        path = f"{folder}/sentinel-{number}.conf"
        name = self.master_name
        with open(path, "w") as file:
            file.write(
                f"port {port}\nbind 127.0.0.1\ndir {folder}\nrequirepass {self.sentinel_password}\n"
                f"sentinel monitor {name} 127.0.0.1 {self.servers[0].port} 2\nsentinel auth-pass {name} {self.password}\n"
                f"sentinel down-after-milliseconds {name} {DOWN_AFTER_MS}\nsentinel failover-timeout {name} 6000\n"
                f"sentinel parallel-syncs {name} 2\nsentinel sentinel-pass {self.sentinel_password}\n"
            )
        watcher = Program(f"sentinel-{number}", folder, ["redis-server", path, "--sentinel"])
        watcher.port, watcher.address = port, f"127.0.0.1:{port}"
        watcher.client = redis.Redis(port=port, password=self.sentinel_password, socket_timeout=10, decode_responses=True)
        return watcher

    def agreed(self):
        for watcher in self.sentinels:
            try:
                state = watcher.client.sentinel_master(self.master_name)
            except (redis.exceptions.RedisError, KeyError):
                return False
            if state["num-other-sentinels"] != 2 or state["num-slaves"] != 2:
                return False
        return True

    def master(self):
        for server in self.servers:
            if server.alive() and server.role() == "master":
                return server
        return None

    def stop(self):
        for process in self.sentinels + self.servers:
            process.kill()
