// SPDX-License-Identifier: GPL-2.0-only
/* The pool's counters follow a huge page from its reservation to its return. */
#include <fcntl.h>
#include <unistd.h>

#include "hgm_probe.h"

static void shared_file(void)
{
	struct pool before = pool_now();
	int fd = huge_memfd(1);
	char *start = map_shared(fd, huge_size(), RESERVED);

	assert_pool(&before, 0, 1, "mapped");
	*start = 1;
	assert_pool(&before, -1, 0, "touched");
	unmap(start, huge_size());
	assert_pool(&before, -1, 0, "unmapped");
	close(fd);
	assert_pool(&before, 0, 0, "closed");
}

static void private_memory(void)
{
	struct pool before = pool_now();
	char *start = map_private_huge(RESERVED);

	assert_pool(&before, 0, 1, "mapped");
	*start = 1;
	assert_pool(&before, -1, 0, "touched");
	unmap(start, huge_size());
	assert_pool(&before, 0, 0, "unmapped");
}

static void hole(void)
{
	struct pool before = pool_now();
	int fd = huge_memfd(1);

	assert_errno(fallocate(fd, 0, 0, (off_t)huge_size()), 0);
	assert_pool(&before, -1, 0, "allocated");
	punch(fd, 0, 1);
	assert_pool(&before, 0, 0, "punched");
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a huge page of a shared file is reserved by mmap, used by a write, freed by close",
		  shared_file },
		{ "a private huge page is reserved by mmap, used by a write, freed by munmap",
		  private_memory },
		{ "punching a hole returns a huge page to the pool", hole },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
	});
}
