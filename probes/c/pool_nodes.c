// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two nodes: a node's pool gets the size that is written to its nr_hugepages,
 * whatever is surplus elsewhere, and a cgroup's usage follows a page that moves.
 */
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hgm_probe.h"

#define TAKEN 4L

static const char *node_file(int node, const char *name)
{
	static char path[160];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/hugepages/hugepages-%zukB/%s",
		 node, huge_size() >> 10, name);
	return path;
}

static long node_count(int node, const char *name)
{
	FILE *file = fopen(node_file(node, name), "re");
	long value;

	assert_that(file && fscanf(file, "%ld", &value) == 1, "reading %s: %s",
		    node_file(node, name), error_name(errno));
	fclose(file);
	return value;
}

static void assert_count(int node, const char *name, long want, const char *when)
{
	long seen = node_count(node, name);

	assert_that(seen == want, "node %d has %s %ld %s, expected %ld", node, name, seen, when,
		    want);
}

static void resize(int node, long count)
{
	const char *path = node_file(node, "nr_hugepages");
	char text[32];

	if (access(path, W_OK) != 0)
		probe_skip("%s: %s", path, error_name(errno));
	snprintf(text, sizeof(text), "%ld", count);
	assert_written(path, text);
}

static long sizes[2];

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

/* The pools are put back by the parent, since a test that fails ends at once. */
static void pool_of_a_node(void)
{
	siginfo_t info;
	pid_t child;

	for (int node = 0; node < 2; node++)
		sizes[node] = node_count(node, "nr_hugepages");
	child = child_start(sizes_with_surplus);
	waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT);
	for (int node = 0; node < 2; node++)
		resize(node, sizes[node]);
	child_end(child);
	for (int node = 0; node < 2; node++) {
		assert_count(node, "nr_hugepages", sizes[node], "after all was put back");
		assert_count(node, "surplus_hugepages", 0, "after all was put back");
	}
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

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a node's nr_hugepages is what was written, while another node has surplus pages",
		  pool_of_a_node },
		{ "a cgroup's numa_stat follows a huge page to another node", usage_follows },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 4,
	});
}
