// SPDX-License-Identifier: GPL-2.0-only
/* What kernels differ in, asked of this one. */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <stdio.h>
#include <unistd.h>

#include "base.h"
#include "huge.h"

/* Registered for write protection and MODES. */
static char *registered(char *start, unsigned int modes, int *uffd)
{
	*uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	uffd_register(*uffd, start, huge_size(), UFFDIO_REGISTER_MODE_WP | modes);
	return start;
}

/* Since 6.8 a private page that is dropped leaves its reservation. */
static bool ask_restores(void)
{
	char *start = map_private_huge(RESERVED);
	long reserved;

	*start = 1;
	reserved = pool_now().reserved;
	assert_error(advise(start, huge_size(), MADV_DONTNEED), 0);
	reserved = pool_now().reserved - reserved;
	unmap(start, huge_size());
	return reserved != 0;
}

static bool ask_shows_marks(void)
{
	int uffd, file = huge_memfd(1);
	char *start = registered(map_shared(file, huge_size(), UNRESERVED), 0, &uffd);
	bool shown;

	assert_error(uffd_protect(uffd, start, huge_size(), true), 0);
	shown = pagemap_protected(start);
	unmap(start, huge_size());
	close(uffd);
	close(file);
	return shown;
}

static bool ask_fork_copies_marks(void)
{
	int uffd, status = 0;
	char *start = registered(map_private_huge(RESERVED), 0, &uffd);
	pid_t child;

	*start = 1;
	assert_error(uffd_protect(uffd, start, huge_size(), true), 0);
	child = fork();
	if (child == 0)
		_exit(pagemap_protected(start));
	waitpid(child, &status, 0);
	unmap(start, huge_size());
	close(uffd);
	return status != 0;
}

static bool is_since(unsigned int major, unsigned int minor)
{
	unsigned int has_major, has_minor;
	struct utsname system;

	assert_errno(uname(&system), 0);
	assert_that(sscanf(system.release, "%u.%u", &has_major, &has_minor) == 2,
		    "uname: the release is %s", system.release);
	return has_major > major || (has_major == major && has_minor >= minor);
}

/* Since 6.4. */
static bool ask_protects_mappings(void)
{
	size_t length = 2 * huge_size();
	char *start = map_private_huges(2, UNRESERVED);
	int uffd = uffd_open(UFFD_FEATURE_WP_HUGETLBFS_SHMEM), error;

	uffd_register(uffd, start, length, UFFDIO_REGISTER_MODE_WP);
	assert_errno(mprotect(start, huge_size(), PROT_READ), 0);
	error = uffd_protect(uffd, start, length, true);
	unmap(start, length);
	close(uffd);
	return error == 0;
}

/* Since 6.4. */
static bool ask_continues_protected(void)
{
	int uffd, file = huge_memfd(1), error;
	char *start = registered(map_shared(file, huge_size(), UNRESERVED),
				 UFFDIO_REGISTER_MODE_MINOR, &uffd);

	assert_errno(fallocate(file, 0, 0, (off_t)huge_size()), 0);
	error = uffd_continue_mode(uffd, start, huge_size(), UFFDIO_CONTINUE_MODE_WP).error;
	unmap(start, huge_size());
	close(uffd);
	close(file);
	return error == 0;
}

/*
 * Of UFFDIO_COPY where the pool is exhausted. 7.3.4 takes any page table for a page that is
 * already there.
 */
static int ask_copy_error(void)
{
	struct pool pool = pool_now();
	size_t rest = (size_t)(pool.free - pool.reserved);
	char *others = map_private_huges(rest, RESERVED), *source = map_anonymous(huge_size(), 0);
	int uffd, error;
	char *start = registered(map_private_huge(UNRESERVED), 0, &uffd);

	*source = 1;
	assert_error(uffd_protect(uffd, start, huge_size(), true), 0);
	error = uffd_copy(uffd, start, source, huge_size()).error;
	unmap(start, huge_size());
	unmap(source, huge_size());
	unmap(others, rest * huge_size());
	close(uffd);
	assert_that(error == ENOMEM || error == EEXIST,
		    "UFFDIO_COPY of a huge page that the pool has not: expected ENOMEM, got %s",
		    error_name(error));
	return error;
}

static bool ask_scans(void)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int result = ioctl(pagemap, _IOC(_IOC_READ | _IOC_WRITE, 'f', 16, 96), NULL);
	bool known = result == 0 || errno != ENOTTY;

	close(pagemap);
	return known;
}

void ask_rules(void)
{
	const uint64_t async = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED;
	char path[96];

	snprintf(path, sizeof(path), POOL_FILE, huge_size() / 1024);
	rules = (struct rules){
		.restores = ask_restores(),
		.shows_marks = ask_shows_marks(),
		.fork_copies_marks = ask_fork_copies_marks(),
		.unsharing_keeps_marks = is_since(6, 3),
		.continues_protected = ask_continues_protected(),
		.protects_mappings = ask_protects_mappings(),
		.copy_error = ask_copy_error(),
		.scans = ask_scans(),
		.async = (uffd_offered() & async) == async,
		/* Of two nodes each has surplus pages of its own, which the model does not know. */
		.resizes = access(path, W_OK) == 0 &&
			   access("/sys/devices/system/node/node1", F_OK) != 0,
	};
	probe_note("the kernel %s a dropped reservation, %s marks of holes, %s marks in fork",
		   rules.restores ? "restores" : "forgets", rules.shows_marks ? "shows" : "hides",
		   rules.fork_copies_marks ? "copies" : "drops");
}
