// SPDX-License-Identifier: GPL-2.0-only
/* The two pieces of advice that make high-granularity mapping. */
#include <unistd.h>

#include "../hgm_probe.h"

int advise(void *start, size_t length, int advice)
{
	return madvise(start, length, advice) == 0 ? 0 : errno;
}

int advice_error(size_t size, int advice)
{
	int fd = huge_memfd_of(size, 1);
	void *start;
	int error;

	if (fd < 0)
		return -fd;
	/* Without a reservation the pool may be empty. */
	start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	error = start == MAP_FAILED ? errno : advise(start, size, advice);
	if (start != MAP_FAILED)
		munmap(start, size);
	close(fd);
	return error;
}

/*
 * Both sizes are asked: a kernel that splits one and refuses the other has the
 * feature, and is wrong, which a test must show rather than skip.
 */
int hgm_error(void)
{
	int error = advice_error(PMD_PAGE, MADV_SPLIT);

	return error && advice_error(PUD_PAGE, MADV_SPLIT) ? error : 0;
}

void split(void *start, size_t length)
{
	assert_error(advise(start, length, MADV_SPLIT), 0);
}

void collapse(void *start, size_t length)
{
	assert_error(advise(start, length, MADV_COLLAPSE), 0);
}
