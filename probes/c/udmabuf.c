// SPDX-License-Identifier: GPL-2.0-only
/* A huge page of a memfd that udmabuf pins before its first use is empty, and goes back. */
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define ALLOW_SEALING 2U

static int sealed_memfd(void)
{
	unsigned int flags = MFD_HUGETLB | ALLOW_SEALING;
	int fd = (int)memfd_create("udmabuf", flags | (unsigned int)__builtin_ctzl(huge_size())
							      << MAP_HUGE_SHIFT);

	assert_errno(fd, 0);
	assert_errno(ftruncate(fd, (off_t)huge_size()), 0);
	assert_errno(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	return fd;
}

/* A udmabuf of the file's page, which is pinned until it is closed. */
static int pinned(int fd)
{
	struct udmabuf_create request = { .memfd = (uint32_t)fd, .size = huge_size() };
	int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), buffer;

	if (device < 0)
		probe_skip("/dev/udmabuf: %s", error_name(errno));
	buffer = ioctl(device, UDMABUF_CREATE, &request);
	assert_errno(buffer, 0);
	close(device);
	return buffer;
}

static void pinned_first(void)
{
	struct pool before = pool_now();
	char *used, *start;
	int fd, buffer;

	/* What is freed last is allocated first. */
	used = map_private_huge(RESERVED);
	fill_pages(used, 0, huge_pages(), FILLING);
	unmap(used, huge_size());
	fd = sealed_memfd();
	start = map_shared(fd, huge_size(), RESERVED);
	assert_pool(&before, 0, 1, "mapped");
	buffer = pinned(fd);
	assert_pool(&before, -1, 0, "pinned");
	check_zero(start, 0, huge_pages());
	close(buffer);
	unmap(start, huge_size());
	close(fd);
	assert_pool(&before, 0, 0, "closed");
}

static void never_mapped(void)
{
	struct pool before = pool_now();
	int fd = sealed_memfd(), buffer = pinned(fd);

	assert_pool(&before, -1, 0, "pinned");
	close(buffer);
	assert_pool(&before, -1, 0, "no longer pinned");
	close(fd);
	assert_pool(&before, 0, 0, "closed");
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a huge page that udmabuf pins before its first use reads as zero", pinned_first },
		{ "udmabuf of a file that was never mapped takes one huge page and no reservation",
		  never_mapped },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
	});
}
