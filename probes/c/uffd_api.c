// SPDX-License-Identifier: GPL-2.0-only
/*
 * UFFDIO_API and UFFDIO_REGISTER take what the kernel knows and refuse the rest:
 * versions, features, ranges, and mappings at addresses below mmap_min_addr.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hgm_probe.h"

#define OTHER_VERSION 0xab
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#define LOW_BYTES (2UL << 20) /* the program begins at 4 MiB */

/* The error number of a UFFDIO_API on a fresh userfaultfd; API comes back as the kernel left it. */
static int api_error(int uffd, struct uffdio_api *api)
{
	return ioctl(uffd, UFFDIO_API, api) == 0 ? 0 : errno;
}

static int fresh(void)
{
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (uffd < 0)
		probe_skip("userfaultfd: %s", error_name(errno));
	return uffd;
}

static void refused(uint64_t version, uint64_t features)
{
	struct uffdio_api api = { .api = version, .features = features, .ioctls = 1 };
	int uffd = fresh(), error = api_error(uffd, &api);

	assert_that(error == EINVAL,
		    "UFFDIO_API of version %#llx with features %#llx: expected EINVAL, got %s",
		    (unsigned long long)version, (unsigned long long)features, error_name(error));
	assert_that(api.api == 0 && api.features == 0 && api.ioctls == 0,
		    "UFFDIO_API that was refused returns api %#llx, features %#llx, ioctls %#llx, "
		    "expected zeros", (unsigned long long)api.api,
		    (unsigned long long)api.features, (unsigned long long)api.ioctls);
	close(uffd);
}

static void other_versions(void)
{
	refused(OTHER_VERSION, 0);
	refused(0, 0);
	refused(UFFD_API + (1ULL << 32), 0);
}

static void unknown_features(void)
{
	uint64_t offered = uffd_offered();

	for (int bit = 0; bit < 64; bit++)
		if (!(offered & 1ULL << bit))
			refused(UFFD_API, 1ULL << bit);
}

static void only_once(void)
{
	struct uffdio_api api = { .api = UFFD_API }, again;
	int uffd = fresh();

	assert_error(api_error(uffd, &api), 0);
	assert_that(api.features != 0 && api.ioctls != 0,
		    "UFFDIO_API returns features %#llx and ioctls %#llx, expected some",
		    (unsigned long long)api.features, (unsigned long long)api.ioctls);
	again = (struct uffdio_api){ .api = UFFD_API };
	assert_error(api_error(uffd, &again), EINVAL);
}

static void not_before(void)
{
	char *start = map_anonymous(BASE_PAGE, 0);

	assert_error(uffd_try_register(fresh(), start, BASE_PAGE, UFFDIO_REGISTER_MODE_MISSING,
				       NULL), EINVAL);
}

static void odd_ranges(void)
{
	char *start = map_anonymous(4 * BASE_PAGE, 0);
	int uffd = uffd_open(0);
	const uint64_t mode = UFFDIO_REGISTER_MODE_MISSING;

	assert_error(uffd_try_register(uffd, start, 0, mode, NULL), EINVAL);
	assert_error(uffd_try_register(uffd, start, BASE_PAGE / 2, mode, NULL), EINVAL);
	assert_error(uffd_try_register(uffd, start + 1, BASE_PAGE, mode, NULL), EINVAL);
	assert_error(uffd_try_register(uffd, start, -BASE_PAGE, mode, NULL), EINVAL);
	assert_error(uffd_try_register(uffd, start, BASE_PAGE, 0, NULL), EINVAL);
	assert_error(uffd_try_register(uffd, start, BASE_PAGE, 1ULL << 40, NULL), EINVAL);
	unmap(start + BASE_PAGE, 3 * BASE_PAGE);
	assert_error(uffd_try_register(uffd, start + BASE_PAGE, BASE_PAGE, mode, NULL), EINVAL);
	assert_error(uffd_try_register(uffd, start, BASE_PAGE, mode, NULL), 0);
	/* Two userfaultfds cannot share a mapping. */
	assert_error(uffd_try_register(uffd_open(0), start, BASE_PAGE, mode, NULL), EBUSY);
}

/* Address 0 is as good as any other where mmap() has allowed it. */
static void low_addresses(void)
{
	char *start = mmap(NULL, LOW_BYTES, PROT_READ | PROT_WRITE,
			   MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int uffd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	struct touch touch;

	if (start == MAP_FAILED)
		probe_skip("mmap at address 0: %s", error_name(errno));
	/* The compiler must not know that this is a null pointer. */
	__asm__("" : "+r"(start));
	start[0x100] = 1;
	uffd_register(uffd, start, LOW_BYTES, UFFDIO_REGISTER_MODE_WP);
	assert_error(uffd_protect(uffd, start, BASE_PAGE, true), 0);
	touch_start(&touch, start + 0x100, TOUCH_WRITE);
	assert_fault(uffd, start, UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE);
	assert_error(uffd_protect(uffd, start, BASE_PAGE, false), 0);
	touch_end(&touch);
}

/* The kernel may drop such a page at any time, so no monitor can keep track of it. */
static void droppable(void)
{
	char *start = mmap(NULL, BASE_PAGE, PROT_READ | PROT_WRITE, MAP_DROPPABLE | MAP_ANONYMOUS,
			   -1, 0);
	int uffd = uffd_open(0);

	if (start == MAP_FAILED)
		probe_skip("mmap of MAP_DROPPABLE: %s", error_name(errno));
	assert_error(uffd_try_register(uffd, start, BASE_PAGE, UFFDIO_REGISTER_MODE_MISSING, NULL),
		     EINVAL);
	assert_error(uffd_try_register(uffd, start, BASE_PAGE, UFFDIO_REGISTER_MODE_WP, NULL),
		     EINVAL);
}

/* Otherwise its faults would not be reported any more, and its owner would wait for them. */
static void unregistered_by_another(void)
{
	char *start = map_anonymous(BASE_PAGE, 0);
	int uffd = uffd_open(0);
	struct touch touch;

	uffd_register(uffd, start, BASE_PAGE, UFFDIO_REGISTER_MODE_MISSING);
	assert_error(uffd_unregister(uffd_open(0), start, BASE_PAGE), EINVAL);
	touch_start(&touch, start, TOUCH_WRITE);
	assert_fault(uffd, start, UFFD_PAGEFAULT_FLAG_WRITE);
	assert_error(uffd_unregister(uffd, start, BASE_PAGE), 0);
	touch_end(&touch);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "UFFDIO_API of another version is EINVAL and returns zeros", other_versions },
		{ "UFFDIO_API with a feature that is not offered is EINVAL and returns zeros",
		  unknown_features },
		{ "UFFDIO_API works once for a userfaultfd", only_once },
		{ "UFFDIO_REGISTER before UFFDIO_API is EINVAL", not_before },
		{ "UFFDIO_REGISTER of odd ranges and modes is refused", odd_ranges },
		{ "UFFDIO_REGISTER of MAP_DROPPABLE memory is EINVAL", droppable },
		{ "UFFDIO_UNREGISTER through another userfaultfd is EINVAL and changes nothing",
		  unregistered_by_another },
		{ "a mapping at address 0 can be registered and write-protected", low_addresses },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
	});
}
