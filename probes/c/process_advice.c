// SPDX-License-Identifier: GPL-2.0-only
/* process_madvise() returns the bytes that it advised before an error, and the error if none. */
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hgm_probe.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif

static int self;
static char *good, *bad;

static void find_places(void)
{
	self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	assert_that(self >= 0, "pidfd_open: %s", error_name(errno));
	good = map_anonymous(2 * BASE_PAGE, 0);
	good[0] = good[BASE_PAGE] = 1;
	bad = map_anonymous(BASE_PAGE, 0);
	unmap(bad, BASE_PAGE);
}

/* The result, or -errno. */
static long advise_ranges(const struct iovec *ranges, size_t count, int advice)
{
	long done = syscall(SYS_process_madvise, self, ranges, count, advice, 0);

	return done < 0 ? -errno : done;
}

static void assert_done(long done, long want)
{
	assert_that(done == want, "process_madvise: expected %s, got %s",
		    want < 0 ? error_name((int)-want) : size_text(want),
		    done < 0 ? error_name((int)-done) : size_text(done));
}

static void all_good(void)
{
	struct iovec ranges[2];

	find_places();
	ranges[0] = (struct iovec){ good, BASE_PAGE };
	ranges[1] = (struct iovec){ good + BASE_PAGE, BASE_PAGE };
	assert_done(advise_ranges(ranges, 2, MADV_COLD), 2 * (long)BASE_PAGE);
}

static void second_is_bad(void)
{
	struct iovec ranges[2];

	find_places();
	ranges[0] = (struct iovec){ good, BASE_PAGE };
	ranges[1] = (struct iovec){ bad, BASE_PAGE };
	assert_done(advise_ranges(ranges, 2, MADV_COLD), (long)BASE_PAGE);
}

static void first_is_bad(void)
{
	struct iovec ranges[2];

	find_places();
	ranges[0] = (struct iovec){ bad, BASE_PAGE };
	ranges[1] = (struct iovec){ good, BASE_PAGE };
	assert_done(advise_ranges(ranges, 2, MADV_COLD), -ENOMEM);
}

static void unknown_advice(void)
{
	struct iovec range;

	find_places();
	range = (struct iovec){ good, BASE_PAGE };
	assert_done(advise_ranges(&range, 1, 12345), -EINVAL);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "process_madvise returns the bytes of all ranges", all_good },
		{ "process_madvise returns the bytes before a range that is not mapped",
		  second_is_bad },
		{ "process_madvise of a range that is not mapped is ENOMEM", first_is_bad },
		{ "process_madvise of an unknown advice is EINVAL", unknown_advice },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
	});
}
