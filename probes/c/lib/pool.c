// SPDX-License-Identifier: GPL-2.0-only
/* The pools of huge pages: their counters, and their sizes, which tests change for a while. */
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "library.h"

#define MAX_NODES 64

long pool_counter(const char *name)
{
	long value = size_counter(huge_size(), name);

	assert_that(value != LONG_MIN, "/sys/kernel/mm/hugepages/hugepages-%zukB/%s cannot be read",
		    huge_size() / 1024, name);
	return value;
}

struct pool pool_now(void)
{
	return (struct pool){
		.total = pool_counter("nr_hugepages"),
		.free = pool_counter("free_hugepages"),
		.reserved = pool_counter("resv_hugepages"),
		.surplus = pool_counter("surplus_hugepages"),
	};
}

void assert_pool(const struct pool *before, long free, long reserved, const char *when)
{
	struct pool now = pool_now();

	assert_that(now.total == before->total && now.surplus == before->surplus,
		    "the pool %s: %+ld huge pages in total, %+ld surplus, expected no change", when,
		    now.total - before->total, now.surplus - before->surplus);
	assert_that(now.free - before->free == free, "the pool %s: %+ld free huge pages, expected %+ld",
		    when, now.free - before->free, free);
	assert_that(now.reserved - before->reserved == reserved,
		    "the pool %s: %+ld reserved huge pages, expected %+ld", when,
		    now.reserved - before->reserved, reserved);
}

const char *pool_file(size_t size, const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%zukB/%s", size / 1024, name);
	return path;
}

static const char *file_of_node(int node, size_t size, const char *name)
{
	static char path[160];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/hugepages/hugepages-%zukB/%s",
		 node, size / 1024, name);
	return path;
}

const char *node_file(int node, const char *name)
{
	return file_of_node(node, huge_size(), name);
}

long file_number(const char *path)
{
	FILE *file = fopen(path, "re");
	long value;

	assert_that(file && fscanf(file, "%ld", &value) == 1, "reading %s: %s", path,
		    error_name(errno));
	fclose(file);
	return value;
}

void write_number(const char *path, long number)
{
	char text[32];

	if (access(path, W_OK) != 0)
		probe_skip("%s: %s", path, error_name(errno));
	snprintf(text, sizeof(text), "%ld", number);
	assert_written(path, text);
}

bool frees_memory_map(void)
{
	static const char path[] = "/proc/sys/vm/hugetlb_optimize_vmemmap";

	return access(path, R_OK) == 0 && file_number(path) == 1;
}

/* Of a size of huge pages: the limit of surplus pages, and the pool of each node. */
struct sizes {
	size_t size;
	long overcommit, nodes[MAX_NODES];
};

static int nodes_of(size_t size)
{
	int count = 0;

	while (count < MAX_NODES && access(file_of_node(count, size, "nr_hugepages"), F_OK) == 0)
		count++;
	return count;
}

static const char *pool_of(size_t size, int node)
{
	return nodes_of(size) ? file_of_node(node, size, "nr_hugepages") :
				pool_file(size, "nr_hugepages");
}

/* Without NUMA there is one pool, as if of one node. */
static int pools_of(size_t size)
{
	int count = nodes_of(size);

	return count ? count : 1;
}

static struct sizes save(size_t size)
{
	struct sizes now = { .size = size };

	now.overcommit = file_number(pool_file(size, "nr_overcommit_hugepages"));
	for (int node = 0; node < pools_of(size); node++)
		now.nodes[node] = file_number(pool_of(size, node));
	return now;
}

/* Where nothing has changed nothing is written: pages of 1 GiB cannot be made again everywhere. */
static void put_back(const char *path, long number)
{
	if (file_number(path) != number)
		write_number(path, number);
}

static void restore(const struct sizes *was)
{
	put_back(pool_file(was->size, "nr_overcommit_hugepages"), was->overcommit);
	for (int node = 0; node < pools_of(was->size); node++)
		put_back(pool_of(was->size, node), was->nodes[node]);
}

/* What with_pools() puts back. */
static struct sizes saved[MAX_SIZES];
static size_t saved_count;

static void restore_all(void)
{
	for (size_t i = 0; i < saved_count; i++)
		restore(&saved[i]);
}

void with_pools(void (*run)(void))
{
	size_t sizes[MAX_SIZES];

	saved_count = offered_sizes(sizes);
	for (size_t i = 0; i < saved_count; i++)
		saved[i] = save(sizes[i]);
	run_then(run, restore_all);
	for (size_t i = 0; i < saved_count; i++)
		for (int node = 0; node < pools_of(sizes[i]); node++)
			assert_that(file_number(pool_of(sizes[i], node)) == saved[i].nodes[node],
				    "%s is %ld after %ld was written to put it back",
				    pool_of(sizes[i], node), file_number(pool_of(sizes[i], node)),
				    saved[i].nodes[node]);
}
