// SPDX-License-Identifier: GPL-2.0-only
/*
 * Prints what the running kernel offers, a "key=value" line each. Not a probe: it
 * tests nothing, takes no huge page, and exits 0. A value is "ok" or the
 * kernel's error number by name, except for features, which are a mask.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "hgm_probe.h"

static size_t sizes[MAX_SIZES], count;

static const char *answer(int error)
{
	return error ? error_name(error) : "ok";
}

static void print_advice(const char *key, int advice)
{
	for (size_t i = 0; i < count; i++)
		printf("%s.%s=%s\n", key, size_name(sizes[i]),
		       answer(advice_error(sizes[i], advice)));
}

/* Registers minor mode on a mapping of SIZE; gives the error number. */
static int minor_error(size_t size)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_MINOR_HUGETLBFS };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	int fd = huge_memfd_of(size, 1);
	void *start;

	if (fd < 0)
		return -fd;
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		return errno;
	start = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (start == MAP_FAILED)
		return errno;
	return uffd_try_register(uffd, start, size, UFFDIO_REGISTER_MODE_MINOR, NULL);
}

static void print_userfaultfd(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api)) {
		printf("uffd=%s\n", error_name(errno));
		return;
	}
	printf("uffd=ok\nuffd.features=%#llx\n", (unsigned long long)api.features);
	for (size_t i = 0; i < count; i++)
		printf("uffd.minor_hugetlbfs.%s=%s\n", size_name(sizes[i]),
		       answer(minor_error(sizes[i])));
}

int main(void)
{
	struct utsname system;

	count = offered_sizes(sizes);
	if (uname(&system) == 0)
		printf("release=%s\n", system.release);
	print_advice("madv_split", MADV_SPLIT);
	print_advice("madv_collapse", MADV_COLLAPSE);
	print_userfaultfd();
	return 0;
}
