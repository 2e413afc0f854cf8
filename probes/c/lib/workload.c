// SPDX-License-Identifier: GPL-2.0-only
/* The memory of a guest that migrates, and the ways in which its vCPUs touch it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "library.h"

#define WINDOW 16UL /* pages of the working set that moves */

static size_t least; /* huge pages of hugetlb */

static const char *const backings[] = {
	[BACKING_HUGE] = "huge",	[BACKING_SPLIT] = "split",
	[BACKING_SHMEM] = "shmem",	[BACKING_THP] = "shmem-thp",
	[BACKING_THP_LOCKED] = "shmem-thp-mlock", [BACKING_ANONYMOUS] = "thp",
};
static const char *const accesses[] = {
	[SEQUENTIAL] = "sequential", [UNIFORM] = "uniform", [ZIPF] = "zipf", [MOVING] = "moving",
};

enum backing backing_of(int argc, char **argv)
{
	const char *name = probe_option(argc, argv, "--backing");

	for (size_t i = 0; i < COUNT_OF(backings); i++)
		if (strcmp(name ? name : backings[BACKING_HUGE], backings[i]) == 0)
			return i;
	fprintf(stderr, "%s: --backing %s is not one of " BACKING_NAMES "\n", argv[0], name);
	exit(2);
}

struct probe workload_probe(enum backing backing, size_t parts)
{
	least = parts;
	return (struct probe){
		.pages = backing_is_hugetlb(backing) ? parts : 0,
		.pages_small = backing_is_hugetlb(backing) ? WORKLOAD_BYTES / PMD_PAGE : 0,
		.needs_hgm = backing == BACKING_SPLIT,
		.needs_4k_pages = true,
		.test_ms = 50000 * (int)parts,
	};
}

const char *backing_name(enum backing backing)
{
	return backings[backing];
}

bool backing_is_hugetlb(enum backing backing)
{
	return backing == BACKING_HUGE || backing == BACKING_SPLIT;
}

bool backing_is_thp(enum backing backing)
{
	return backing == BACKING_THP || backing == BACKING_THP_LOCKED ||
	       backing == BACKING_ANONYMOUS;
}

const char *backing_thp_field(enum backing backing)
{
	return backing == BACKING_ANONYMOUS ? "AnonHugePages" : "ShmemPmdMapped";
}

size_t backing_length(enum backing backing)
{
	size_t parts = backing_is_hugetlb(backing) ? least * huge_size() : 0;

	return parts > WORKLOAD_BYTES ? parts : WORKLOAD_BYTES;
}

static int backing_file(enum backing backing)
{
	const char *options = backing_is_thp(backing) ? "huge=always" : "huge=never";
	size_t length = backing_length(backing);
	int mount, fd;

	if (backing == BACKING_ANONYMOUS)
		return -1;
	if (backing_is_hugetlb(backing))
		return huge_memfd(length / huge_size());
	mount = try_mount("tmpfs", options);
	if (mount < 0)
		probe_skip("mount of tmpfs with %s: %s", options, error_name(-mount));
	fd = unnamed_file(mount);
	close(mount);
	assert_errno(ftruncate(fd, (off_t)length), 0);
	return fd;
}

char *backing_map(enum backing backing, int fd)
{
	size_t length = backing_length(backing);

	if (!backing_is_thp(backing))
		return map_shared(fd, length, UNRESERVED);
	if (backing == BACKING_ANONYMOUS)
		return map_thp(length);
	return map_at(reserve_area(length, PMD_PAGE), length, MAP_SHARED, fd);
}

char *backing_make(enum backing backing, int *fd)
{
	size_t length = backing_length(backing);
	size_t step = backing_is_hugetlb(backing) ? huge_size() : BASE_PAGE;
	const char *field = backing_thp_field(backing);
	char *start;

	*fd = backing_file(backing);
	start = backing_map(backing, *fd);
	for (size_t offset = 0; offset < length; offset += step)
		*(volatile char *)(start + offset) = 0;
	if (backing_is_thp(backing) && smaps_bytes(start, field) < (int64_t)length)
		probe_skip("%s: %s of %s", field, size_text(smaps_bytes(start, field)),
			   size_text((int64_t)length));
	if (backing == BACKING_THP_LOCKED)
		assert_errno(mlock(start, length), 0);
	return start;
}

const char *access_name(enum access access)
{
	return accesses[access];
}

static size_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005 + 1442695040888963407;
	return *state >> 33;
}

size_t access_page(enum access access, size_t pages, size_t share, size_t thread, size_t step,
		   uint64_t *state)
{
	size_t own = thread * share, octave;

	switch (access) {
	case SEQUENTIAL:
		return (own + step) % pages;
	case UNIFORM:
		return next_random(state) % pages;
	case ZIPF:
		/* Rank R with a frequency of about 1/R; ranks are scattered over the memory. */
		octave = 1UL << next_random(state) % (size_t)__builtin_ctzl(pages);
		return (octave + next_random(state) % octave) * 40503 % pages;
	default:
		return (own + step / WINDOW * (WINDOW / 2) + next_random(state) % WINDOW) % pages;
	}
}
