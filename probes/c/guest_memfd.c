// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory of a KVM guest, by KVM_CREATE_GUEST_MEMFD: which modes of userfaultfd it takes,
 * and whether dirty tracking of it is exact.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <linux/kvm.h>
#include <unistd.h>

#include "hgm_probe.h"

/* For older UAPI headers, which lack them. */
#ifndef KVM_CREATE_GUEST_MEMFD
struct kvm_create_guest_memfd {
	__u64 size, flags, reserved[6];
};
#define KVM_CREATE_GUEST_MEMFD _IOWR(KVMIO, 0xd4, struct kvm_create_guest_memfd)
#endif
#ifndef GUEST_MEMFD_FLAG_MMAP
#define GUEST_MEMFD_FLAG_MMAP (1ULL << 0)
#define GUEST_MEMFD_FLAG_INIT_SHARED (1ULL << 1)
#endif

#define PAGES 512UL
#define LENGTH (PAGES * BASE_PAGE)
#define FILLING 1
#define REFILLING 2

/* A mapping of a virtual machine's memory; the machine ends with the test. */
static char *map_memory(void)
{
	struct kvm_create_guest_memfd request = {
		.size = LENGTH,
		.flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED,
	};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), machine, memory;

	if (kvm < 0)
		probe_skip("/dev/kvm: %s", error_name(errno));
	machine = ioctl(kvm, KVM_CREATE_VM, 0UL);
	if (machine < 0)
		probe_skip("KVM_CREATE_VM: %s", error_name(errno));
	memory = ioctl(machine, KVM_CREATE_GUEST_MEMFD, &request);
	if (memory < 0)
		probe_skip("KVM_CREATE_GUEST_MEMFD with MMAP and INIT_SHARED: %s",
			   error_name(errno));
	return map_shared(memory, LENGTH, UNRESERVED);
}

static void keeps_contents(void)
{
	char *start = map_memory();

	check_zero(start, 0, PAGES);
	fill_pages(start, 0, PAGES, FILLING);
	check_pages(start, 0, PAGES, FILLING);
}

static int registered(char *start, uint64_t mode, uint64_t features, uint64_t *ioctls)
{
	int uffd = uffd_open(features), error;

	error = uffd_try_register(uffd, start, LENGTH, mode, ioctls);
	close(uffd);
	return error;
}

static void modes(void)
{
	char *start = map_memory();
	uint64_t ioctls = 0;
	int missing, minor, protect;

	missing = registered(start, UFFDIO_REGISTER_MODE_MISSING, 0, &ioctls);
	assert_that(missing || ioctls & 1ULL << _UFFDIO_COPY, "missing mode without UFFDIO_COPY");
	minor = registered(start, UFFDIO_REGISTER_MODE_MINOR, UFFD_FEATURE_MINOR_SHMEM, &ioctls);
	assert_that(minor || ioctls & 1ULL << _UFFDIO_CONTINUE,
		    "minor mode without UFFDIO_CONTINUE");
	protect = registered(start, UFFDIO_REGISTER_MODE_WP, UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
			     &ioctls);
	assert_that(protect || ioctls & 1ULL << _UFFDIO_WRITEPROTECT,
		    "write-protect mode without UFFDIO_WRITEPROTECT");
	probe_note("guest_memfd: missing mode %s, minor mode %s, write-protect mode %s",
		   error_name(missing), error_name(minor), error_name(protect));
}

static void tracked(void)
{
	static const size_t written[] = { 0, 17, 18, PAGES / 2, PAGES - 1 };
	char *start = map_memory();
	int uffd = uffd_open(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED);

	fill_pages(start, 0, PAGES, FILLING);
	uffd_register(uffd, start, LENGTH, UFFDIO_REGISTER_MODE_WP);
	assert_error(uffd_protect(uffd, start, LENGTH, true), 0);
	assert_protected(start, PAGES, PAGES);
	check_pages(start, 0, PAGES, FILLING);
	for (size_t i = 0; i < COUNT_OF(written); i++)
		fill_pages(start, written[i], 1, REFILLING);
	for (size_t i = 0; i < COUNT_OF(written); i++) {
		assert_that(!pagemap_protected(start + written[i] * BASE_PAGE),
			    "pagemap: page %zu is still write-protected after a write", written[i]);
		check_pages(start, written[i], 1, REFILLING);
	}
	assert_protected(start, PAGES, PAGES - COUNT_OF(written));
	check_pages(start, 1, 16, FILLING);
}

int main(int argc, char **argv)
{
	static const struct probe_test tests[] = {
		{ "guest_memfd is zero at first and keeps what is written", keeps_contents },
		{ "a mode of userfaultfd that guest_memfd takes has its ioctl; which are is noted",
		  modes },
		{ "asynchronous write protection of guest_memfd reports the pages written and no others",
		  tracked },
	};

	return probe_main(argc, argv, &(struct probe){
		.tests = tests,
		.count = COUNT_OF(tests),
	});
}
