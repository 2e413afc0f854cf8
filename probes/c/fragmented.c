// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which huge pages can still be had when one base page of each 2 MiB of free memory is
 * pinned: those of the pool, those that the pool is to grow by, and transparent ones.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hgm_probe.h"

#define PIPE_PAGES 256UL
/* Pages of a pipe of kernel memory, pipes at most, and of how many pages one is kept. */
#define LARGE_PIPE 4096UL
#define MOST_PIPES 500UL
#define KERNEL_STEP 256UL

/* ---- how many huge pages can be had ------------------------------------- */

/* Huge pages that are asked for. */
static size_t wanted(void)
{
	return huge_size() == PMD_PAGE ? 4 : 1;
}

static char *map_aligned(size_t length, int flags, int fd)
{
	return map_at(reserve_area(length, PMD_PAGE), length, flags, fd);
}

/* One write for each STEP bytes. */
static void write_all(char *start, size_t length, size_t step)
{
	for (size_t offset = 0; offset < length; offset += step)
		*(volatile char *)(start + offset) = 1;
}

static char *map_pool(void)
{
	int fd = huge_memfd(wanted());
	char *start = map_shared(fd, wanted() * huge_size(), RESERVED);

	close(fd);
	return start;
}

static size_t use_pool(char *start)
{
	long free = pool_counter("free_hugepages");

	write_all(start, wanted() * huge_size(), huge_size());
	return (size_t)(free - pool_counter("free_hugepages"));
}

/* The kernel's errno where no page can be added to a pool of this size at run time; else 0. */
static int fixed_pool;

static size_t grow_pool(char *start)
{
	long total = pool_counter("nr_hugepages"), got;
	char text[32];

	(void)start;
	snprintf(text, sizeof(text), "%ld", total + (long)wanted());
	fixed_pool = write_text(pool_file(huge_size(), "nr_hugepages"), text);
	if (fixed_pool)
		return 0;
	got = pool_counter("nr_hugepages") - total;
	write_number(pool_file(huge_size(), "nr_hugepages"), total);
	return (size_t)got;
}

static char *map_anonymous_thp(void)
{
	return map_thp(wanted() * PMD_PAGE);
}

static size_t use_thp(char *start)
{
	write_all(start, wanted() * PMD_PAGE, BASE_PAGE);
	return (size_t)smaps_bytes(start, "AnonHugePages") / PMD_PAGE;
}

static char *map_tmpfs(void)
{
	int mount = try_mount("tmpfs", "huge=always"), fd;
	size_t length = wanted() * PMD_PAGE;
	char *start;

	if (mount < 0)
		probe_skip("mount of tmpfs with huge=always: %s", error_name(-mount));
	fd = unnamed_file(mount);
	assert_errno(ftruncate(fd, (off_t)length), 0);
	start = map_aligned(length, MAP_SHARED, fd);
	close(fd);
	close(mount);
	return start;
}

static size_t use_tmpfs(char *start)
{
	write_all(start, wanted() * PMD_PAGE, BASE_PAGE);
	return (size_t)smaps_bytes(start, "ShmemPmdMapped") / PMD_PAGE;
}

static size_t lock_and_use_tmpfs(char *start)
{
	assert_errno(mlock(start, wanted() * PMD_PAGE), 0);
	return use_tmpfs(start);
}

static char *map_nothing(void)
{
	return NULL;
}

#define RUN_TIME 1
static const struct kind {
	const char *name;
	char *(*map)(void); /* memory of which nothing has been touched */
	size_t (*use)(char *start);
	bool of_2m; /* transparent huge pages, which have no other size */
} kinds[] = {
	{ "pool", map_pool, use_pool, false },
	[RUN_TIME] = { "run-time", map_nothing, grow_pool, false },
	{ "thp", map_anonymous_thp, use_thp, true },
	{ "shmem-thp", map_tmpfs, use_tmpfs, true },
	{ "shmem-thp-mlock", map_tmpfs, lock_and_use_tmpfs, true },
};
static size_t before[COUNT_OF(kinds)];
/*
 * By how much the pool grew beside kernel pages, and movable ones; -1 if it was not asked. What is
 * spared when memory is filled has blocks of 2 MiB, and none of 1 GiB.
 */
static int64_t grown_unmovable = -1, grown_movable = -1;
static char *early[COUNT_OF(kinds)]; /* mapped before memory is fragmented */

static bool is_possible(const struct kind *kind)
{
	if (kind->use == grow_pool && fixed_pool)
		return false;
	return huge_size() == PMD_PAGE || !kind->of_2m;
}

static bool is_grown_beside_others(void)
{
	return huge_size() != PMD_PAGE && !fixed_pool;
}

/* Maps, uses and unmaps WANTED huge pages. */
static size_t count(const struct kind *kind)
{
	char *start = kind->map();
	size_t got = kind->use(start);

	if (start)
		unmap(start, wanted() * huge_size());
	return got;
}

/* ---- fragmentation ------------------------------------------------------ */

static void make_pipe(int ends[2], size_t pages)
{
	assert_errno(pipe(ends), 0);
	assert_that(fcntl(ends[1], F_SETPIPE_SZ, pages * BASE_PAGE) > 0,
		    "F_SETPIPE_SZ of %zu pages: %s", pages, error_name(errno));
}

/* References on one base page for each 2 MiB, in pipes that this process never closes. */
static void pin(char *page)
{
	static int ends[2];
	static size_t held;
	struct iovec part = { page, BASE_PAGE };

	if (held++ % PIPE_PAGES == 0)
		make_pipe(ends, PIPE_PAGES);
	assert_bytes(vmsplice(ends[1], &part, 1, 0), BASE_PAGE);
}

/*
 * Takes transparent huge pages, at most MOST and until the kernel has none, and gives all but
 * a pinned base page of each back. Returns how many.
 */
static size_t take_and_pin(size_t most)
{
	char *start = map_aligned(most * PMD_PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	size_t taken = 0;

	assert_error(advise(start, most * PMD_PAGE, MADV_HUGEPAGE), 0);
	for (; taken < most; taken++) {
		*(volatile char *)(start + taken * PMD_PAGE) = 1;
		if (smaps_bytes(start, "AnonHugePages") < (int64_t)((taken + 1) * PMD_PAGE))
			break;
	}
	for (size_t i = 0; i < taken; i++)
		assert_error(advise(start + i * PMD_PAGE + BASE_PAGE, PMD_PAGE - BASE_PAGE,
				    MADV_DONTNEED), 0);
	/* The pages are freed when their huge page is split, which this asks for. */
	assert_written("/proc/sys/vm/drop_caches", "2");
	if (grown_movable < 0 && is_grown_beside_others())
		grown_movable = (int64_t)count(&kinds[RUN_TIME]);
	for (size_t i = 0; i < taken; i++)
		pin(start + i * PMD_PAGE);
	return taken;
}

/* Free memory that the kernel may use for itself: not that of CMA. */
static size_t free_for_kernel(void)
{
	int64_t cma = meminfo_bytes("CmaFree");

	return (size_t)(meminfo_bytes("MemFree") - (cma > 0 ? cma : 0));
}

static void write_pages(int pipe, size_t count)
{
	static const char page[BASE_PAGE];

	while (count--)
		assert_bytes(write(pipe, page, sizeof(page)), sizeof(page));
}

/*
 * Fills memory but for SPARE bytes with pages of pipes, which cannot be moved, and frees all but
 * one of KERNEL_STEP of them while the pool grows.
 */
static size_t grow_beside_kernel_memory(size_t spare)
{
	int kept[2], freed[MOST_PIPES][2];
	size_t pipes = 0, got;

	make_pipe(kept, MOST_PIPES * (LARGE_PIPE / KERNEL_STEP));
	for (; pipes < MOST_PIPES && free_for_kernel() > spare + LARGE_PIPE * BASE_PAGE; pipes++) {
		make_pipe(freed[pipes], LARGE_PIPE);
		for (size_t i = 0; i < LARGE_PIPE / KERNEL_STEP; i++) {
			write_pages(freed[pipes][1], KERNEL_STEP - 1);
			write_pages(kept[1], 1);
		}
		close(freed[pipes][1]);
	}
	while (pipes--)
		close(freed[pipes][0]);
	got = count(&kinds[RUN_TIME]);
	close(kept[0]);
	close(kept[1]);
	return got;
}

/* Free blocks of at least 2 MiB, by /proc/buddyinfo, outside of the zone for old devices. */
static size_t free_blocks(void)
{
	FILE *file = fopen("/proc/buddyinfo", "r");
	char line[512], zone[32];
	size_t blocks = 0;
	int used;

	assert_that(file, "/proc/buddyinfo: %s", error_name(errno));
	while (fgets(line, sizeof(line), file)) {
		const char *at = line;
		unsigned int order = 0;
		size_t count;

		if (sscanf(line, "Node %*d, zone %31s%n", zone, &used) != 1 || !strcmp(zone, "DMA"))
			continue;
		for (at += used; sscanf(at, "%zu%n", &count, &used) == 1; at += used, order++)
			if (BASE_PAGE << order >= PMD_PAGE)
				blocks += count * ((BASE_PAGE << order) / PMD_PAGE);
	}
	fclose(file);
	return blocks;
}

static void fragment_memory(void)
{
	size_t free, left, taken = 0, more, spare;

	probe_harms("fills memory");
	/* A page of 1 GiB goes back to where it came from, memory or CMA, to be asked for again. */
	if (huge_size() != PMD_PAGE)
		write_number(pool_file(huge_size(), "nr_hugepages"),
			     pool_counter("nr_hugepages") - (long)wanted());
	for (size_t i = 0; i < COUNT_OF(kinds); i++)
		before[i] = is_possible(&kinds[i]) ? count(&kinds[i]) : 0;
	for (size_t i = 0; i < COUNT_OF(kinds); i++)
		early[i] = is_possible(&kinds[i]) ? kinds[i].map() : NULL;
	/* Left free while memory is being filled: what the kernel keeps for itself, and page tables. */
	spare = (64UL << 20) + 3 * 1024 * (size_t)file_number("/proc/sys/vm/min_free_kbytes");
	if (is_grown_beside_others())
		grown_unmovable = (int64_t)grow_beside_kernel_memory(spare);
	free = (size_t)meminfo_bytes("MemFree");
	if (free > spare)
		taken = take_and_pin((free - spare) / PMD_PAGE);
	/* The rest, now that memory is free again for all but huge pages, and what compaction makes. */
	do {
		write_text("/proc/sys/vm/compact_memory", "1");
		more = take_and_pin(spare / PMD_PAGE);
		taken += more;
	} while (more > 0);
	left = (size_t)meminfo_bytes("MemFree");
	probe_note("%zu huge pages were taken, and given back but for a pinned base page of each; %zu "
		   "blocks of 2 MiB are free", taken, free_blocks());
	assert_that(left > free / 2, "%s are free, %s were: the huge pages were not split",
		    size_text((int64_t)left), size_text((int64_t)free));
}

/* MAPPED: before memory is fragmented, after; or what it is fragmented by, if not by pins. */
static void note(const struct kind *kind, const char *mapped, size_t got)
{
	probe_note("fragmented: memory=%s size=%zu mapped=%s got=%zu wanted=%zu", kind->name,
		   huge_size(), mapped, got, wanted());
}

/* Of one kind: of what was mapped before, and of what is asked for now. */
static void count_now(size_t which, size_t *of_early, size_t *of_late)
{
	const struct kind *kind = &kinds[which];

	if (kind->use == grow_pool && fixed_pool)
		probe_skip("a page of %s more in nr_hugepages: %s", size_name(huge_size()),
			   error_name(fixed_pool));
	if (!is_possible(kind))
		probe_skip("transparent huge pages have %s", size_name(PMD_PAGE));
	if (before[which] < wanted())
		probe_skip("%zu of %zu before memory was fragmented", before[which], wanted());
	if (early[which]) {
		*of_early = kind->use(early[which]);
		note(kind, "before", *of_early);
	}
	/*
	 * A page of 1 GiB is so much that the pool may have just the one that is mapped. It goes
	 * back to the pool, although the parent of this test has it mapped as well.
	 */
	if (kind->map == map_pool && pool_counter("free_hugepages") < (long)wanted())
		assert_error(advise(early[which], wanted() * huge_size(), MADV_REMOVE), 0);
	*of_late = count(kind);
	note(kind, "after", *of_late);
}

static void pool_holds(void)
{
	size_t of_early = wanted(), of_late = wanted();

	count_now(0, &of_early, &of_late);
	assert_that(of_early == wanted() && of_late == wanted(),
		    "of %zu huge pages of the pool %zu could be used that were reserved before, and %zu "
		    "that were free", wanted(), of_early, of_late);
}

static void count_run_time(void)
{
	count_now(RUN_TIME, &(size_t){ 0 }, &(size_t){ 0 });
	if (grown_unmovable >= 0)
		note(&kinds[RUN_TIME], "unmovable", (size_t)grown_unmovable);
	if (grown_movable >= 0)
		note(&kinds[RUN_TIME], "movable", (size_t)grown_movable);
}

static void count_anonymous(void)
{
	count_now(2, &(size_t){ 0 }, &(size_t){ 0 });
}

static void count_shmem(void)
{
	count_now(3, &(size_t){ 0 }, &(size_t){ 0 });
}

static void count_locked(void)
{
	count_now(4, &(size_t){ 0 }, &(size_t){ 0 });
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "all huge pages of the pool, reserved or free, can be used in fragmented memory",
		  pool_holds },
		{ "huge pages that the pool grows by in fragmented memory are counted",
		  count_run_time },
		{ "transparent huge pages of anonymous fragmented memory are counted",
		  count_anonymous },
		{ "transparent huge pages of shmem in fragmented memory are counted", count_shmem },
		{ "transparent huge pages of shmem under mlock in fragmented memory are counted",
		  count_locked },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 2,
		.pages_small = 8,
		.setup = fragment_memory,
		.test_ms = 120000,
	});
}
