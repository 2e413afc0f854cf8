// SPDX-License-Identifier: GPL-2.0-only
/* userfaultfd's minor mode can be registered on hugetlb. Nothing is allocated. */
#include "hgm_probe.h"

#define MINOR UFFDIO_REGISTER_MODE_MINOR

static void offers_continue(void)
{
	int uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS);
	char *start = map_shared(huge_memfd(1), huge_size(), UNRESERVED);
	uint64_t ioctls;

	assert_error(uffd_try_register(uffd, start, huge_size(), MINOR, &ioctls), 0);
	assert_that(ioctls & 1ULL << _UFFDIO_CONTINUE,
		    "UFFDIO_REGISTER offers the ioctls %#llx, expected UFFDIO_CONTINUE among them",
		    (unsigned long long)ioctls);
}

static void whole_pages_only(void)
{
	int uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS);
	char *start = map_shared(huge_memfd(1), huge_size(), UNRESERVED);

	assert_error(uffd_try_register(uffd, start, BASE_PAGE, MINOR, NULL), EINVAL);
	assert_error(uffd_try_register(uffd, start + BASE_PAGE, huge_size() - BASE_PAGE,
				       MINOR, NULL), EINVAL);
}

static void not_anonymous(void)
{
	int uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS);
	char *start = map_anonymous(PMD_PAGE, 0);

	assert_error(uffd_try_register(uffd, start, PMD_PAGE, MINOR, NULL), EINVAL);
}

static void one_owner(void)
{
	int first = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS);
	int second = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS);
	char *start = map_shared(huge_memfd(1), huge_size(), UNRESERVED);

	uffd_register(first, start, huge_size(), MINOR);
	assert_error(uffd_try_register(second, start, huge_size(), MINOR, NULL), EBUSY);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFDIO_REGISTER of hugetlb in minor mode offers UFFDIO_CONTINUE",
		  offers_continue },
		{ "UFFDIO_REGISTER of part of an unsplit huge page is EINVAL", whole_pages_only },
		{ "UFFDIO_REGISTER of anonymous memory in minor mode is EINVAL", not_anonymous },
		{ "UFFDIO_REGISTER with a second userfaultfd is EBUSY", one_owner },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
	});
}
