// SPDX-License-Identifier: GPL-2.0-only
/* The two pieces of advice that make high-granularity mapping. */
#include <unistd.h>

#include "library.h"

static const char *advice_name(int advice)
{
	switch (advice) {
	case MADV_DONTNEED:
		return "MADV_DONTNEED";
	case MADV_REMOVE:
		return "MADV_REMOVE";
	case MADV_POPULATE_READ:
		return "MADV_POPULATE_READ";
	case MADV_POPULATE_WRITE:
		return "MADV_POPULATE_WRITE";
	case MADV_NOHUGEPAGE:
		return "MADV_NOHUGEPAGE";
	case MADV_COLLAPSE:
		return "MADV_COLLAPSE";
	case MADV_SPLIT:
		return "MADV_SPLIT";
	default:
		return "madvise";
	}
}

int advise(void *start, size_t length, int advice)
{
	probe_asked(advice_name(advice), length);
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
 * All sizes are asked: a kernel that splits one and refuses another has the
 * feature, and is wrong, which a test must show rather than skip.
 */
int hgm_error(void)
{
	size_t sizes[MAX_SIZES], count = offered_sizes(sizes);
	int error = ENODEV;

	for (size_t i = 0; i < count && error; i++)
		error = advice_error(sizes[i], MADV_SPLIT);
	return error;
}

void split(void *start, size_t length)
{
	assert_error(advise(start, length, MADV_SPLIT), 0);
}

void collapse(void *start, size_t length)
{
	assert_error(advise(start, length, MADV_COLLAPSE), 0);
}
