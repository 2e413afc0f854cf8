// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two nodes: a node's pool gets the size that is written to its nr_hugepages,
 * whatever is surplus elsewhere, a memory policy decides which pools change, and
 * the counters of the pools and of a cgroup follow a page that moves.
 */
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define TAKEN 4L

static void assert_count(int node, const char *name, long want, const char *when)
{
	long seen = file_number(node_file(node, name));

	assert_that(seen == want, "node %d has %s %ld %s, expected %ld", node, name, seen, when,
		    want);
}

static void resize(int node, long count)
{
	write_number(node_file(node, "nr_hugepages"), count);
}

static void sizes_with_surplus(void)
{
	char *start;

	resize(1, 0);
	resize(0, TAKEN);
	assert_count(0, "nr_hugepages", TAKEN, "after that was written");
	start = map_shared(huge_memfd(TAKEN), TAKEN * huge_size(), RESERVED);
	for (long page = 0; page < TAKEN; page++)
		start[page * (long)huge_size()] = 1;
	resize(0, 0);
	assert_count(0, "nr_hugepages", TAKEN, "in use, after 0 was written");
	assert_count(0, "surplus_hugepages", TAKEN, "in use, after 0 was written");
	resize(1, 2);
	assert_count(1, "nr_hugepages", 2, "after 2 was written while node 0 has surplus pages");
	assert_count(0, "surplus_hugepages", TAKEN, "after node 1 was resized");
}

static void pool_of_a_node(void)
{
	with_pools(sizes_with_surplus);
	for (int node = 0; node < 2; node++)
		assert_count(node, "surplus_hugepages", 0, "after all was put back");
}

/* total, N0 and N1 of hugetlb.SIZE.numa_stat. */
struct usage {
	uint64_t total, node[2];
};

static struct usage usage_now(void)
{
	const char *path = group_file("numa_stat");
	struct usage usage;
	FILE *file;

	file = fopen(path, "re");
	if (!file)
		probe_skip("%s: %s", path, error_name(errno));
	assert_that(fscanf(file, "total=%" SCNu64 " N0=%" SCNu64 " N1=%" SCNu64, &usage.total,
			   &usage.node[0], &usage.node[1]) == 3, "%s is not readable", path);
	fclose(file);
	return usage;
}

static void assert_usage(int node, uint64_t bytes, const char *when)
{
	struct usage usage = usage_now();
	uint64_t want[2] = { node == 0 ? bytes : 0, node == 1 ? bytes : 0 };

	assert_that(usage.total == bytes && usage.node[0] == want[0] && usage.node[1] == want[1],
		    "numa_stat %s: total=%" PRIu64 " N0=%" PRIu64 " N1=%" PRIu64
		    ", expected total=%" PRIu64 " N0=%" PRIu64 " N1=%" PRIu64, when, usage.total,
		    usage.node[0], usage.node[1], bytes, want[0], want[1]);
}

static int node_of(char *page)
{
	void *pages[] = { page };
	int status = -1;

	if (syscall(SYS_move_pages, 0, 1UL, pages, NULL, &status, 0) != 0)
		probe_skip("move_pages: %s", error_name(errno));
	assert_that(status == 0 || status == 1, "move_pages shows the page on node %d", status);
	return status;
}

static void follow(void)
{
	int fd = huge_memfd(1), status = -EBUSY, from, to;
	char *start = map_shared(fd, huge_size(), RESERVED);
	void *pages[] = { start };

	*(volatile char *)start = 1;
	from = node_of(start);
	assert_usage(from, huge_size(), "after a write");
	to = 1 - from;
	assert_errno(syscall(SYS_move_pages, 0, 1UL, pages, &to, &status, MPOL_MF_MOVE), 0);
	assert_that(status == to, "move_pages: expected node %d, got %d", to, status);
	assert_usage(to, huge_size(), "after move_pages");
	unmap(start, huge_size());
	close(fd);
	assert_usage(0, 0, "after the page was freed");
}

static void usage_follows(void)
{
	in_group(follow);
}

/* MODE over one node, as the policy of this process. */
static void prefer_node(int mode, int node)
{
	unsigned long mask = 1UL << node;

	if (syscall(SYS_set_mempolicy, mode, &mask, 8 * sizeof(mask)) != 0)
		probe_skip("set_mempolicy: %s", error_name(errno));
}

static void assert_counts(long first, long second, const char *when)
{
	assert_count(0, "nr_hugepages", first, when);
	assert_count(1, "nr_hugepages", second, when);
}

/* nr_hugepages_mempolicy takes pages from the policy's nodes alone; nr_hugepages from all. */
static void size_by_policy(void)
{
	static const char *const sysctl = "/proc/sys/vm/nr_hugepages_mempolicy";

	resize(0, 2);
	resize(1, 2);
	prefer_node(MPOL_BIND, 1);
	write_number(pool_file(huge_size(), "nr_hugepages_mempolicy"), 7);
	assert_counts(2, 5, "after 7 was written, bound to node 1");
	write_number(pool_file(huge_size(), "nr_hugepages_mempolicy"), 4);
	assert_counts(2, 2, "after 4 was written, bound to node 1");
	write_number(pool_file(huge_size(), "nr_hugepages"), 6);
	assert_counts(3, 3, "after 6 was written to nr_hugepages, bound to node 1");
	prefer_node(MPOL_INTERLEAVE, 0);
	write_number(sysctl, 8);
	assert_counts(5, 3, "after 8 was written to vm.nr_hugepages_mempolicy, interleaved on node 0");
	/* No more than that node has. */
	write_number(sysctl, 1);
	assert_counts(0, 3, "after 1 was written, interleaved on node 0");
}

static void sized_by_policy(void)
{
	with_pools(size_by_policy);
}

static char *map_on(int mode, int node)
{
	unsigned long mask = 1UL << node;
	char *start = map_private_huge(UNRESERVED);

	if (syscall(SYS_mbind, start, huge_size(), mode, &mask, 8 * sizeof(mask), 0) != 0)
		probe_skip("mbind: %s", error_name(errno));
	return start;
}

/* Node 1 has no free page, and node 0 has. */
static void fault_by_policy(void)
{
	char *start;

	resize(0, 1);
	resize(1, 0);
	assert_signal(map_on(MPOL_BIND, 1), TOUCH_WRITE, SIGBUS);
	assert_count(0, "free_hugepages", 1, "after a fault that is bound to node 1");
	write_number(pool_file(huge_size(), "nr_overcommit_hugepages"), 1);
	start = map_on(MPOL_BIND, 1);
	*(volatile char *)start = 1;
	assert_count(1, "surplus_hugepages", 1, "after a fault that is bound to node 1");
	assert_count(0, "free_hugepages", 1, "after a fault that is bound to node 1");
	unmap(start, huge_size());
	assert_counts(1, 0, "after munmap");
	start = map_on(MPOL_PREFERRED_MANY, 1);
	*(volatile char *)start = 1;
	assert_count(0, "free_hugepages", 0, "after a fault that prefers node 1");
	/* The pool is empty: a surplus page, of the node that is preferred. */
	start = map_on(MPOL_PREFERRED_MANY, 1);
	*(volatile char *)start = 1;
	assert_count(1, "surplus_hugepages", 1, "after a second fault that prefers node 1");
}

static void faulted_by_policy(void)
{
	with_pools(fault_by_policy);
}

static void move(char *page, int to)
{
	void *pages[] = { page };
	int status = -EBUSY;

	assert_errno(syscall(SYS_move_pages, 0, 1UL, pages, &to, &status, MPOL_MF_MOVE), 0);
	assert_that(status == to, "move_pages to node %d: got %d", to, status);
}

/* A new page for the node, and the old one goes: neither pool keeps what it lost. */
static void move_to_empty_pool(void)
{
	char *start;

	resize(0, 1);
	resize(1, 0);
	start = map_on(MPOL_BIND, 0);
	fill_pages(start, 0, huge_pages(), FILLING);
	move(start, 1);
	check_pages(start, 0, huge_pages(), FILLING);
	assert_counts(0, 1, "after the only page of node 0 was moved to node 1");
	assert_count(1, "surplus_hugepages", 0, "after the page was moved");
	/* A page that is surplus is surplus where it goes. */
	write_number(pool_file(huge_size(), "nr_hugepages"), 0);
	assert_count(1, "surplus_hugepages", 1, "in use, after 0 was written");
	move(start, 0);
	check_pages(start, 0, huge_pages(), FILLING);
	assert_counts(1, 0, "after the page was moved back");
	assert_count(0, "surplus_hugepages", 1, "after a surplus page was moved");
	assert_count(1, "surplus_hugepages", 0, "after a surplus page was moved");
	unmap(start, huge_size());
	assert_counts(0, 0, "after munmap of a surplus page");
}

static void moved_to_empty_pool(void)
{
	with_pools(move_to_empty_pool);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a node's nr_hugepages is what was written, while another node has surplus pages",
		  pool_of_a_node },
		{ "a cgroup's numa_stat follows a huge page to another node", usage_follows },
		{ "nr_hugepages_mempolicy sizes the pools of the policy's nodes, nr_hugepages of all",
		  sized_by_policy },
		{ "a fault takes a surplus page of the node that its policy binds it to",
		  faulted_by_policy },
		{ "a huge page that moves to a node without free pages takes its place in the pool along",
		  moved_to_empty_pool },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 4,
	});
}
