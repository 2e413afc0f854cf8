// SPDX-License-Identifier: GPL-2.0-only
/*
 * References on base pages by vmsplice(), fixed buffers of io_uring and O_DIRECT
 * while the mapping changes: the pages stay until they are released.
 */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define PAGES 4UL

static int fd;
static char buffer[PAGES * BASE_PAGE] __attribute__((aligned(BASE_PAGE)));

static void fill_file(void)
{
	fd = filled_memfd(1, FILLING);
}

static void assert_buffer(size_t first, size_t count)
{
	check_copy(buffer, first, count, FILLING);
}

/* The pipe holds the file's pages, also when they are unmapped. */
static void spliced(void)
{
	int uffd, ends[2];
	char *primary = map_split(fd, 0, 0, &uffd);
	struct iovec part = { primary + 10 * BASE_PAGE, PAGES * BASE_PAGE };

	assert_continue(uffd, primary + 10 * BASE_PAGE, PAGES * BASE_PAGE, 0, PAGES * BASE_PAGE);
	assert_errno(pipe(ends), 0);
	assert_bytes(vmsplice(ends[1], &part, 1, 0), sizeof(buffer));
	assert_error(advise(primary, huge_size(), MADV_DONTNEED), 0);
	assert_mapped(primary, 0, 0, 0);
	assert_bytes(read(ends[0], buffer, sizeof(buffer)), sizeof(buffer));
	assert_buffer(10, PAGES);
}

/* The pipe has the last reference; a read drops it. */
static void pipe_is_the_last(void)
{
	struct pool before = pool_now();
	int own = filled_memfd(1, FILLING), uffd, ends[2];
	char *primary = map_split(own, 0, 0, &uffd);
	struct iovec part = { primary + huge_size() - BASE_PAGE, BASE_PAGE };

	assert_continue(uffd, part.iov_base, BASE_PAGE, 0, BASE_PAGE);
	assert_errno(pipe(ends), 0);
	assert_bytes(vmsplice(ends[1], &part, 1, 0), BASE_PAGE);
	unmap(primary, huge_size());
	close(own);
	close(uffd);
	assert_pool(&before, -1, 0, "while the pipe holds it");
	assert_bytes(read(ends[0], buffer, BASE_PAGE), BASE_PAGE);
	assert_buffer(huge_pages() - 1, 1);
	assert_pool(&before, 0, 0, "after it was read");
}

/* What one request at a time needs of an io_uring. */
struct ring {
	int fd;
	struct io_uring_sqe *entries;
	unsigned int *tail, *mask, *array;	/* of the submission queue */
	unsigned int *done_head, *done_mask;	/* of the completion queue */
	struct io_uring_cqe *done;
};

static char *map_ring(int fd, size_t length, off_t offset)
{
	void *start = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

	assert_that(start != MAP_FAILED, "mmap of the io_uring: %s", error_name(errno));
	return start;
}

static struct ring new_ring(void)
{
	const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	struct io_uring_params p = { 0 };
	struct ring ring = { .fd = (int)syscall(SYS_io_uring_setup, 4, &p) };
	char *sq, *cq;

	if (ring.fd < 0)
		probe_skip("io_uring_setup: %s", error_name(errno));
	setrlimit(RLIMIT_MEMLOCK, &all);
	sq = map_ring(ring.fd, p.sq_off.array + p.sq_entries * sizeof(__u32), IORING_OFF_SQ_RING);
	cq = map_ring(ring.fd, p.cq_off.cqes + p.cq_entries * sizeof(*ring.done),
		      IORING_OFF_CQ_RING);
	ring.entries = (void *)map_ring(ring.fd, p.sq_entries * sizeof(*ring.entries),
					IORING_OFF_SQES);
	ring.tail = (void *)(sq + p.sq_off.tail);
	ring.mask = (void *)(sq + p.sq_off.ring_mask);
	ring.array = (void *)(sq + p.sq_off.array);
	ring.done_head = (void *)(cq + p.cq_off.head);
	ring.done_mask = (void *)(cq + p.cq_off.ring_mask);
	ring.done = (void *)(cq + p.cq_off.cqes);
	return ring;
}

/* Makes one request at the start of FILE; returns bytes or -errno. */
static int ring_request(struct ring *ring, unsigned char opcode, int file, char *address,
			size_t length)
{
	unsigned int index = *ring->tail & *ring->mask;
	int result;

	ring->entries[index] = (struct io_uring_sqe){
		.opcode = opcode, .fd = file, .addr = (uintptr_t)address, .len = (__u32)length,
	};
	ring->array[index] = index;
	__atomic_store_n(ring->tail, *ring->tail + 1, __ATOMIC_RELEASE);
	result = (int)syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	assert_that(result == 1, "io_uring_enter: %s", error_name(errno));
	result = ring->done[*ring->done_head & *ring->done_mask].res;
	__atomic_store_n(ring->done_head, *ring->done_head + 1, __ATOMIC_RELEASE);
	return result;
}

/* Reads or writes the file's first bytes, as many as the buffer has. */
static void assert_ring_request(struct ring *ring, unsigned char opcode, int file, char *page)
{
	int result = ring_request(ring, opcode, file, page, sizeof(buffer));

	assert_that(result == (int)sizeof(buffer), "%s: expected %zu bytes, got %s",
		    opcode == IORING_OP_READ_FIXED ? "IORING_OP_READ_FIXED" :
						     "IORING_OP_WRITE_FIXED", sizeof(buffer),
		    result < 0 ? error_name(-result) : size_text(result));
}

static int register_buffer(const struct ring *ring, char *start, size_t length)
{
	struct iovec part = { start, length };

	return syscall(SYS_io_uring_register, ring->fd, IORING_REGISTER_BUFFERS, &part, 1) ? errno : 0;
}

static void unregister_buffers(const struct ring *ring)
{
	assert_that(syscall(SYS_io_uring_register, ring->fd, IORING_UNREGISTER_BUFFERS, NULL, 0) ==
		    0,
		    "IORING_UNREGISTER_BUFFERS: %s", error_name(errno));
}

/*
 * A ring that can pin the file's huge page. A long-term pin moves a page out of
 * CMA, and there may be no other page to move it to (hugetlb_cma=).
 */
static struct ring new_pinning_ring(void)
{
	struct ring ring = new_ring();
	char *whole = map_shared(fd, huge_size(), UNRESERVED);
	int error = register_buffer(&ring, whole, PAGES * BASE_PAGE);

	if (error == ENOMEM && meminfo_bytes("CmaTotal") > 0)
		probe_skip("IORING_REGISTER_BUFFERS in a huge page that is not split: %s",
			   error_name(error));
	assert_error(error, 0);
	unregister_buffers(&ring);
	unmap(whole, huge_size());
	return ring;
}

/* A long-term pin of base pages during MADV_DONTNEED and MADV_COLLAPSE. */
static void fixed_buffer(void)
{
	struct ring ring = new_pinning_ring();
	int uffd;
	char *primary = map_split(fd, 0, 0, &uffd), *page = primary + 4 * BASE_PAGE;

	assert_continue(uffd, page, PAGES * BASE_PAGE, 0, PAGES * BASE_PAGE);
	assert_error(register_buffer(&ring, page, PAGES * BASE_PAGE), 0);
	assert_error(advise(primary, huge_size(), MADV_DONTNEED), 0);
	unregister_buffers(&ring);
	assert_continue(uffd, page, PAGES * BASE_PAGE, 0, PAGES * BASE_PAGE);
	assert_error(register_buffer(&ring, page, PAGES * BASE_PAGE), 0);
	collapse(primary, huge_size());
	assert_whole(primary, huge_size());
	unregister_buffers(&ring);
	check_pages(primary, 0, 16, FILLING);
}

/* An ordinary file is written from the fixed buffer, and read into it. */
static void ring_io(void)
{
	struct ring ring = new_pinning_ring();
	int file = memfd_create("plain", MFD_CLOEXEC), uffd;
	char *primary = map_split(fd, 0, 0, &uffd), *page = primary + 6 * BASE_PAGE;

	assert_continue(uffd, page, PAGES * BASE_PAGE, 0, PAGES * BASE_PAGE);
	assert_error(register_buffer(&ring, page, PAGES * BASE_PAGE), 0);
	assert_ring_request(&ring, IORING_OP_WRITE_FIXED, file, page);
	assert_bytes(pread(file, buffer, sizeof(buffer), 0), sizeof(buffer));
	assert_buffer(6, PAGES);
	/* After MADV_DONTNEED the ring still writes to the pages that it pinned. */
	memset(buffer, 0, sizeof(buffer));
	assert_bytes(pwrite(file, buffer, sizeof(buffer), 0), sizeof(buffer));
	assert_error(advise(primary, huge_size(), MADV_DONTNEED), 0);
	assert_ring_request(&ring, IORING_OP_READ_FIXED, file, page);
	assert_continue(uffd, primary + 5 * BASE_PAGE, 6 * BASE_PAGE, 0, 6 * BASE_PAGE);
	check_zero(primary, 6, PAGES);
	check_pages(primary, 5, 1, FILLING);
	check_pages(primary, 10, 1, FILLING);
	fill_pages(primary, 6, PAGES, FILLING);
}

/* A guest has a disk where Python probes run. */
static void direct_io(void)
{
	int disk, uffd;
	char *primary = map_split(fd, 0, 0, &uffd), *page = primary + 6 * BASE_PAGE, *alias;

	probe_harms("reads /dev/vda");
	disk = open("/dev/vda", O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (disk < 0)
		probe_skip("/dev/vda: %s (the guest has no disk)", error_name(errno));
	assert_continue(uffd, page - BASE_PAGE, 6 * BASE_PAGE, 0, 6 * BASE_PAGE);
	assert_bytes(pread(disk, buffer, sizeof(buffer), 0), sizeof(buffer));
	assert_bytes(pread(disk, page, sizeof(buffer), 0), sizeof(buffer));
	alias = map_shared(fd, huge_size(), UNRESERVED);
	assert_that(memcmp(alias + 6 * BASE_PAGE, buffer, sizeof(buffer)) == 0,
		    "O_DIRECT: the file has other bytes than a read into ordinary memory gave");
	check_pages(primary, 5, 1, FILLING);
	check_pages(primary, 10, 1, FILLING);
	fill_pages(primary, 6, PAGES, FILLING);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "base pages in a pipe (vmsplice) keep their contents after MADV_DONTNEED",
		  spliced },
		{ "a huge page that only a pipe refers to returns to the pool when the pipe is read",
		  pipe_is_the_last },
		{ "an io_uring fixed buffer of base pages outlives MADV_DONTNEED and MADV_COLLAPSE",
		  fixed_buffer },
		{ "io_uring reads into a fixed buffer of base pages and writes from it", ring_io },
		{ "O_DIRECT reads a disk into base pages of a split huge page", direct_io },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
		.pages = 2,
		.needs_hgm = true,
		.setup = fill_file,
	});
}
