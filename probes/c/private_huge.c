// SPDX-License-Identifier: GPL-2.0-only
/*
 * Private huge pages: MADV_DONTNEED takes whole ones only, a copy on write gives
 * back what it took, also from a mount with a minimum size, and a forced write
 * is refused.
 */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define MINIMUM 4

static void dontneed_whole_pages(void)
{
	char *start = map_private_huges(2, RESERVED);
	char *second = start + huge_size();
	struct pool before;

	fill_pages(start, 0, huge_pages(), FILLING);
	fill_pages(second, 0, huge_pages(), FILLING);
	before = pool_now();
	assert_error(advise(start, BASE_PAGE, MADV_DONTNEED), 0);
	assert_error(advise(start, huge_size() - BASE_PAGE, MADV_DONTNEED), 0);
	check_pages(start, 0, huge_pages(), FILLING);
	assert_pool(&before, 0, 0, "after MADV_DONTNEED of less than a huge page");
	assert_error(advise(start + BASE_PAGE, huge_size(), MADV_DONTNEED), EINVAL);
	assert_error(advise(start, huge_size() + BASE_PAGE, MADV_DONTNEED), 0);
	/* Whether its reservation comes back as well has changed over the years. */
	assert_that(pool_now().free == before.free + 1,
		    "MADV_DONTNEED of a huge page and 4 KiB freed %ld huge pages, expected 1",
		    pool_now().free - before.free);
	check_pages(second, 0, huge_pages(), FILLING);
	check_zero(start, 0, huge_pages());
}

/* A file that takes what is free and not reserved. */
static int rest_of_pool(void)
{
	struct pool now = pool_now();
	long rest = now.free - now.reserved;
	int fd = huge_memfd((size_t)rest + 1);

	if (rest > 0)
		assert_errno(fallocate(fd, 0, 0, rest * (off_t)huge_size()), 0);
	return fd;
}

/*
 * What mmap has reserved is there for each later fault: MADV_DONTNEED gives the page back, and
 * then somebody else takes all that is free.
 */
static void used_again(void)
{
	char *start = map_private_huge(RESERVED);
	int others;

	fill_pages(start, 0, huge_pages(), FILLING);
	assert_error(advise(start, huge_size(), MADV_DONTNEED), 0);
	others = rest_of_pool();
	assert_signal(start, TOUCH_WRITE, 0);
	check_zero(start, 1, huge_pages() - 1);
	close(others);
}

static atomic_bool writing;

static void *drop(void *start)
{
	while (writing)
		(void)madvise(start, huge_size(), MADV_DONTNEED);
	return NULL;
}

static void write_for_a_while(void *start)
{
	int64_t end = now_ns() + 500000000;

	while (now_ns() < end)
		*(volatile char *)start = 1;
}

/* The last free page is the one that is given back, while it is wanted again. */
static void used_meanwhile(void)
{
	char *start = map_private_huge(RESERVED);
	int others = rest_of_pool(), signal;
	pthread_t dropper;

	writing = true;
	assert_that(pthread_create(&dropper, NULL, drop, start) == 0, "pthread_create");
	signal = signal_of(write_for_a_while, start);
	writing = false;
	assert_that(pthread_join(dropper, NULL) == 0, "pthread_join");
	assert_that(signal == 0, "a write while MADV_DONTNEED gives the page back gets signal %d",
		    signal);
	close(others);
}

/* 0, or the error number of a write of one byte to TO through /proc/self/mem. */
static int pwrite_error(char *to)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	ssize_t done;

	assert_that(fd >= 0, "/proc/self/mem: %s", error_name(errno));
	done = pwrite(fd, "x", 1, (off_t)(uintptr_t)to);
	close(fd);
	return done == 1 ? 0 : errno;
}

/*
 * FOLL_FORCE on a page that may not be written: kernels refuse it with EIO, or
 * since 6.14 write to a private copy. It must be the one or the other.
 */
static void forced_write(void)
{
	char *start = map_private_huge(RESERVED), byte;
	struct pool before;
	int error, fd;

	*start = 1;
	assert_errno(mprotect(start, huge_size(), PROT_READ), 0);
	before = pool_now();
	error = pwrite_error(start);
	assert_that(error == 0 || error == EIO, "pwrite to /proc/self/mem: expected success or EIO, "
		    "got %s", error_name(error));
	byte = error == 0 ? 'x' : 1;
	assert_that(*(volatile char *)start == byte, "the page shows %d after a write that %s",
		    *(volatile char *)start, error == 0 ? "succeeded" : "failed");
	fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	assert_bytes(pread(fd, &byte, 1, (off_t)(uintptr_t)start), 1);
	close(fd);
	assert_that(byte == *(volatile char *)start, "/proc/self/mem does not show the page");
	assert_pool(&before, 0, 0, "after a forced write");
	assert_errno(mprotect(start, huge_size(), PROT_READ | PROT_WRITE), 0);
	assert_error(pwrite_error(start), 0);
	assert_that(*(volatile char *)start == 'x', "a write to /proc/self/mem is not in the page");
}

/* A write by a debugger, to a child that waits for it: the parent's page stays. */
static void traced_write(void)
{
	char *start = map_private_huge(RESERVED);
	int status, error;
	pid_t child;
	long seen;

	*start = 1;
	assert_errno(mprotect(start, huge_size(), PROT_READ), 0);
	child = fork();
	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	assert_errno(waitpid(child, &status, 0), 0);
	error = ptrace(PTRACE_POKEDATA, child, start, 2L) == 0 ? 0 : errno;
	seen = ptrace(PTRACE_PEEKDATA, child, start, NULL);
	ptrace(PTRACE_KILL, child, NULL, NULL);
	waitpid(child, &status, 0);
	assert_that(error == 0 || error == EIO, "PTRACE_POKEDATA: expected success or EIO, got %s",
		    error_name(error));
	assert_that(seen == (error == 0 ? 2 : 1), "PTRACE_PEEKDATA shows %ld after a write that %s",
		    seen, error == 0 ? "succeeded" : "failed");
	assert_that(*(volatile char *)start == 1, "the parent's page has its child's contents");
}

static char *shared_page;

static void child_reads(void)
{
	check_pages(shared_page, 0, huge_pages(), FILLING);
}

/* The parent copies while its child has the page, or takes it over if the child has gone. */
static void copied_after_fork(void)
{
	struct pool before = pool_now();
	int go[2], status;
	pid_t child;
	char byte;

	shared_page = map_private_huge(RESERVED);
	fill_pages(shared_page, 0, huge_pages(), FILLING);
	assert_errno(pipe(go), 0);
	child = fork();
	if (child == 0) {
		if (read(go[0], &byte, 1) != 1)
			_exit(1);
		_exit(*(volatile char *)(shared_page + 8) == 0 ? 0 : 2);
	}
	*(volatile char *)(shared_page + 8) = 1;
	assert_pool(&before, -2, 0, "after a copy on write");
	assert_bytes(write(go[1], "x", 1), 1);
	assert_errno(waitpid(child, &status, 0), 0);
	assert_that(status == 0, "the child sees its parent's write");
	*(volatile char *)(shared_page + 8) = 0;
	child_end(child_start(child_reads));
	assert_pool(&before, -1, 0, "after the child has gone");
	unmap(shared_page, huge_size());
	assert_pool(&before, 0, 0, "after munmap");
}

static pid_t reader_without_page(int go)
{
	pid_t child = fork();
	char byte;

	assert_that(child >= 0, "fork: %s", error_name(errno));
	if (child == 0) {
		if (read(go, &byte, 1) != 1)
			_exit(1);
		assert_signal(shared_page, TOUCH_READ, SIGBUS);
		_exit(0);
	}
	return child;
}

/*
 * hugetlbfs_reserv.rst: the reservation is the parent's, so where there is no page
 * for a copy the child's is unmapped. It must not read zeros there.
 */
static void taken_from_child(void)
{
	struct pool before = pool_now();
	size_t rest;
	char *others;
	int go[2], status;
	pid_t child;

	shared_page = map_private_huge(RESERVED);
	fill_pages(shared_page, 0, huge_pages(), FILLING);
	rest = (size_t)(before.free - before.reserved - 1);
	others = map_private_huges(rest, RESERVED);
	assert_errno(pipe(go), 0);
	child = reader_without_page(go[0]);
	*(volatile char *)(shared_page + 8) = 1;
	assert_pool(&before, -1, (long)rest, "after a write without a page for the copy");
	check_pages(shared_page, 1, huge_pages() - 1, FILLING);
	assert_bytes(write(go[1], "x", 1), 1);
	assert_errno(waitpid(child, &status, 0), 0);
	assert_that(status == 0, "the child did not get SIGBUS where its page was taken: status %#x",
		    status);
	assert_pool(&before, -1, (long)rest, "after the child has gone");
	unmap(others, rest * huge_size());
	unmap(shared_page, huge_size());
	assert_pool(&before, 0, 0, "after munmap");
}

/* A long-term pin, by a fixed buffer of an io_uring, whose descriptor is returned. */
static int pin(char *start, size_t length)
{
	struct io_uring_params parameters = { 0 };
	struct iovec part = { start, length };
	int ring = (int)syscall(SYS_io_uring_setup, 1, &parameters);

	if (ring < 0)
		probe_skip("io_uring_setup: %s", error_name(errno));
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &part, 1) != 0)
		probe_skip("IORING_REGISTER_BUFFERS: %s", error_name(errno));
	return ring;
}

/*
 * A pinned page cannot be copied on a later write, for the device would go on with
 * the wrong one: the child gets its copy at once, or there is no child.
 */
static void pinned_at_fork(void)
{
	struct pool before = pool_now();
	size_t rest;
	char *others;
	int ring, go[2], status;
	pid_t child;

	shared_page = map_private_huge(RESERVED);
	fill_pages(shared_page, 0, huge_pages(), FILLING);
	ring = pin(shared_page, BASE_PAGE);
	assert_errno(pipe(go), 0);
	child = fork();
	if (child == 0) {
		char byte;

		if (read(go[0], &byte, 1) != 1)
			_exit(1);
		child_reads();
		_exit(0);
	}
	assert_pool(&before, -2, 0, "after fork with a pinned page");
	*(volatile char *)(shared_page + 8) = 1;
	assert_pool(&before, -2, 0, "after a write to a pinned page");
	assert_bytes(write(go[1], "x", 1), 1);
	assert_errno(waitpid(child, &status, 0), 0);
	assert_that(status == 0, "the child does not have what its parent's page was");
	rest = (size_t)(before.free - before.reserved - 1);
	others = map_private_huges(rest, RESERVED);
	child = fork();
	if (child == 0)
		_exit(0);
	assert_that(child < 0 && errno == ENOMEM,
		    "fork without a huge page for the copy of a pinned one: expected ENOMEM, got %s",
		    child < 0 ? error_name(errno) : "success");
	assert_pool(&before, -1, (long)rest, "after a fork that failed");
	unmap(others, rest * huge_size());
	/* At exit a ring may give it back late. */
	assert_errno(syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0), 0);
	unmap(shared_page, huge_size());
	assert_pool(&before, 0, 0, "after the pin and the mapping have gone");
}

static int minimal_mount(void)
{
	return detached_mount("hugetlbfs", "pagesize=%zu,min_size=%zu", huge_size(),
			      MINIMUM * huge_size());
}

static void copy_in_mount(int mount, bool child_lives)
{
	int fd = unnamed_file(mount), status;
	int go[2];
	char *start, byte;
	pid_t child;

	assert_errno(fallocate(fd, 0, 0, (off_t)huge_size()), 0);
	start = mmap(NULL, huge_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	assert_that(start != MAP_FAILED, "private mmap of a hugetlb file: %s", error_name(errno));
	*(volatile char *)start = 1;
	assert_errno(pipe2(go, O_CLOEXEC), 0);
	child = fork();
	if (child == 0)
		_exit(!child_lives || read(go[0], &byte, 1) == 1 ? 0 : 1);
	if (!child_lives)
		assert_errno(waitpid(child, &status, 0), 0);
	*(volatile char *)start = 2;
	if (child_lives) {
		assert_bytes(write(go[1], "x", 1), 1);
		assert_errno(waitpid(child, &status, 0), 0);
	}
	close(go[0]);
	close(go[1]);
	unmap(start, huge_size());
	close(fd);
}

static void copies_in_mount(void)
{
	struct pool before = pool_now();
	int mount = minimal_mount();

	assert_pool(&before, 0, MINIMUM, "mounted with min_size");
	for (int round = 0; round < 3; round++) {
		copy_in_mount(mount, true);
		assert_pool(&before, 0, MINIMUM, "after a copy on write while a child lives");
		copy_in_mount(mount, false);
		assert_pool(&before, 0, MINIMUM, "after a write when the child has gone");
	}
	close(mount);
	assert_pool(&before, 0, 0, "unmounted");
}

/* Files in such a mount take its reservation first, and give it back to it. */
static void files_in_mount(void)
{
	struct pool before = pool_now();
	int mount = minimal_mount();
	int fd = unnamed_file(mount);
	char *start;

	assert_errno(ftruncate(fd, (off_t)(MINIMUM * huge_size())), 0);
	start = map_shared(fd, 2 * huge_size(), RESERVED);
	assert_pool(&before, 0, MINIMUM, "two pages mapped in a mount with min_size");
	*(volatile char *)start = 1;
	assert_pool(&before, -1, MINIMUM - 1, "one of them touched");
	assert_errno(fallocate(fd, 0, (off_t)(2 * huge_size()), (off_t)huge_size()), 0);
	assert_pool(&before, -2, MINIMUM - 2, "another allocated");
	punch(fd, 0, 1);
	assert_pool(&before, -1, MINIMUM - 1, "the first punched out");
	assert_errno(ftruncate(fd, 0), 0);
	assert_pool(&before, 0, MINIMUM, "truncated");
	unmap(start, 2 * huge_size());
	close(fd);
	assert_pool(&before, 0, MINIMUM, "closed");
	close(mount);
	assert_pool(&before, 0, 0, "unmounted");
}

/* With the rest of the pool reserved, one page more than the mount's minimum cannot be reserved. */
static void refused_in_mount(void)
{
	struct pool before = pool_now();
	int mount = minimal_mount();
	int fd = unnamed_file(mount);
	size_t length = MINIMUM * huge_size();
	size_t rest = (size_t)(before.free - before.reserved - MINIMUM);
	char *others = map_private_huges(rest, RESERVED);

	assert_errno(ftruncate(fd, (off_t)(huge_size() + length)), 0);
	assert_errno(fallocate(fd, 0, 0, (off_t)huge_size()), 0);
	for (int attempt = 1; attempt <= 2; attempt++) {
		void *start = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
				   (off_t)huge_size());

		assert_that(start == MAP_FAILED && errno == ENOMEM,
			    "mmap of %d huge pages of which %d can be reserved, attempt %d: "
			    "expected ENOMEM, got %s", MINIMUM, MINIMUM - 1, attempt,
			    start == MAP_FAILED ? error_name(errno) : "success");
	}
	unmap(others, rest * huge_size());
	close(fd);
	close(mount);
	assert_pool(&before, 0, 0, "unmounted");
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "MADV_DONTNEED drops whole private huge pages only", dontneed_whole_pages },
		{ "a private huge page can be used again after MADV_DONTNEED, whoever empties the pool",
		  used_again },
		{ "writes to a private huge page and MADV_DONTNEED of it at the same time both work",
		  used_meanwhile },
		{ "a write to a read-only private huge page through /proc/self/mem works or is EIO",
		  forced_write },
		{ "PTRACE_POKEDATA to a read-only private huge page is the child's alone, or EIO", traced_write },
		{ "a copy on write after fork takes one huge page and gives it back",
		  copied_after_fork },
		{ "a write without a page for the copy takes the child's, which gets SIGBUS",
		  taken_from_child },
		{ "fork copies a pinned huge page at once, or is ENOMEM", pinned_at_fork },
		{ "files in a mount with min_size use its reservation", files_in_mount },
		{ "copies on write in a mount with min_size leave its reservation as it was",
		  copies_in_mount },
		/* The last, as a kernel that fails it has lost count of its reservations. */
		{ "a mount with min_size reserves no more than the pool has", refused_in_mount },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 6,
	});
}
