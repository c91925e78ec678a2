"""Redis as a cluster, and behind Sentinel: slots on the move and masters killed while requests flow. Results are written to a replica
too before they count (redis.wait_replicas), since what only the killed master had is gone with it."""

import json
import threading
import time
import urllib.error
import urllib.request

import shapes
from records import publish_many
from redis_servers import Cluster, Guarded
from servers import until
from world import case

PAUSE_S = 0.15
BATCH = 12


class Flow:
    """Publishes requests until it is told to end; knows the ids of all."""

    def __init__(self, w, topic, hint):
        self.w, self.topic, self.hint = w, topic, hint
        self.ids, self.fault = [], None
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        try:
            while not self.ending.wait(PAUSE_S):
                batch = [
                    {"id": f"{self.hint}-{len(self.ids) + i:05d}", "input": f"{self.hint} text {len(self.ids) + i}", "model": "packed"}
                    for i in range(BATCH)
                ]
                publish_many(self.w.brokers, self.topic, batch)
                self.ids += [request["id"] for request in batch]
        except Exception as e:  # told by the one who waits
            self.fault = e

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join(30)
        assert self.fault is None, f"publishing failed: {self.fault}"


def read_all(client, ids):
    """{id: result} of those that there are."""
    found = {}
    for request_id in ids:
        text = client.get(f"mr:{{default:{request_id}}}:result")
        if text:
            found[request_id] = json.loads(text)
    return found


def check_all(client, flow, limit_s=45):
    missing = set(flow.ids)

    def done():
        missing.difference_update(read_all(client, list(missing)))
        return not missing

    try:
        until("all results", limit_s, done, pause_s=0.3)
    except AssertionError as e:
        raise AssertionError(f"{e}: {len(missing)} of {len(flow.ids)} are missing, {sorted(missing)[:5]}") from None
    for request_id, result in read_all(client, flow.ids).items():
        shapes.check_result(result, "embed", "ok", request_id)


def readiness(worker):
    """(ready, why not)"""
    try:
        with urllib.request.urlopen(f"http://{worker.admin}/ready", timeout=5) as answer:
            return True, answer.read().decode()
    except urllib.error.HTTPError as e:
        return False, e.read().decode()


def settings(w, prefix, **redis):
    return w.config(
        kafka={"prefix": prefix},
        redis={"timeout_ms": 1000, "wait_replicas": 1, **redis},
        worker={"inflight_max": 64, "claim_lease_ms": 3000},
    )


def see_by_command(w, config, request_id):
    code, out, err = w.millrace("result", request_id, "--json", config=config)
    assert code == 0, f"millrace result: {code} {err}"
    shapes.check_result(json.loads(out), "embed", "ok", request_id)


def half_moved(w, cluster, flow, config):
    """A slot between two nodes: what is there already is found, what is new waits for the move to end. (A script's keys must all be on
    one side.)"""
    request_id = "hac-moving"
    key = f"mr:{{default:{request_id}}}:result"
    end = cluster.begin_move(cluster.nodes[0].client.execute_command("CLUSTER KEYSLOT", key))
    publish_many(w.brokers, flow.topic, [{"id": request_id, "input": "text of a moving slot", "model": "packed"}])
    flow.ids.append(request_id)
    code, _, err = w.millrace("result", request_id, "--wait", "1s", "--json", config=config)
    assert code == 3, f"millrace result: {code} {err}"
    end()
    until("the result from the slot that moved", 15, lambda: read_all(cluster.client(), [request_id]))


@case("a cluster of six: slots move and a master dies while requests flow, and nothing is lost", broker="real", fleet=False)
def cluster(w):
    cluster = Cluster(w.folder)
    try:
        config = settings(w, "hac", url=f"redis://{cluster.nodes[0].address}", cluster=True)
        worker = w.start_worker("--kinds", "embed", config=config)
        with Flow(w, "hac.embed.bulk", "hac") as flow:
            until("requests flow", 20, lambda: len(flow.ids) > 5 * BATCH)
            first, second = cluster.masters()[:2]
            cluster.move(first, second, 500)
            cluster.move(second, first, 500)
            half_moved(w, cluster, flow, config)
            until("the nodes agree", 20, cluster.agreed, pause_s=0.3)
            victim = cluster.masters()[0]
            victim.kill()
            ready, why = until("the worker says that a node is gone", 10, lambda: (lambda r: r if not r[0] else None)(readiness(worker)))
            assert f":{victim.port}" in why, why
            until("a replica takes over", 20, lambda: len(cluster.masters()) == 3)
            cluster.restart(victim)
            until("the worker is ready again", 20, worker.ready)
            time.sleep(1)
        check_all(cluster.client(), flow)
        until("the cluster is whole again", 20, cluster.whole)
        for request_id in (flow.ids[0], flow.ids[len(flow.ids) // 2], flow.ids[-1]):
            see_by_command(w, config, request_id)
        assert worker.stop() == 0, worker.tail()
    except AssertionError as e:
        raise AssertionError(f"{e}\n{worker.tail() if 'worker' in locals() else ''}") from None
    finally:
        cluster.stop()


@case("Sentinel: the master dies while requests flow; the worker follows to the new one, and nothing is lost", broker="real", fleet=False)
def sentinel(w):
    guarded = Guarded(w.folder)
    try:
        config = settings(
            w,
            "has",
            password=guarded.password,
            sentinel={
                "master": guarded.master_name,
                "nodes": ["127.0.0.1:1"] + [watcher.address for watcher in guarded.sentinels],
                "password": guarded.sentinel_password,
            },
        )
        worker = w.start_worker("--kinds", "embed", config=config)
        with Flow(w, "has.embed.bulk", "has") as flow:
            until("requests flow", 20, lambda: len(flow.ids) > 5 * BATCH)
            victim = guarded.master()
            victim.kill()
            guarded.sentinels[0].kill()  # the one the worker asked
            until("the worker says so", 10, lambda: not readiness(worker)[0])
            until("a replica is the master", 30, guarded.master)
            until("the worker is ready again", 20, worker.ready)
            time.sleep(1)
        check_all(guarded.master().client, flow)
        for request_id in (flow.ids[0], flow.ids[-1]):
            see_by_command(w, config, request_id)
        assert worker.stop() == 0, worker.tail()
    except AssertionError as e:
        raise AssertionError(f"{e}\n{worker.tail() if 'worker' in locals() else ''}") from None
    finally:
        guarded.stop()
