// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which huge pages can still be had when one base page of each 2 MiB of free memory is
 * pinned: those of the pool, those that the pool is to grow by, and transparent ones.
 */
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hgm_probe.h"

#define WANTED 4UL
#define SPARE (64UL << 20) /* bytes left free while memory is being filled */
#define PIPE_PAGES 256UL

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

/* ---- how many huge pages can be had ------------------------------------- */

static size_t of_the_pool(void)
{
	size_t length = WANTED * huge_size();
	long free = pool_counter("free_hugepages"), got;
	int fd = huge_memfd(WANTED);
	char *start = map_shared(fd, length, RESERVED);

	write_all(start, length, huge_size());
	got = free - pool_counter("free_hugepages");
	unmap(start, length);
	close(fd);
	return (size_t)got;
}

static size_t at_run_time(void)
{
	long total = pool_counter("nr_hugepages"), got;

	write_number(pool_file(huge_size(), "nr_hugepages"), total + (long)WANTED);
	got = pool_counter("nr_hugepages") - total;
	write_number(pool_file(huge_size(), "nr_hugepages"), total);
	return (size_t)got;
}

static size_t anonymous(void)
{
	size_t length = WANTED * PMD_PAGE, got;
	char *start = map_aligned(length, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	assert_error(advise(start, length, MADV_HUGEPAGE), 0);
	write_all(start, length, BASE_PAGE);
	got = (size_t)smaps_bytes(start, "AnonHugePages") / PMD_PAGE;
	unmap(start, length);
	return got;
}

static size_t of_tmpfs(bool locked)
{
	int mount = try_mount("tmpfs", "huge=always"), fd;
	size_t length = WANTED * PMD_PAGE, got;
	char *start;

	if (mount < 0)
		probe_skip("mount of tmpfs with huge=always: %s", error_name(-mount));
	fd = unnamed_file(mount);
	assert_errno(ftruncate(fd, (off_t)length), 0);
	start = map_aligned(length, MAP_SHARED, fd);
	if (locked)
		assert_errno(mlock(start, length), 0);
	write_all(start, length, BASE_PAGE);
	got = (size_t)smaps_bytes(start, "ShmemPmdMapped") / PMD_PAGE;
	unmap(start, length);
	close(fd);
	close(mount);
	return got;
}

static size_t shmem(void)
{
	return of_tmpfs(false);
}

static size_t shmem_locked(void)
{
	return of_tmpfs(true);
}

static const struct kind {
	const char *name;
	size_t (*count)(void);
} kinds[] = {
	{ "pool", of_the_pool },  { "run-time", at_run_time },		{ "thp", anonymous },
	{ "shmem-thp", shmem },	  { "shmem-thp-mlock", shmem_locked },
};
static size_t before[COUNT_OF(kinds)];

/* ---- fragmentation ------------------------------------------------------ */

/* References on one base page for each 2 MiB, in pipes that this process never closes. */
static void pin(char *page)
{
	static int ends[2];
	static size_t held;
	struct iovec part = { page, BASE_PAGE };

	if (held++ % PIPE_PAGES == 0) {
		assert_errno(pipe(ends), 0);
		assert_that(fcntl(ends[1], F_SETPIPE_SZ, PIPE_PAGES * BASE_PAGE) > 0,
			    "F_SETPIPE_SZ: %s", error_name(errno));
	}
	assert_bytes(vmsplice(ends[1], &part, 1, 0), BASE_PAGE);
}

/*
 * Takes transparent huge pages, at most COUNT and until the kernel has none, and gives all but
 * a pinned base page of each back. Returns how many.
 */
static size_t take_and_pin(size_t count)
{
	char *start = map_aligned(count * PMD_PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	size_t taken = 0;

	assert_error(advise(start, count * PMD_PAGE, MADV_HUGEPAGE), 0);
	for (; taken < count; taken++) {
		*(volatile char *)(start + taken * PMD_PAGE) = 1;
		if (smaps_bytes(start, "AnonHugePages") < (int64_t)((taken + 1) * PMD_PAGE))
			break;
	}
	for (size_t i = 0; i < taken; i++)
		assert_error(advise(start + i * PMD_PAGE + BASE_PAGE, PMD_PAGE - BASE_PAGE,
				    MADV_DONTNEED), 0);
	/* The pages are freed when their huge page is split, which this asks for. */
	assert_written("/proc/sys/vm/drop_caches", "2");
	for (size_t i = 0; i < taken; i++)
		pin(start + i * PMD_PAGE);
	return taken;
}

static void fragment_memory(void)
{
	size_t free, left, taken = 0, more;

	if (huge_size() != PMD_PAGE)
		probe_skip("--size %s: transparent huge pages have %s", size_name(huge_size()),
			   size_name(PMD_PAGE));
	probe_harms("fills memory");
	for (size_t i = 0; i < COUNT_OF(kinds); i++)
		before[i] = kinds[i].count();
	free = (size_t)meminfo_bytes("MemFree");
	if (free > SPARE)
		taken = take_and_pin((free - SPARE) / PMD_PAGE);
	/* The rest, now that memory is free again for all but huge pages. */
	for (; (more = take_and_pin(SPARE / PMD_PAGE)) > 0; taken += more)
		;
	left = (size_t)meminfo_bytes("MemFree");
	probe_note("%zu huge pages were taken, and given back but for a pinned base page of each",
		   taken);
	assert_that(left > free / 2, "%s are free, %s were: the huge pages were not split",
		    size_text((int64_t)left), size_text((int64_t)free));
}

static size_t count_now(size_t kind)
{
	size_t after;

	if (before[kind] < WANTED)
		probe_skip("%zu of %zu before memory was fragmented", before[kind], WANTED);
	after = kinds[kind].count();
	probe_note("%s: %zu of %zu huge pages", kinds[kind].name, after, WANTED);
	return after;
}

static void pool_holds(void)
{
	size_t got = count_now(0);

	assert_that(got == WANTED, "%zu of %zu free huge pages of the pool could be used", got,
		    WANTED);
}

static void count_run_time(void)
{
	count_now(1);
}

static void count_anonymous(void)
{
	count_now(2);
}

static void count_shmem(void)
{
	count_now(3);
}

static void count_locked(void)
{
	count_now(4);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "all free huge pages of the pool can be used in fragmented memory", pool_holds },
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
		.pages = 1,
		.pages_small = 4,
		.setup = fragment_memory,
		.test_ms = 120000,
	});
}
