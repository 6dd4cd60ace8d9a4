/* peer-bench <subcommand> [EAL args]: DPDK primitives, one JSON line per figure */
#include "common.h"
#include <sys/mman.h>

double g_hz; int g_reps = 15, g_dirty; volatile uint64_t g_sink;

static int cmpd(const void *a, const void *b)
{ double x = *(const double *)a, y = *(const double *)b; return (x > y) - (x < y); }

static void head(const char *bench, const char *fmt, va_list ap)
{
	printf("{\"peer\":\"dpdk\",\"bench\":\"%s\",\"params\":\"", bench);
	vprintf(fmt, ap);
	printf("\"");
}
void emit(const char *bench, uint64_t ops, double *s, int n, const char *fmt, ...)
{
	va_list ap; va_start(ap, fmt); head(bench, fmt, ap); va_end(ap);
	qsort(s, n, sizeof *s, cmpd);
	printf(",\"ops\":%" PRIu64 ",\"reps\":%d,\"ns_per_op\":%.3f,\"min\":%.3f,\"max\":%.3f,\"preempted\":%d,\"samples\":[",
	       ops, n, n & 1 ? s[n / 2] : (s[n / 2] + s[n / 2 - 1]) / 2, s[0], s[n - 1], g_dirty);
	for (int i = 0; i < n; i++) printf("%s%.3f", i ? "," : "", s[i]);
	printf("]}\n");
	g_dirty = 0;
	fflush(stdout);
}
void emit_val(const char *bench, const char *unit, double v, const char *fmt, ...)
{
	va_list ap; va_start(ap, fmt); head(bench, fmt, ap); va_end(ap);
	printf(",\"unit\":\"%s\",\"value\":%.3f}\n", unit, v); fflush(stdout);
}
size_t heap_bytes(void)
{
	struct rte_malloc_socket_stats st;
	rte_malloc_get_socket_stats(rte_socket_id(), &st);
	return st.heap_allocsz_bytes;
}

/* Yardsticks of the machine itself, so that figures of other days can be read as ratios. */
int b_calib(void)
{
	uint64_t x = 88172645463325252ull; const uint64_t N = 2000000;
	MEASURE("calib", N, for (uint64_t i = 0; i < N; i++) { x *= 0x9E3779B97F4A7C15ull; __asm__ volatile("" : "+r"(x)); },
		"dependent 64-bit multiply (3 cycles)");
	g_sink += x;
	for (size_t kb = 16; kb <= 256 * 1024; kb *= 16) {
		for (int huge = 0; huge < 2; huge++) {
			size_t n = kb * 1024 / 64; char *m;
			if (huge) m = rte_malloc(NULL, n * 64, 64);
			else { m = mmap(NULL, n * 64, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
				madvise(m, n * 64, MADV_NOHUGEPAGE); }
			if (!m || m == MAP_FAILED) continue;
			uint32_t *p = malloc(n * 4); uint64_t s = 1;
			for (size_t i = 0; i < n; i++) p[i] = i;
			for (size_t i = n - 1; i; i--) { size_t j = sm64(&s) % i; uint32_t t = p[i]; p[i] = p[j]; p[j] = t; }
			for (size_t i = 0; i < n; i++) *(void **)(m + (size_t)i * 64) = m + (size_t)p[i] * 64;
			void *q = m; uint64_t K = kb > 4096 ? 50000 : 500000;
			MEASURE("calib", K, for (uint64_t i = 0; i < K; i++) q = *(void **)q;,
				"pointer chase %zu KiB, %s pages", kb, huge ? "2M" : "4k");
			g_sink += (uint64_t)q; free(p);
			if (huge) rte_free(m); else munmap(m, n * 64);
		}
	}
	return 0;
}

static const struct { const char *n; int (*f)(void); } cmds[] = {
	{"calib", b_calib}, {"ring", b_ring}, {"mempool", b_mempool}, {"lpm", b_lpm}, {"lpm6", b_lpm6},
	{"hash", b_hash}, {"acl", b_acl}, {"meter", b_meter}, {"sched", b_sched}, {"thash", b_thash},
	{"rcu", b_rcu}, {"timer", b_timer}, {"cksum", b_cksum}, {"memcpy", b_memcpy}, {"fwd", b_fwd},
};

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: %s SUBCOMMAND [EAL args]; subcommands:", argv[0]);
		for (size_t i = 0; i < RTE_DIM(cmds); i++) fprintf(stderr, " %s", cmds[i].n);
		fprintf(stderr, "\nPEER_REPS=n sets the repetitions\n");
		return 2;
	}
	const char *cmd = argv[1];
	if (getenv("PEER_REPS")) g_reps = atoi(getenv("PEER_REPS"));
	if (g_reps < 1) g_reps = 1;
	if (g_reps > 60) g_reps = 60;
	argv[1] = argv[0];
	if (rte_eal_init(argc - 1, argv + 1) < 0) { fprintf(stderr, "EAL: %s\n", rte_strerror(rte_errno)); return 1; }
	g_hz = rte_get_tsc_hz();
	for (size_t i = 0; i < RTE_DIM(cmds); i++)
		if (!strcmp(cmd, cmds[i].n)) { int r = cmds[i].f(); rte_eal_cleanup(); return r; }
	fprintf(stderr, "unknown subcommand %s\n", cmd);
	return 2;
}
