"""Network faults between the worker and each of its peers: what it was asked for comes out right, once, and it says what is wrong.

Redis, the provider and the broker each stand behind proxy.py in turn; the faults are its. What a trial checks: fault_trial.py."""

import time

import servers
from fault_trial import Trial, readiness, settings
from proxy import Proxy
from servers import until
from world import case

IN_FLIGHT = 16
# The broker's lower bound for sessions is 6 s; with the defaults of 10 s each the same comes out, later.
QUICK_KAFKA = {"session.timeout.ms": "6000", "socket.timeout.ms": "3000", "reconnect.backoff.max.ms": "1000"}
REDIS_TIMEOUT_MS = 800
END_LIMIT_S = 20


def cutting(proxy):
    """For struck=: connections were cut since now."""
    before = proxy.cuts
    return lambda: proxy.cuts > before


def far_provider(proxy):
    """Sections with a model behind the proxy."""
    url = f"http://127.0.0.1:{proxy.port}/v1"
    provider = {"name": "far", "type": "openai", "base_url": url, "timeout_ms": 700, "concurrency_max": 64, "encoding": "base64"}
    model = {"name": "far", "kind": "embed", "provider": "far", "model": "all-MiniLM-L6-v2", "dimensions": 384}
    return {"providers": [provider], "models": [model]}


@case("network faults towards the provider: only what was lost is asked again, within its attempts", broker="real", fleet=False)
def towards_provider(w):
    with Proxy(int(w.stub.address.rpartition(":")[2])) as proxy:
        with w.worker("--kinds", "embed", config=w.config(**far_provider(proxy), **settings(IN_FLIGHT))) as worker:
            t = Trial(w, worker, IN_FLIGHT, model="far", counted=False)
            t.run("latency", lambda: proxy.spoil(latency_ms=60, jitter_ms=40), proxy.heal, works=True)
            t.run("narrow", lambda: proxy.spoil(bytes_per_s=8000), proxy.heal, works=True)
            t.run("reset once", proxy.reset, proxy.heal, lasts_s=0.3, works=True, repeats=IN_FLIGHT)
            t.run("refused", lambda: (proxy.spoil(refuse=True), proxy.reset()), proxy.heal, repeats=IN_FLIGHT)
            t.run("held shortly", lambda: proxy.spoil(hold=True), proxy.heal, lasts_s=0.4)
            # 2 s have room for three time-outs of 0.7 s
            t.run("held", lambda: proxy.spoil(hold=True), proxy.heal, lasts_s=2, repeats=4 * IN_FLIGHT)
            t.run("half-open", proxy.mute_now, proxy.heal, works=True, repeats=IN_FLIGHT)
            t.run("gone silent", lambda: proxy.spoil(mute=True), proxy.heal, repeats=IN_FLIGHT)
            slow_close = lambda: (proxy.spoil(close_delay_ms=1500), proxy.close_all())  # noqa: E731
            t.run("slow close", slow_close, proxy.heal, works=True, repeats=IN_FLIGHT)
            every = 12 * 50  # attempts_max of all requests: each answer is cut
            t.run("cut", lambda: proxy.spoil(cut_bytes=700), proxy.heal, works=True, repeats=every, struck=cutting(proxy))
            t.check()


@case("network faults towards the broker: nothing is lost, and what was done is not done again", broker="real", fleet=False)
def towards_broker(w):
    with Proxy(w.kafka.hidden_port, w.kafka.proxy_port) as proxy:
        kafka = {"brokers": f"127.0.0.1:{proxy.port}", "options": QUICK_KAFKA}
        with w.worker("--kinds", "embed", config=w.config(kafka=kafka, **settings(IN_FLIGHT))) as worker:
            t = Trial(w, worker, IN_FLIGHT)
            t.run("latency", lambda: proxy.spoil(latency_ms=60, jitter_ms=40), proxy.heal, works=True)
            t.run("narrow", lambda: proxy.spoil(bytes_per_s=20000), proxy.heal, works=True)
            t.run("reset once", proxy.reset, proxy.heal, lasts_s=0.3, works=True)
            t.run("refused", lambda: (proxy.spoil(refuse=True), proxy.reset()), proxy.heal, unready="producer: All broker")
            t.run("held", lambda: proxy.spoil(hold=True), proxy.heal, lasts_s=2)
            t.run("half-open", proxy.mute_now, proxy.heal, works=True)
            t.run("gone silent", lambda: proxy.spoil(mute=True), proxy.heal, lasts_s=8, unready="consumers: group")
            t.run("slow close", lambda: (proxy.spoil(close_delay_ms=1500), proxy.close_all()), proxy.heal, works=True)
            t.run("cut", lambda: proxy.spoil(cut_bytes=1500), proxy.heal, works=True, struck=cutting(proxy))
            t.run(
                "short lives",
                lambda: proxy.spoil(life_ms=300, life_reset=True),
                proxy.heal,
                lasts_s=2,
                works=True,
                struck=cutting(proxy),
            )
            t.check()
        group = "millrace.embed.bulk"
        behind = [row for row in w.kafka.committed(group, w.topic("embed", "bulk")).items() if row[1][0] != row[1][1]]
        assert not behind, f"not all is committed: {behind}"


@case("network faults towards Redis: work waits and passes, nothing is paid twice", broker="real", fleet=False)
def towards_redis(w):
    with Proxy(w.redis_port) as proxy:
        redis = {"url": f"redis://127.0.0.1:{proxy.port}/0", "timeout_ms": REDIS_TIMEOUT_MS}
        late, lost = "redis: does not answer in time", "redis: connect"
        with w.worker("--kinds", "embed", config=w.config(redis=redis, **settings(IN_FLIGHT))) as worker:
            t = Trial(w, worker, IN_FLIGHT)
            t.run("latency", lambda: proxy.spoil(latency_ms=40, jitter_ms=40), proxy.heal, works=True)
            t.run("narrow", lambda: proxy.spoil(bytes_per_s=30000), proxy.heal, works=True)
            t.run("reset once", proxy.reset, proxy.heal, lasts_s=0.3, works=True)
            t.run("refused", lambda: (proxy.spoil(refuse=True), proxy.reset()), proxy.heal, unready=lost)
            t.run("held", lambda: proxy.spoil(hold=True), proxy.heal, lasts_s=2, unready=late)
            t.run("half-open", proxy.mute_now, proxy.heal, unready=late, works=True)
            t.run("gone silent", lambda: proxy.spoil(mute=True), proxy.heal, lasts_s=2, unready=late)
            t.run("slow close", lambda: (proxy.spoil(close_delay_ms=1500), proxy.close_all()), proxy.heal, works=True)
            t.run("cut", lambda: proxy.spoil(cut_bytes=300), proxy.heal, struck=cutting(proxy))
            short_lives = lambda: proxy.spoil(life_ms=150, life_reset=True)  # noqa: E731
            t.run("short lives", short_lives, proxy.heal, lasts_s=2, works=True, struck=cutting(proxy))
            t.run("too slow", lambda: proxy.spoil(latency_ms=250, jitter_ms=350), proxy.heal, lasts_s=3, works=True)
            t.check()


def starting(w, config):
    """A worker that need not become ready."""
    w.count += 1
    admin = f"127.0.0.1:{servers.free_port()}"
    command = [f"{w.build}/millrace", "worker", "--kinds", "embed", "--config", config, "--admin", admin]
    worker = servers.Program(f"worker-{w.count}", w.folder, command)
    w.running.append(worker)
    until("the admin port answers", 10, lambda: not servers.port_is_free(int(admin.rpartition(":")[2])))
    return worker, admin


@case("a worker that starts before its peers says whom it waits for, and begins when they have come", broker="real", fleet=False)
def before_peers(w):
    with Proxy(w.redis_port) as redis, Proxy(w.kafka.hidden_port, w.kafka.proxy_port) as kafka:
        config = w.config(
            redis={"url": f"redis://127.0.0.1:{redis.port}/0", "timeout_ms": REDIS_TIMEOUT_MS},
            kafka={"brokers": f"127.0.0.1:{kafka.port}", "options": QUICK_KAFKA},
        )
        redis.spoil(mute=True)
        kafka.spoil(refuse=True)
        worker, admin = starting(w, config)

        def says(part, words):
            parts = readiness(admin)[1]
            return part in parts and words in parts[part]

        until("it says that redis is away", 10, lambda: says("redis", "in time"))
        until("it says that the broker is away", 20, lambda: says("topics", "broker") or says("topics", "Broker"), pause_s=0.2)
        redis.heal()
        until("redis is well", 15, lambda: says("redis", "ok"))
        assert readiness(admin)[0] == 503 and worker.alive(), worker.tail()
        kafka.heal()
        until("it is ready", 30, lambda: servers.ready(admin), pause_s=0.2)
        w.ask("embed", {"input": "after its peers", "model": "packed"})
        assert worker.stop() == 0, worker.tail()


@case("a worker ends in time though a peer is silent, and what it had in hand is done by the next one", broker="real", fleet=False)
def end_in_silence(w):
    for peer in ("redis", "kafka", "provider"):
        stub_port = int(w.stub.address.rpartition(":")[2])
        target = {"redis": (w.redis_port,), "kafka": (w.kafka.hidden_port, w.kafka.proxy_port), "provider": (stub_port,)}[peer]
        with Proxy(*target) as proxy:
            sections = {
                "redis": lambda: {"redis": {"url": f"redis://127.0.0.1:{proxy.port}/0", "timeout_ms": REDIS_TIMEOUT_MS}},
                "kafka": lambda: {"kafka": {"brokers": f"127.0.0.1:{proxy.port}", "options": QUICK_KAFKA}},
                "provider": lambda: far_provider(proxy),
            }[peer]()
            sections.setdefault("worker", {"inflight_max": IN_FLIGHT, "claim_lease_ms": 2000, "drain_ms": 1500})
            model = "far" if peer == "provider" else "packed"
            worker = w.start_worker("--kinds", "embed", config=w.config(**sections))
            w.stub.control(delay_ms=100)
            try:
                ids = [w.publish("embed", {"input": f"{peer} is silent {i}", "model": model}) for i in range(6)]
                proxy.spoil(mute=True)
                time.sleep(0.2)
                begun = time.monotonic()
                code = worker.stop(limit_s=END_LIMIT_S)
                took = time.monotonic() - begun
                print(f"    # {peer}: ended with {code} after {took:.1f} s", flush=True)
                assert code == 0, f"{peer}: exit code {code}\n{worker.tail()}"
            finally:
                w.stub.control(delay_ms=0)
            proxy.heal()
            with w.worker("--kinds", "embed", config=w.config(**far_provider(proxy))):
                for request_id in ids:
                    w.result(request_id)
