#!/usr/bin/env python3
"""Runs our programs and DPDK's in turns on the same CPUs and prints what compare.py makes of their lines.

  scripts/bench peers [--rows ring,hash] [--turns 3] [--repetitions 5] [--format table|json] [--chart FILE]

Conditions come with the figures: load before, stolen time and what other processes took meanwhile, pages.
As root huge pages are lent for the time of the run, unless memory is short, and given back however it ends.
"""

import argparse
import contextlib
import os
import resource
import signal
import subprocess
import sys

import chart
import compare
import rows

PAGE = 2 << 20
POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
FREE = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"
COMPACT = "/proc/sys/vm/compact_memory"
# Of the memory that is available, the share that may be lent.
SHARE = 0.5
# Memory is scattered after a while: so often it is asked to close up.
TRIES = 4
TIMEOUT = 1800


def read(path):
    with open(path) as file:
        return file.read()


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


class Pages:
    """Huge pages for DPDK: `lend` inside a `try`, `give_back` in its `finally`."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.lent = 0
        self.free = 0

    def lend(self):
        try:
            self.free = int(read(FREE))
            missing = self.wanted - self.free
            if missing > 0 and os.geteuid() == 0 and missing * PAGE < SHARE * available():
                self.ask(missing)
        except OSError as error:
            note(f"no huge pages: {error}")

    def ask(self, missing):
        before = int(read(POOL))
        for _ in range(TRIES):
            with held_signals():
                write(POOL, str(before + missing))
                self.lent = int(read(POOL)) - before
            self.free = int(read(FREE))
            if self.huge():
                return
            write(COMPACT, "1")
        note(f"{self.free} of {self.wanted} huge pages to be had: memory is scattered")
        self.give_back()

    def give_back(self):
        with held_signals():
            if self.lent:
                write(POOL, str(max(int(read(POOL)) - self.lent, 0)))
                self.lent = 0

    def huge(self):
        return self.free >= self.wanted


SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@contextlib.contextmanager
def held_signals():
    """Signals wait until the end of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def available():
    lines = dict(line.split(":") for line in read("/proc/meminfo").splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def note(text):
    print(text, file=sys.stderr, flush=True)


def end_on_signal(number, _):
    sys.exit(128 + number)


class Clock:
    """What the processors did since: stolen, others', and ours."""

    def __init__(self):
        self.start = self.now()

    @staticmethod
    def now():
        ticks = [int(word) for word in read("/proc/stat").splitlines()[0].split()[1:9]]
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return sum(ticks), ticks[3] + ticks[4], ticks[7], used.ru_utime + used.ru_stime

    def shares(self):
        total, idle, stolen, ours = (b - a for a, b in zip(self.start, self.now()))
        total = max(total, 1)
        ours *= os.sysconf("SC_CLK_TCK")
        others = max(total - idle - stolen - ours, 0)
        return {"stolen": stolen / total, "others": others / total}


class Sides:
    """How a program of either side is run."""

    def __init__(self, programs, dpdk, huge, repetitions):
        self.programs, self.dpdk, self.huge = programs, dpdk, huge
        self.cpus = sorted(os.sched_getaffinity(0))
        self.env = dict(os.environ, PEER_REPS=str(repetitions), PEER_HASH_ROWS="1")
        if not huge:
            self.env["BATON_4K"] = "1"

    def command(self, group, side):
        # Both sides' main thread on the last CPU, the second one of a ring on the first.
        cpus = f"{self.cpus[0]},{self.cpus[-1]}" if side == "dpdk" or group.cores > 1 else str(self.cpus[-1])
        pinned = ["nice", "-n", "-20"] if os.geteuid() == 0 else []
        pinned += ["taskset", "-c", cpus]
        if side == "ours":
            return [*pinned, os.path.join(self.programs, group.ours[0]), *group.ours[1:]]
        lcores = f"0@{self.cpus[-1]}" + (f",1@{self.cpus[0]}" if len(self.cpus) > 1 else "")
        memory = ["--in-memory"] if self.huge else ["--no-huge", "--no-shconf", "-m", str(2 * group.pages)]
        eal = ["--lcores", lcores, *memory, "--no-pci", "--log-level=error", "--force-max-simd-bitwidth=512"]
        return [*pinned, self.dpdk, group.theirs, *eal]

    def run(self, group, side):
        """The lines of one run; what it says against itself is passed on."""
        command = self.command(group, side)
        process = subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, err = process.communicate(timeout=TIMEOUT)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode or "WARNING" in err:
            note(f"  {side} ended with {process.returncode}: {err.strip()[-400:]}")
        return compare.parse(out)

    def has(self, group, side):
        return os.access(self.dpdk if side == "dpdk" else os.path.join(self.programs, group.ours[0]), os.X_OK)


def measure(sides, groups, turns):
    """All repetitions by line, of both sides; in every other turn DPDK goes first."""
    found = {"ours": [], "dpdk": []}
    for name in groups:
        group = rows.GROUPS[name]
        missing = [side for side in found if not sides.has(group, side)]
        if missing:
            note(f"{name}: not measured, no program of {' and '.join(missing)}")
            continue
        for turn in range(turns):
            for side in ("ours", "dpdk") if turn % 2 == 0 else ("dpdk", "ours"):
                note(f"{name}: turn {turn + 1} of {turns}, {side}")
                found[side] += sides.run(group, side)
    return [compare.pool(found[side]) for side in ("ours", "dpdk")]


def conditions(pages, arguments):
    model = next((l.split(":")[1].strip() for l in read("/proc/cpuinfo").splitlines() if l.startswith("model name")), "?")
    asked = subprocess.run(["pkg-config", "--modversion", "libdpdk"], capture_output=True, text=True)
    advice = read("/sys/kernel/mm/transparent_hugepage/enabled").strip()
    return {
        "machine": f"{os.cpu_count()} CPUs, {model}, Linux {os.uname().release}",
        "dpdk": asked.stdout.strip() or "?",
        "load before": " ".join(read("/proc/loadavg").split()[:3]),
        "pages": f"2 MiB of hugetlb on both sides; where the pool has not enough, ours by advice ({advice})"
        if pages.huge()
        else "4 KiB on both sides",
        "nice": -20 if os.geteuid() == 0 else 0,
        "repetitions": f"{arguments.turns} turns of {arguments.repetitions}",
    }


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench peers", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", default=",".join(rows.GROUPS), help="groups: " + ", ".join(rows.GROUPS))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=5, help="of each figure, in each turn")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--chart", help="where the SVG goes", default="peers.svg")
    parser.add_argument("--programs", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--dpdk", required=True, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.rows = [name for name in asked.rows.split(",") if name]
    unknown = [name for name in asked.rows if name not in rows.GROUPS]
    if not asked.rows:
        parser.error("no rows")
    if unknown or asked.turns < 1 or not 1 <= asked.repetitions <= 60:
        parser.error(f"no such rows: {', '.join(unknown)}" if unknown else "at least one turn, 1 to 60 repetitions")
    if asked.turns * asked.repetitions < 15:
        parser.error("a figure needs at least 15 repetitions: turns x repetitions")
    return asked


def main():
    asked = arguments()
    for number in SIGNALS:
        signal.signal(number, end_on_signal)
    pages = Pages(max(rows.GROUPS[name].pages for name in asked.rows))
    try:
        pages.lend()
        told = conditions(pages, asked)
        clock = Clock()
        sides = Sides(asked.programs, asked.dpdk, pages.huge(), asked.repetitions)
        ours, theirs = measure(sides, asked.rows, asked.turns)
        told.update({name: f"{share:.1%} of all CPU time" for name, share in clock.shares().items()})
    finally:
        pages.give_back()
    if not ours or not theirs:
        note("nothing was measured")
        return 1
    results = compare.join([row for row in rows.ROWS if row.group in asked.rows], ours, theirs)
    caption = f"{told['machine']}; DPDK {told['dpdk']}; load before {told['load before']}; stolen {told['stolen']}"
    write(asked.chart, chart.svg(results, caption))
    if asked.format == "json":
        print(compare.as_json(results, told))
    else:
        print("\n".join(f"{name}: {value}" for name, value in told.items()))
        print("\n" + compare.table(results) + "\n\n" + compare.summary(results))
    note(f"chart: {asked.chart}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
