"""What is compared with what: the programs of each group, and the rows of the table."""

from typing import NamedTuple, Optional


class Group(NamedTuple):
    """Programs whose lines the rows of the group are made of."""

    ours: list  # an example and its arguments
    theirs: str  # a subcommand of peer-bench
    cores: int = 1
    pages: int = 160  # of 2 MiB, that DPDK's program takes


class Line(NamedTuple):
    """Lines of one side. In params `#` stands for digits, `*` for anything."""

    bench: str
    params: str


class Row(NamedTuple):
    group: str
    name: str
    goal: float  # ours / theirs, to reach
    ours: list
    theirs: list
    worst: bool = False  # of several lines of ours the slowest counts, not the best
    unit: Optional[str] = None  # nanoseconds, if nothing else


GROUPS = {
    "ring": Group(["bench_ring"], "ring", cores=2),
    "mempool": Group(["bench_mempool"], "mempool"),
    "hash": Group(["bench_hash"], "hash", pages=1024),
    "lpm": Group(["bench_lpm", "v4"], "lpm", pages=512),
    "lpm6": Group(["bench_lpm", "v6"], "lpm6", pages=640),
    "acl": Group(["bench_acl"], "acl"),
    "timer": Group(["bench_timer"], "timer", pages=192),
    "rcu": Group(["bench_rcu"], "rcu", cores=2),
    "meter": Group(["bench_meter"], "meter"),
    "rss": Group(["bench_rss"], "thash"),
    "checksum": Group(["bench_checksum"], "cksum"),
    "forward": Group(["forward", "--sessions", "100000", "--routes", "100000"], "fwd"),
}


def same(group, name, goal, bench, params, **more):
    """A row whose lines have the same name on both sides."""
    return Row(group, name, goal, [Line(bench, params)], [Line(bench, params)], **more)


def ring():
    for mode in ("sp/sc", "mp/mc"):
        yield same("ring", f"ring {mode}, 1 core, bulk 32", 0.7, "ring.1core", f"{mode} bulk=32 slots=*")
    for mode in ("sp/sc", "mp/mc"):
        params = f"{mode} bulk=32 slots=* one producer one consumer, *"
        yield same("ring", f"ring {mode}, 2 cores, bulk 32", 0.7, "ring.2core", params)
    yield same("ring", "ring mp/mc, 1 core, bulk 1", 1.0, "ring.1core", "mp/mc bulk=1 slots=*")


def mempool():
    yield same("mempool", "mempool cached get+put, bulk 32", 1.0, "mempool", "cache=256 bulk=32 get+put, *")
    yield same("mempool", "mbuf alloc+free", 0.7, "mbuf", "alloc+free bulk=1, *")
    yield same("mempool", "mbuf alloc+free, bulk 32", 0.7, "mbuf", "alloc_bulk+free_bulk 32, *")


def hashes():
    for slots, size in ((1 << 20, "1M"), (1 << 23, "8M")):
        for bytes_, key in ((16, "16 B"), (40, "40 B")):
            tag = f"rte_hash key={bytes_}B slots={slots} used=#"
            name = f"hash {size} slots, {key} key"
            for what, goal in (
                ("bulk 32, hit uniform", 0.8),
                ("bulk 32, hit zipf(1)", 0.8),
                ("bulk 32, miss", 0.8),
                ("single, hit uniform", 0.6),
                ("single, hit zipf(1)", 0.6),
            ):
                if bytes_ == 16 or what.startswith("bulk 32, hit"):
                    yield same("hash", f"{name}, {what}", goal, "hash.lookup", f"{tag} {what}")
            if bytes_ == 16:
                yield same("hash", f"{name}, insert at load", 0.5, "hash.insert", f"{tag} at load, *")
                yield same("hash", f"{name}, memory", 1.0, "hash.memory", tag, unit="B/key")


def lpm():
    for kind in ("uniform 32-bit", "uniform over routes", "zipf(1) over 64k flows"):
        fib = Line("fib.lookup", f"rte_fib dir24_8 * bulk 32, 500000 routes, {kind}")
        lpm_ = Line("lpm.lookup", f"rte_lpm *, 500000 routes, {kind}")
        yield Row("lpm", f"IPv4 lookup, 500k routes, {kind}", 0.9, [fib], [fib, lpm_])
    for what, bench, goal in (("announce", "add", 1.0), ("withdraw", "delete", 1.0)):
        params = "rte_fib 500000 routes, one random route"
        yield same("lpm", f"IPv4 {what}, 500k routes", goal, f"fib.{bench}", params)
    params = "rte_fib dir24_8 500000 routes, whole build, *"
    yield same("lpm", "IPv4 load of 500k routes, a route", 0.8, "fib.build", params)
    for n in ("100000", "200000"):
        for kind in ("uniform over routes", "zipf(1) over 64k routes"):
            params = f"rte_fib6 trie * bulk 32, {n} routes, {kind}"
            yield same("lpm6", f"IPv6 lookup, {n} routes, {kind}", 0.9, "fib6.lookup", params)
        params = f"rte_fib6 trie {n} routes*"
        yield same("lpm6", f"IPv6 memory, {n} routes", 0.3, "fib6.memory", params, unit="MiB")


def acl():
    for n in (100, 1000, 10_000):
        for batch in (32, 256):
            params = f"{n} rules, *, batch {batch}, uniform over rules"
            yield same("acl", f"ACL {n} rules, batch {batch}", 1.0, "acl.classify", params)
        yield same("acl", f"ACL {n} rules, build", 0.5, "acl.build", f"{n} rules")
        params = f"{n} rules, one random rule"
        change = [Line("acl.add", params), Line("acl.remove", params)]
        build = [Line("acl.build", f"{n} rules")]
        yield Row("acl", f"ACL {n} rules, one change", 0.001, change, build, worst=True)


def rest():
    pending = "1000000 pending"
    yield same("timer", "aging, re-arm, 1M pending", 0.01, "timer", f"re-arm one of {pending}")
    yield same("timer", "aging, expiry, 1M pending", 1.0, "timer", f"expire in one manage, per timer, {pending}")
    yield same("rcu", "QSBR quiescent", 1.0, "rcu", "rte_rcu_qsbr_quiescent, no writer")
    for kind in ("srtcm", "trtcm"):
        for color in ("blind", "aware"):
            for where in ("one meter", "65536 meters at random"):
                params = f"{kind} colour-{color}, {where}"
                yield same("meter", f"meter {params}", 1.0, "meter", params)
    tuple_ = "IPv4 4-tuple 12B"
    yield same("rss", "Toeplitz IPv4", 1.0, "thash", f"rte_thash_gfni {tuple_}")
    yield same("rss", "Toeplitz IPv4, bulk 32", 1.0, "thash", f"rte_thash_gfni_bulk 32 {tuple_}")
    yield same("checksum", "checksum 64 B", 1.0, "cksum", "rte_raw_cksum 64B hot")
    for port, params in (("null", "net_null copy=0, l3 *"), ("ring", "net_ring loops, *, l3 *")):
        ours = [Line(f"fwd.{port}", "gateway")]
        yield Row("forward", f"NAT gateway, net_{port}, beside l3", 1.3, ours, [Line(f"fwd.{port}", params)])


ROWS = [*ring(), *mempool(), *hashes(), *lpm(), *acl(), *rest()]
