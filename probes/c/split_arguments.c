// SPDX-License-Identifier: GPL-2.0-only
/* MADV_SPLIT of every kind of shared mapping, and of invalid ranges. */
#include <sys/ipc.h>
#include <sys/shm.h>

#include "hgm_probe.h"

static int fd;

static void make_file(void)
{
	fd = huge_memfd(3);
}

static char *map_with(int protection, int flags, int file)
{
	void *start = mmap(NULL, huge_size(), protection, flags | MAP_NORESERVE, file, 0);

	assert_that(start != MAP_FAILED, "mmap: %s", error_name(errno));
	return start;
}

static void assert_split(char *start)
{
	split(start, huge_size());
	assert_flag(start, "hm", true);
}

static void no_access(void)
{
	assert_split(map_with(PROT_NONE, MAP_SHARED, fd));
}

static void read_only(void)
{
	assert_split(map_with(PROT_READ, MAP_SHARED, fd));
}

static void shared_anonymous(void)
{
	int log2 = __builtin_ctzl(huge_size());

	assert_split(map_with(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS |
			      MAP_HUGETLB | log2 << MAP_HUGE_SHIFT, -1));
}

static void system_v(void)
{
	int log2 = __builtin_ctzl(huge_size());
	int id = shmget(IPC_PRIVATE, huge_size(), IPC_CREAT | SHM_HUGETLB | SHM_NORESERVE |
			log2 << MAP_HUGE_SHIFT | 0600);
	char *start;

	if (id < 0 && errno == EPERM)
		probe_skip("shmget with SHM_HUGETLB: EPERM");
	assert_that(id >= 0, "shmget: %s", error_name(errno));
	start = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	assert_that(start != (void *)-1, "shmat: %s", error_name(errno));
	assert_split(start);
}

static void no_length(void)
{
	char *start = map_shared(fd, huge_size(), UNRESERVED);

	assert_error(advise(start, 0, MADV_SPLIT), 0);
	assert_flag(start, "hm", false);
}

static void wrapping(void)
{
	char *start = map_shared(fd, huge_size(), UNRESERVED);

	assert_error(advise(start, -huge_size(), MADV_SPLIT), EINVAL);
	assert_error(advise(start, SIZE_MAX, MADV_SPLIT), EINVAL);
	assert_error(advise((void *)-huge_size(), 2 * huge_size(), MADV_SPLIT), EINVAL);
	assert_flag(start, "hm", false);
}

/* As with other advice: ENOMEM, but what is mapped was advised. */
static void gap(void)
{
	char *start = map_shared(fd, 3 * huge_size(), UNRESERVED);

	unmap(start + huge_size(), huge_size());
	assert_error(advise(start, 3 * huge_size(), MADV_SPLIT), ENOMEM);
	assert_flag(start, "hm", true);
	assert_flag(start + 2 * huge_size(), "hm", true);
}

static void unmapped(void)
{
	char *start = map_shared(fd, huge_size(), UNRESERVED);

	unmap(start, huge_size());
	assert_error(advise(start, huge_size(), MADV_SPLIT), ENOMEM);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "MADV_SPLIT of a PROT_NONE mapping sets flag hm in smaps", no_access },
		{ "MADV_SPLIT of a read-only mapping sets flag hm in smaps", read_only },
		{ "MADV_SPLIT of shared anonymous hugetlb memory sets flag hm in smaps",
		  shared_anonymous },
		{ "MADV_SPLIT of System V shared hugetlb memory sets flag hm in smaps", system_v },
		{ "MADV_SPLIT of an empty range succeeds and splits nothing", no_length },
		{ "MADV_SPLIT of a range that wraps around is EINVAL", wrapping },
		{ "MADV_SPLIT of a range with a gap is ENOMEM and splits both sides of the gap",
		  gap },
		{ "MADV_SPLIT of an unmapped range is ENOMEM", unmapped },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.needs_hgm = true,
		.setup = make_file,
	});
}
