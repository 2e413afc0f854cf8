// SPDX-License-Identifier: GPL-2.0-only
/* A huge page of a memfd that udmabuf pins before its first use is empty, and goes back. */
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define ALLOW_SEALING 2U

static void pinned_first(void)
{
	struct pool before = pool_now();
	struct udmabuf_create request = { .size = huge_size() };
	unsigned int flags = MFD_HUGETLB | ALLOW_SEALING;
	int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), buffer;
	char *used, *start;

	if (device < 0)
		probe_skip("/dev/udmabuf: %s", error_name(errno));
	/* What is freed last is allocated first. */
	used = map_private_huge(RESERVED);
	fill_pages(used, 0, huge_pages(), FILLING);
	unmap(used, huge_size());
	request.memfd = (uint32_t)memfd_create("udmabuf", flags | (unsigned int)__builtin_ctzl(
						huge_size()) << MAP_HUGE_SHIFT);
	assert_errno((int)request.memfd, 0);
	assert_errno(ftruncate((int)request.memfd, (off_t)huge_size()), 0);
	assert_errno(fcntl((int)request.memfd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	start = map_shared((int)request.memfd, huge_size(), RESERVED);
	assert_pool(&before, 0, 1, "mapped");
	buffer = ioctl(device, UDMABUF_CREATE, &request);
	assert_errno(buffer, 0);
	assert_pool(&before, -1, 0, "pinned");
	check_zero(start, 0, huge_pages());
	close(buffer);
	unmap(start, huge_size());
	close((int)request.memfd);
	assert_pool(&before, 0, 0, "closed");
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "a huge page that udmabuf pins before its first use reads as zero", pinned_first },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 1,
	});
}
