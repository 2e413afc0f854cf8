// SPDX-License-Identifier: GPL-2.0-only
/*
 * The pool's size and its limit of surplus pages, as they are written to sysfs and
 * to /proc/sys/vm: what a page in use, a reservation and a fault make of them, and
 * that each file that shows the pool shows the same.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hgm_probe.h"

#define SYSCTL "/proc/sys/vm/"

static void resize(long count)
{
	write_number(pool_file(huge_size(), "nr_hugepages"), count);
}

static void allow_surplus(long count)
{
	write_number(pool_file(huge_size(), "nr_overcommit_hugepages"), count);
}

static void assert_state(long total, long free, long reserved, long surplus, const char *when)
{
	struct pool now = pool_now();

	assert_that(now.total == total && now.free == free && now.reserved == reserved &&
		    now.surplus == surplus,
		    "the pool %s: %ld in total, %ld free, %ld reserved, %ld surplus, "
		    "expected %ld, %ld, %ld, %ld", when, now.total, now.free, now.reserved,
		    now.surplus, total, free, reserved, surplus);
}

/* Each of COUNT huge pages gets a write. */
static void touch_all(char *start, long count)
{
	for (long page = 0; page < count; page++)
		*(volatile char *)(start + page * (long)huge_size()) = 1;
}

/* Like write_number(), of what is not to be taken. */
static void assert_refused(const char *path, const char *text)
{
	int error = write_text(path, text);

	assert_that(error == EINVAL, "writing %s to %s: expected EINVAL, got %s", text, path,
		    error_name(error));
}

static void need_default_size(void)
{
	int64_t size = meminfo_bytes("Hugepagesize");

	if (size != (int64_t)huge_size())
		probe_skip("/proc/sys/vm has the pool of %s", size_text(size));
}

/* The files of /proc/sys/vm that size the pool: each does, and shows what the other has done. */
static void resize_by_sysctl(void)
{
	static const char *const files[] = {
		SYSCTL "nr_hugepages", SYSCTL "nr_hugepages_mempolicy",
	};
	long total = pool_counter("nr_hugepages"), free = pool_counter("free_hugepages");

	need_default_size();
	for (size_t i = 0; i < COUNT_OF(files); i++) {
		probe_about("%s", files[i]);
		write_number(files[i], total - 2);
		assert_state(total - 2, free - 2, 0, 0, "after two pages less were written");
		for (size_t j = 0; j < COUNT_OF(files); j++)
			assert_that(file_number(files[j]) == total - 2, "%s shows %ld, expected %ld",
				    files[j], file_number(files[j]), total - 2);
		write_number(files[i], total);
		assert_state(total, free, 0, 0, "after the size was written that it had");
		assert_refused(files[i], "many");
		assert_state(total, free, 0, 0, "after a word was written");
	}
}

static void resize_by_sysfs(void)
{
	static const char *const files[] = { "nr_hugepages", "nr_hugepages_mempolicy" };
	long total = pool_counter("nr_hugepages"), free = pool_counter("free_hugepages");
	const char *path;

	for (size_t i = 0; i < COUNT_OF(files); i++) {
		probe_about("%s", files[i]);
		path = pool_file(huge_size(), files[i]);
		write_number(path, total - 2);
		assert_state(total - 2, free - 2, 0, 0, "after two pages less were written");
		path = pool_file(huge_size(), files[i]);
		assert_that(file_number(path) == total - 2, "%s shows %ld, expected %ld", path,
			    file_number(path), total - 2);
		write_number(path, total);
		assert_state(total, free, 0, 0, "after the size was written that it had");
		assert_refused(pool_file(huge_size(), files[i]), "many");
		assert_refused(pool_file(huge_size(), files[i]), "-1");
		assert_state(total, free, 0, 0, "after what is not a number was written");
	}
}

/* What is in use becomes surplus, and goes when it is freed; a larger pool takes it back. */
static void shrink_below_use(void)
{
	char *start;

	resize(4);
	start = map_private_huges(4, RESERVED);
	touch_all(start, 2);
	assert_state(4, 2, 2, 0, "with two pages used and two reserved");
	resize(0);
	assert_state(4, 2, 2, 4, "after 0 was written");
	resize(3);
	assert_state(4, 2, 2, 1, "after 3 was written");
	touch_all(start, 4);
	assert_state(4, 0, 0, 1, "with all pages used");
	unmap(start, 4 * huge_size());
	assert_state(3, 3, 0, 0, "after munmap");
}

static void reserve_beyond(long allowed)
{
	long count = allowed + 1;
	void *start = mmap(NULL, (size_t)count * huge_size(), PROT_READ | PROT_WRITE,
			   MAP_SHARED, huge_memfd((size_t)count), 0);

	assert_that(start == MAP_FAILED && errno == ENOMEM,
		    "mmap of %ld huge pages where %ld can be had: expected ENOMEM, got %s", count,
		    allowed, start == MAP_FAILED ? error_name(errno) : "success");
}

static void surplus_by_reservation(void)
{
	char *start;

	resize(1);
	reserve_beyond(1);
	assert_state(1, 1, 0, 0, "after an mmap that was refused without a limit");
	allow_surplus(2);
	reserve_beyond(3);
	assert_state(1, 1, 0, 0, "after an mmap beyond the limit");
	start = map_private_huges(3, RESERVED);
	assert_state(3, 3, 3, 2, "after an mmap up to the limit");
	reserve_beyond(0);
	assert_state(3, 3, 3, 2, "after an mmap beyond that");
	touch_all(start, 2);
	assert_state(3, 1, 1, 2, "after two pages were touched");
	/* A limit below what there is frees nothing, and allows nothing more. */
	allow_surplus(1);
	reserve_beyond(0);
	assert_state(3, 1, 1, 2, "after the limit was lowered");
	touch_all(start, 3);
	unmap(start, 3 * huge_size());
	assert_state(1, 1, 0, 0, "after munmap");
}

/* Without a reservation the fault takes the page, or is SIGBUS. */
static void surplus_by_fault(void)
{
	char *start;

	resize(1);
	allow_surplus(1);
	start = map_private_huges(3, UNRESERVED);
	touch_all(start, 1);
	assert_state(1, 0, 0, 0, "after the first fault");
	touch_all(start, 2);
	assert_state(2, 0, 0, 1, "after the second fault");
	assert_signal(start + 2 * huge_size(), TOUCH_WRITE, SIGBUS);
	assert_state(2, 0, 0, 1, "after the third fault");
	/* Surplus is counted by node, so it is the page whose node has it that leaves the pool. */
	assert_error(advise(start + huge_size(), huge_size(), MADV_DONTNEED), 0);
	assert_state(1, 0, 0, 0, "after the second page was dropped");
	touch_all(start + 2 * huge_size(), 1);
	assert_state(2, 0, 0, 1, "after the third fault again");
	unmap(start, 3 * huge_size());
	assert_state(1, 1, 0, 0, "after munmap");
}

/* A reservation that is never used is given back, with the surplus page that it was made of. */
static void surplus_never_used(void)
{
	int fd;
	char *start;

	resize(0);
	allow_surplus(3);
	fd = huge_memfd(3);
	start = map_shared(fd, 3 * huge_size(), RESERVED);
	assert_state(3, 3, 3, 3, "after mmap");
	touch_all(start, 1);
	assert_state(3, 2, 2, 3, "after one page was touched");
	unmap(start, 3 * huge_size());
	assert_state(3, 2, 2, 3, "after munmap, while the file has it all");
	assert_errno(ftruncate(fd, (off_t)huge_size()), 0);
	assert_state(1, 0, 0, 1, "after the file was cut");
	close(fd);
	assert_state(0, 0, 0, 0, "after the file was closed");
}

static void limit_by_sysctl(void)
{
	const char *path = SYSCTL "nr_overcommit_hugepages";

	need_default_size();
	write_number(path, 5);
	assert_that(file_number(path) == 5, "%s shows %ld after 5 was written", path,
		    file_number(path));
	assert_that(pool_counter("nr_overcommit_hugepages") == 5,
		    "sysfs shows a limit of %ld after 5 was written to %s",
		    pool_counter("nr_overcommit_hugepages"), path);
	assert_refused(path, "many");
	assert_refused(pool_file(huge_size(), "nr_overcommit_hugepages"), "many");
	allow_surplus(1);
	assert_that(file_number(path) == 1, "%s shows %ld after 1 was written to sysfs", path,
		    file_number(path));
}

/* "Node 0 HugePages_Total:    64" */
static long node_meminfo(int node, const char *field)
{
	char path[64], line[128], name[64];
	long value = -1, seen;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", node);
	file = fopen(path, "re");
	if (!file)
		probe_skip("%s: %s", path, error_name(errno));
	while (value < 0 && fgets(line, sizeof(line), file))
		if (sscanf(line, "Node %*d %63[^:]: %ld", name, &seen) == 2 && !strcmp(name, field))
			value = seen;
	fclose(file);
	assert_that(value >= 0, "%s has no %s", path, field);
	return value;
}

static void assert_node_views(const char *when)
{
	static const struct {
		const char *field, *file;
	} counters[] = {
		{ "HugePages_Total", "nr_hugepages" },
		{ "HugePages_Free", "free_hugepages" },
		{ "HugePages_Surp", "surplus_hugepages" },
	};
	long sum, here;

	for (size_t i = 0; i < COUNT_OF(counters); i++) {
		sum = 0;
		for (int node = 0; access(node_file(node, "nr_hugepages"), F_OK) == 0; node++) {
			here = file_number(node_file(node, counters[i].file));
			assert_that(node_meminfo(node, counters[i].field) == here,
				    "meminfo of node %d %s: %s is %ld, and %s is %ld", node, when,
				    counters[i].field, node_meminfo(node, counters[i].field),
				    counters[i].file, here);
			sum += here;
		}
		assert_that(pool_counter(counters[i].file) == sum,
			    "%s %s is %ld, and the nodes have %ld", counters[i].file, when,
			    pool_counter(counters[i].file), sum);
		/* A count and no size, but with the same form. */
		assert_that(file_bytes("/proc/meminfo", counters[i].field) == sum * 1024,
			    "meminfo %s: %s is not the %ld of the nodes", when, counters[i].field, sum);
	}
}

static void nodes_agree(void)
{
	char *start;

	need_default_size();
	if (access(node_file(0, "nr_hugepages"), F_OK) != 0)
		probe_skip("%s: %s", node_file(0, "nr_hugepages"), error_name(errno));
	assert_node_views("at first");
	resize(3);
	assert_node_views("after 3 was written");
	start = map_private_huges(3, RESERVED);
	touch_all(start, 2);
	assert_node_views("with two pages used");
	resize(1);
	assert_node_views("after 1 was written, with surplus pages");
	unmap(start, 3 * huge_size());
	assert_node_views("after munmap");
}

#define WITH_POOLS(name)                                                        \
	static void test_##name(void)                                           \
	{                                                                       \
		with_pools(name);                                               \
	}

WITH_POOLS(resize_by_sysctl)
WITH_POOLS(resize_by_sysfs)
WITH_POOLS(shrink_below_use)
WITH_POOLS(surplus_by_reservation)
WITH_POOLS(surplus_by_fault)
WITH_POOLS(surplus_never_used)
WITH_POOLS(limit_by_sysctl)
WITH_POOLS(nodes_agree)

static void need_idle_pool(void)
{
	struct pool now = pool_now();

	if (now.free != now.total || now.reserved || now.surplus)
		probe_skip("%ld of %ld huge pages are free, %ld reserved, %ld surplus", now.free,
			   now.total, now.reserved, now.surplus);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "vm.nr_hugepages and vm.nr_hugepages_mempolicy size the pool", test_resize_by_sysctl },
		{ "nr_hugepages and nr_hugepages_mempolicy of sysfs size the pool", test_resize_by_sysfs },
		{ "pages that a smaller pool has no room for are surplus until they are freed",
		  test_shrink_below_use },
		{ "mmap takes surplus pages up to nr_overcommit_hugepages, and is ENOMEM beyond",
		  test_surplus_by_reservation },
		{ "a fault takes surplus pages up to nr_overcommit_hugepages, and is SIGBUS beyond",
		  test_surplus_by_fault },
		{ "surplus pages that were reserved and never used are given back", test_surplus_never_used },
		{ "vm.nr_overcommit_hugepages and the file of sysfs are one limit", test_limit_by_sysctl },
		{ "meminfo of each node shows what the files of its pool show", test_nodes_agree },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 6,
		.setup = need_idle_pool,
	});
}
