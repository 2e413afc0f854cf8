// SPDX-License-Identifier: GPL-2.0-only
/* userfaultfd: the handshake, the ioctls, and threads on both sides of a fault. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "library.h"

static uint64_t number(const void *address)
{
	return (uint64_t)(uintptr_t)address;
}

static int error_of(int result)
{
	return result == 0 ? 0 : errno;
}

/* UFFDIO_API works once on a userfaultfd: asking for features takes one of its own. */
static int handshake(uint64_t features, uint64_t *offered)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (uffd < 0)
		probe_skip("userfaultfd: %s", error_name(errno));
	assert_that(ioctl(uffd, UFFDIO_API, &api) == 0, "UFFDIO_API with features %#llx: %s",
		    (unsigned long long)features, error_name(errno));
	*offered = api.features;
	return uffd;
}

uint64_t uffd_offered(void)
{
	uint64_t offered;

	close(handshake(0, &offered));
	return offered;
}

int uffd_open(uint64_t features)
{
	uint64_t offered = uffd_offered();

	if (features & ~offered)
		probe_skip("UFFDIO_API: features %#llx are not offered",
			   (unsigned long long)(features & ~offered));
	return handshake(features, &offered);
}

int uffd_try_register(int uffd, void *start, size_t length, uint64_t mode, uint64_t *ioctls)
{
	struct uffdio_register request = {
		.range = { .start = number(start), .len = length },
		.mode = mode,
	};
	int error = error_of(ioctl(uffd, UFFDIO_REGISTER, &request));

	probe_asked("UFFDIO_REGISTER", length);
	if (ioctls)
		*ioctls = request.ioctls;
	return error;
}

void uffd_register(int uffd, void *start, size_t length, uint64_t mode)
{
	assert_error(uffd_try_register(uffd, start, length, mode, NULL), 0);
}

int uffd_unregister(int uffd, void *start, size_t length)
{
	struct uffdio_range range = { .start = number(start), .len = length };

	probe_asked("UFFDIO_UNREGISTER", length);
	return error_of(ioctl(uffd, UFFDIO_UNREGISTER, &range));
}

char *map_split_part(int fd, size_t first, size_t count, uint64_t features, uint64_t modes,
		     int *uffd)
{
	size_t length = count * huge_size();
	char *start = map_part(fd, first, length, UNRESERVED);

	*uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS | features);
	split(start, length);
	uffd_register(*uffd, start, length, UFFDIO_REGISTER_MODE_MINOR | modes);
	return start;
}

char *map_split(int fd, uint64_t features, uint64_t modes, int *uffd)
{
	return map_split_part(fd, 0, 1, features, modes, uffd);
}

struct uffd_result uffd_continue(int uffd, void *start, size_t length)
{
	return uffd_continue_mode(uffd, start, length, 0);
}

struct uffd_result uffd_continue_mode(int uffd, void *start, size_t length, uint64_t mode)
{
	struct uffdio_continue request = {
		.range = { .start = number(start), .len = length },
		.mode = mode,
	};
	int error = error_of(ioctl(uffd, UFFDIO_CONTINUE, &request));

	return (struct uffd_result){ error, request.mapped, "UFFDIO_CONTINUE", length };
}

struct uffd_result uffd_copy(int uffd, void *to, const void *from, size_t length)
{
	return uffd_copy_mode(uffd, to, from, length, 0);
}

struct uffd_result uffd_zeropage(int uffd, void *start, size_t length)
{
	struct uffdio_zeropage request = { .range = { .start = number(start), .len = length } };
	int error = error_of(ioctl(uffd, UFFDIO_ZEROPAGE, &request));

	return (struct uffd_result){ error, request.zeropage, "UFFDIO_ZEROPAGE", length };
}

struct uffd_result uffd_copy_mode(int uffd, void *to, const void *from, size_t length,
				  uint64_t mode)
{
	struct uffdio_copy request = {
		.dst = number(to),
		.src = number(from),
		.len = length,
		.mode = mode,
	};
	int error = error_of(ioctl(uffd, UFFDIO_COPY, &request));

	return (struct uffd_result){ error, request.copy, "UFFDIO_COPY", length };
}

int uffd_protect(int uffd, void *start, size_t length, bool on)
{
	struct uffdio_writeprotect request = {
		.range = { .start = number(start), .len = length },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	probe_asked(on ? "UFFDIO_WRITEPROTECT" : "UFFDIO_WRITEPROTECT without MODE_WP", length);
	return error_of(ioctl(uffd, UFFDIO_WRITEPROTECT, &request));
}

int uffd_rwprotect(int uffd, void *start, size_t length, uint64_t mode)
{
	struct uffdio_rwprotect request = {
		.range = { .start = number(start), .len = length },
		.mode = mode,
	};

	probe_asked(mode ? "UFFDIO_RWPROTECT" : "UFFDIO_RWPROTECT without MODE_RWP", length);
	return error_of(ioctl(uffd, UFFDIO_RWPROTECT, &request));
}

int uffd_set_mode(int uffd, uint64_t enable, uint64_t disable)
{
	struct uffdio_set_mode request = { .enable = enable, .disable = disable };

	probe_asked("UFFDIO_SET_MODE", 0);
	return error_of(ioctl(uffd, UFFDIO_SET_MODE, &request));
}

struct uffd_result uffd_poison(int uffd, void *start, size_t length)
{
	struct uffdio_poison request = { .range = { .start = number(start), .len = length } };
	int error = error_of(ioctl(uffd, UFFDIO_POISON, &request));

	return (struct uffd_result){ error, request.updated, "UFFDIO_POISON", length };
}

struct uffd_result uffd_move(int uffd, void *to, void *from, size_t length, uint64_t mode)
{
	struct uffdio_move request = {
		.dst = number(to),
		.src = number(from),
		.len = length,
		.mode = mode,
	};
	int error = error_of(ioctl(uffd, UFFDIO_MOVE, &request));

	return (struct uffd_result){ error, request.move, "UFFDIO_MOVE", length };
}

int uffd_wake(int uffd, void *start, size_t length)
{
	struct uffdio_range range = { .start = number(start), .len = length };

	probe_asked("UFFDIO_WAKE", length);
	return error_of(ioctl(uffd, UFFDIO_WAKE, &range));
}

static const char *event_name(unsigned int event)
{
	switch (event) {
	case UFFD_EVENT_PAGEFAULT:
		return "UFFD_EVENT_PAGEFAULT";
	case UFFD_EVENT_FORK:
		return "UFFD_EVENT_FORK";
	case UFFD_EVENT_REMAP:
		return "UFFD_EVENT_REMAP";
	case UFFD_EVENT_REMOVE:
		return "UFFD_EVENT_REMOVE";
	case UFFD_EVENT_UNMAP:
		return "UFFD_EVENT_UNMAP";
	default:
		return "an unknown event";
	}
}

static const char *flags_name(uint64_t flags)
{
	static const char *const names[] = {
		"missing read", "missing write", "read with WP", "write-protect",
		"minor read", "minor write", "minor read with WP", "minor write with WP",
		"RWP read", "RWP write",
	};

	return flags < COUNT_OF(names) ? names[flags] : "unknown";
}

/* Reads one message; false if there is none. */
static bool read_message(int uffd, struct uffd_msg *message)
{
	ssize_t length = read(uffd, message, sizeof(*message));

	if (length < 0 && errno == EAGAIN)
		return false;
	assert_that(length == sizeof(*message), "read of a userfaultfd: %s",
		    length < 0 ? error_name(errno) : "a short message");
	return true;
}

bool uffd_is_readable(int uffd)
{
	struct pollfd waiting = { .fd = uffd, .events = POLLIN };

	return poll(&waiting, 1, scaled_ms(EVENT_MS)) > 0;
}

struct uffd_msg uffd_next_event(int uffd, unsigned int event)
{
	struct uffd_msg message;

	if (!uffd_is_readable(uffd) || !read_message(uffd, &message))
		probe_fail("no %s within %g s", event_name(event), scaled_ms(EVENT_MS) / 1000.0);
	assert_that(message.event == event, "the userfaultfd reports %s, expected %s",
		    event_name(message.event), event_name(event));
	return message;
}

struct uffd_msg uffd_event_of(int uffd, unsigned int event, void *(*call)(void *), void *argument)
{
	struct uffd_msg message;
	pthread_t thread;

	assert_error(pthread_create(&thread, NULL, call, argument), 0);
	message = uffd_next_event(uffd, event);
	pthread_join(thread, NULL);
	return message;
}

void assert_event_range(const struct uffd_msg *message, const char *start, size_t length)
{
	uint64_t from = message->arg.remove.start, to = message->arg.remove.end;

	assert_that(from == (uintptr_t)start && to == from + length,
		    "the event's range is %#llx to %#llx, expected %p to %p",
		    (unsigned long long)from, (unsigned long long)to, start, start + length);
}

void assert_event_remap(const struct uffd_msg *message, const char *from, const char *to,
			size_t length)
{
	assert_that(message->arg.remap.from == (uintptr_t)from &&
		    message->arg.remap.to == (uintptr_t)to && message->arg.remap.len == length,
		    "UFFD_EVENT_REMAP from %#llx to %#llx of %s, expected %p to %p of %s",
		    (unsigned long long)message->arg.remap.from,
		    (unsigned long long)message->arg.remap.to,
		    size_text((int64_t)message->arg.remap.len), from, to,
		    size_text((int64_t)length));
}

static bool read_fault(int uffd, struct uffd_fault *fault)
{
	struct uffd_msg message;

	if (!read_message(uffd, &message))
		return false;
	assert_that(message.event == UFFD_EVENT_PAGEFAULT, "the userfaultfd reports %s, expected %s",
		    event_name(message.event), event_name(UFFD_EVENT_PAGEFAULT));
	fault->address = (char *)(uintptr_t)message.arg.pagefault.address;
	fault->flags = message.arg.pagefault.flags;
	return true;
}

struct uffd_fault uffd_next_fault(int uffd)
{
	struct uffd_fault fault;

	if (!uffd_is_readable(uffd) || !read_fault(uffd, &fault))
		probe_fail("no fault message within %g s", scaled_ms(EVENT_MS) / 1000.0);
	return fault;
}

void assert_fault(int uffd, const char *address, uint64_t flags)
{
	struct uffd_fault fault = uffd_next_fault(uffd);

	if (fault.address != address)
		probe_fail("%s fault at %p, expected %p: off by %s", flags_name(fault.flags),
			   fault.address, address, size_text(fault.address - address));
	assert_that(fault.flags == flags, "%s fault (flags %#llx), expected a %s fault (%#llx)",
		    flags_name(fault.flags), (unsigned long long)fault.flags, flags_name(flags),
		    (unsigned long long)flags);
}

void assert_no_fault(int uffd)
{
	struct uffd_fault fault;

	if (read_fault(uffd, &fault))
		probe_fail("unexpected %s fault at %p", flags_name(fault.flags), fault.address);
}

static int new_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	assert_that(fd >= 0, "eventfd: %s", error_name(errno));
	return fd;
}

static void *touch_run(void *argument)
{
	struct touch *touch = argument;

	touch->tid = gettid();
	if (touch->kind == TOUCH_WRITE)
		*touch->address = touch->value;
	else
		touch->value = *touch->address;
	eventfd_write(touch->done, 1);
	return NULL;
}

void touch_start(struct touch *touch, void *address, enum touch_kind kind)
{
	touch->address = address;
	touch->kind = kind;
	touch->value = 0;
	touch->tid = 0;
	touch->done = new_eventfd();
	assert_error(pthread_create(&touch->thread, NULL, touch_run, touch), 0);
}

/*
 * Whether a thread has left its CPU: a fault is queued, and reported, before the thread has
 * decided to wait for its answer. proc(5): "running" else.
 */
static bool is_asleep(pid_t tid)
{
	char path[64];
	FILE *file;
	int first;

	if (!tid)
		return false;
	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	file = fopen(path, "re");
	if (!file)
		return true; /* the kernel cannot tell, or the thread has ended */
	first = fgetc(file);
	fclose(file);
	return first != 'r';
}

bool touch_is_blocked(const struct touch *touch)
{
	struct pollfd waiting = { .fd = touch->done, .events = POLLIN };

	for (int ms = scaled_ms(EVENT_MS); ms > 0; ms--) {
		bool asleep = is_asleep(touch->tid);

		if (poll(&waiting, 1, asleep ? 0 : 1) > 0)
			return false;
		if (asleep)
			return true;
	}
	return false;
}

uint64_t touch_end(struct touch *touch)
{
	struct pollfd waiting = { .fd = touch->done, .events = POLLIN };

	if (poll(&waiting, 1, scaled_ms(EVENT_MS)) <= 0)
		probe_fail("the access to %p is still held after %g s",
			   (void *)(uintptr_t)touch->address, scaled_ms(EVENT_MS) / 1000.0);
	pthread_join(touch->thread, NULL);
	close(touch->done);
	return touch->value;
}

/* The second word of a page is not part of its stamp. */
#define BESIDE_THE_STAMP sizeof(uint64_t)

void assert_trapped(int uffd, char *address, size_t length, enum touch_kind kind)
{
	uint64_t write = kind == TOUCH_WRITE ? UFFD_PAGEFAULT_FLAG_WRITE : 0;
	struct touch touch;

	touch_start(&touch, address + BESIDE_THE_STAMP, kind);
	assert_fault(uffd, address, UFFD_PAGEFAULT_FLAG_RWP | write);
	assert_that(touch_is_blocked(&touch), "the %s did not wait",
		    kind == TOUCH_WRITE ? "writer" : "reader");
	assert_error(uffd_rwprotect(uffd, address, length, 0), 0);
	touch_end(&touch);
}

void assert_untrapped(int uffd, char *address, enum touch_kind kind)
{
	struct touch touch;
	struct pollfd waiting[2] = { { .events = POLLIN }, { .fd = uffd, .events = POLLIN } };

	touch_start(&touch, address + BESIDE_THE_STAMP, kind);
	waiting[0].fd = touch.done;
	poll(waiting, COUNT_OF(waiting), scaled_ms(EVENT_MS));
	assert_no_fault(uffd);
	touch_end(&touch);
	assert_no_fault(uffd);
}

static void serve(struct server *server, const struct uffd_fault *fault)
{
	char *start = (char *)((uintptr_t)fault->address & ~(server->granule - 1));
	struct uffd_result result = uffd_continue(server->uffd, start, server->granule);

	if (server->count < SERVER_FAULTS)
		server->faults[server->count] = fault->address;
	server->count++;
	if (result.error && !server->error)
		server->error = result.error;
}

static void *server_run(void *argument)
{
	struct server *server = argument;
	struct pollfd waiting[] = {
		{ .fd = server->uffd, .events = POLLIN },
		{ .fd = server->stop, .events = POLLIN },
	};
	struct uffd_fault fault;

	probe_at(server->file, server->line);
	while (poll(waiting, COUNT_OF(waiting), -1) > 0 && !waiting[1].revents)
		if (read_fault(server->uffd, &fault))
			serve(server, &fault);
	return NULL;
}

void server_start(struct server *server, int uffd, size_t granule)
{
	memset(server, 0, sizeof(*server));
	server->uffd = uffd;
	server->granule = granule;
	server->file = probe_site().file;
	server->line = probe_site().line;
	server->stop = new_eventfd();
	assert_error(pthread_create(&server->thread, NULL, server_run, server), 0);
}

void server_end(struct server *server)
{
	eventfd_write(server->stop, 1);
	pthread_join(server->thread, NULL);
	close(server->stop);
	assert_that(server->error == 0, "UFFDIO_CONTINUE of %s in answer to a fault: %s",
		    size_text((int64_t)server->granule), error_name(server->error));
}
