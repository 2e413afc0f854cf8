// SPDX-License-Identifier: GPL-2.0-only
/* The pool's counters follow a huge page from its reservation to its return. */
#include <fcntl.h>
#include <unistd.h>

#include "hgm_probe.h"

struct counters {
	long total, free, reserved, surplus;
};

static struct counters counters(void)
{
	return (struct counters){
		.total = pool_counter("nr_hugepages"),
		.free = pool_counter("free_hugepages"),
		.reserved = pool_counter("resv_hugepages"),
		.surplus = pool_counter("surplus_hugepages"),
	};
}

/* The pool must have FREE more free pages and RESERVED more reservations than BEFORE. */
static void expect_change(const struct counters *before, long free, long reserved,
			  const char *when)
{
	struct counters now = counters();

	expect(now.total == before->total && now.surplus == before->surplus,
	       "%s: total %+ld, surplus %+ld", when, now.total - before->total,
	       now.surplus - before->surplus);
	if (now.free - before->free != free || now.reserved - before->reserved != reserved)
		probe_fail("%s: free %+ld, expected %+ld; reserved %+ld, expected %+ld", when,
			   now.free - before->free, free, now.reserved - before->reserved,
			   reserved);
}

static void shared_file(void)
{
	struct counters before = counters();
	int fd = huge_memfd(1);
	char *start = map_shared(fd, huge_size(), RESERVED);

	expect_change(&before, 0, 1, "mapped");
	*start = 1;
	expect_change(&before, -1, 0, "touched");
	unmap(start, huge_size());
	expect_change(&before, -1, 0, "unmapped");
	close(fd);
	expect_change(&before, 0, 0, "closed");
}

static void private_memory(void)
{
	struct counters before = counters();
	int log2 = __builtin_ctzl(huge_size());
	char *start = map_anonymous(huge_size(), MAP_HUGETLB | log2 << MAP_HUGE_SHIFT);

	expect_change(&before, 0, 1, "mapped");
	*start = 1;
	expect_change(&before, -1, 0, "touched");
	unmap(start, huge_size());
	expect_change(&before, 0, 0, "unmapped");
}

static void hole(void)
{
	struct counters before = counters();
	int fd = huge_memfd(1);

	expect(fallocate(fd, 0, 0, (off_t)huge_size()) == 0, "%s", error_name(errno));
	expect_change(&before, -1, 0, "allocated");
	expect(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			 (off_t)huge_size()) == 0, "%s", error_name(errno));
	expect_change(&before, 0, 0, "punched");
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a shared file reserves, takes and returns its page", shared_file },
		{ "private memory reserves, takes and returns its page", private_memory },
		{ "a punched hole returns its page", hole },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
	});
}
