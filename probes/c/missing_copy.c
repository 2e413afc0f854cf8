// SPDX-License-Identifier: GPL-2.0-only
/* A missing fault on a huge page, answered by a UFFDIO_COPY of the whole page. */
#include "hgm_probe.h"

#define FILLING 1

/* A fresh mapping, in missing mode; UFFD takes the descriptor. */
static char *map_registered(int *uffd)
{
	char *start = map_shared(huge_memfd(1), huge_size(), RESERVED);

	*uffd = uffd_open(UFFD_FEATURE_MISSING_HUGETLBFS);
	uffd_register(*uffd, start, huge_size(), UFFDIO_REGISTER_MODE_MISSING);
	return start;
}

static char *filled_source(void)
{
	char *source = map_anonymous(huge_size(), 0);

	fill_pages(source, 0, huge_pages(), FILLING);
	return source;
}

static void fault_is_answered(void)
{
	int uffd;
	char *start = map_registered(&uffd);
	char *source = filled_source();
	struct touch touch;

	touch_start(&touch, start + 7 * BASE_PAGE, TOUCH_READ);
	assert_fault(uffd, start, 0);
	assert_result(uffd_copy(uffd, start, source, huge_size()), 0, (int64_t)huge_size());
	touch_end(&touch);
	check_pages(start, 0, huge_pages(), FILLING);
	assert_no_fault(uffd);
}

static void copied_twice(void)
{
	int uffd;
	char *start = map_registered(&uffd);
	char *source = filled_source();

	assert_result(uffd_copy(uffd, start, source, huge_size()), 0, (int64_t)huge_size());
	assert_result(uffd_copy(uffd, start, source, huge_size()), EEXIST, -EEXIST);
}

static void whole_pages_only(void)
{
	int uffd;
	char *start = map_registered(&uffd);

	assert_result(uffd_copy(uffd, start, filled_source(), BASE_PAGE), EINVAL, -EINVAL);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a missing fault reports the huge page's address; UFFDIO_COPY of it ends the fault",
		  fault_is_answered },
		{ "UFFDIO_COPY to a mapped huge page is EEXIST", copied_twice },
		{ "UFFDIO_COPY of 4 KiB to a hugetlb mapping is EINVAL", whole_pages_only },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
	});
}
