// SPDX-License-Identifier: GPL-2.0-only
/* What a failed assertion says: the test's line, what was asked, what came instead. */
#include <stdio.h>
#include <string.h>

#include "library.h"

static _Thread_local struct site site;

/* What the kernel was asked last: "MADV_SPLIT", and of how many bytes. */
static _Thread_local struct {
	const char *what;
	size_t length;
} asked;

void probe_at(const char *file, int line)
{
	site = (struct site){ file, line };
}

struct site probe_site(void)
{
	return site;
}

void probe_asked(const char *what, size_t length)
{
	asked.what = what;
	asked.length = length;
}

const char *error_name(int error)
{
	const char *name = strerrorname_np(error);

	if (error == 0)
		return "success";
	return name ? name : "unknown error";
}

static void print_request(char *text, size_t room, const char *what, size_t length)
{
	if (length)
		snprintf(text, room, "%s of %s", what, range_text(length));
	else
		snprintf(text, room, "%s", what);
}

/* CALL is the assertion's text; only the function's name is used. */
void check_error(const char *call, int got, int want)
{
	char request[128];

	if (got == want)
		return;
	if (asked.what)
		print_request(request, sizeof(request), asked.what, asked.length);
	else
		snprintf(request, sizeof(request), "%.*s", (int)strcspn(call, "("), call);
	probe_fail("%s: expected %s, got %s", request, error_name(want), error_name(got));
}

void check_bytes(const char *call, ssize_t got, size_t length)
{
	int error = errno;

	if (got == (ssize_t)length)
		return;
	probe_fail("%.*s: expected %s, got %s", (int)strcspn(call, "("), call,
		   size_text((int64_t)length), got < 0 ? error_name(error) : size_text(got));
}

/* A request that fails at once has its error in both places. */
static void print_result(char *text, size_t room, const struct uffd_result *result)
{
	if (result->error ? result->done == -result->error
			  : result->done == (int64_t)result->length)
		snprintf(text, room, "%s", error_name(result->error));
	else if (result->done < 0)
		snprintf(text, room, "%s with -%s in its last field", error_name(result->error),
			 error_name((int)-result->done));
	else
		snprintf(text, room, result->error ? "%s after %s" : "%s with %s done",
			 error_name(result->error), size_text(result->done));
}

void assert_result(struct uffd_result got, int error, int64_t done)
{
	struct uffd_result want = { error, done, got.what, got.length };
	char request[128], wanted[96], seen[96];

	if (got.error == error && got.done == done)
		return;
	print_request(request, sizeof(request), got.what, got.length);
	print_result(wanted, sizeof(wanted), &want);
	print_result(seen, sizeof(seen), &got);
	probe_fail("%s: expected %s, got %s", request, wanted, seen);
}
