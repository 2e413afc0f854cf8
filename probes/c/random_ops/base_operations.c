// SPDX-License-Identifier: GPL-2.0-only
/* The operations, each done to the kernel and to the model. */
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base.h"

static char *address_of(size_t page)
{
	return target.primary + page * BASE_PAGE;
}

static size_t length_of(const struct op *op)
{
	return op->count * BASE_PAGE;
}

static void set(bool *states, const struct op *op, bool state)
{
	memset(states + op->page, state, op->count);
}

static void write_value(char *mapping, size_t page)
{
	volatile uint64_t *words = (void *)(mapping + page * BASE_PAGE);

	words[0] = words[BASE_PAGE / 8 - 1] = model.value[page] =
		(uint64_t)page << 32 | ++model.next_value;
}

void register_primary(void)
{
	size_t length = target.pages * BASE_PAGE;

	split(target.primary, length);
	uffd_register(target.uffd, target.primary, length,
		      UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP);
}

static struct op huge_of(size_t page)
{
	return (struct op){ .page = page / huge_pages() * huge_pages(), .count = huge_pages() };
}

static void do_continue(const struct op *op);

/* Pages that a continue maps before one that it cannot map; ERROR is why it stops there. */
static size_t continuable(const struct op *op, int *error)
{
	for (size_t i = 0; i < op->count; i++) {
		*error = !model.cached[(op->page + i) / huge_pages()] ? EFAULT :
			 model.mapped[op->page + i] ? EEXIST : 0;
		if (*error)
			return i;
	}
	*error = 0;
	return op->count;
}

/* Without descent a range may stop at a page table that the model does not know of. */
static void continue_each(const struct op *op)
{
	struct op one = { .kind = op->kind, .count = 1 };

	for (size_t i = 0; i < op->count && i < TABLE; i++) {
		one.page = op->page + i;
		do_continue(&one);
	}
}

static void do_continue(const struct op *op)
{
	bool protect = op->kind == CONT_WP && offers(PROMISE_CONTINUE_WP);
	int error;
	size_t count = continuable(op, &error);
	int64_t done = count ? (int64_t)(count * BASE_PAGE) : -error;
	struct uffd_result result;

	if (op->count > 1 && !offers(PROMISE_CONTINUE_AROUND)) {
		continue_each(op);
		return;
	}
	result = uffd_continue_mode(target.uffd, address_of(op->page), length_of(op),
				    protect ? UFFDIO_CONTINUE_MODE_WP : 0);
	if (error && count)
		error = EAGAIN;
	assert_that(result.error == error && result.done == done,
		    "UFFDIO_CONTINUE of %zu pages from page %zu: expected %s and mapped %lld, "
		    "got %s and mapped %lld", op->count, op->page, error_name(error),
		    (long long)done, error_name(result.error), (long long)result.done);
	memset(model.mapped + op->page, true, count);
	memset(model.marked + op->page, protect, count);
}

/* The huge pages that a range is in. */
static struct op widened(const struct op *op)
{
	struct op wide = *op;
	size_t end = op->page + op->count;

	wide.page = op->page / huge_pages() * huge_pages();
	wide.count = (end + huge_pages() - 1) / huge_pages() * huge_pages() - wide.page;
	return wide;
}

static void do_protect(const struct op *op)
{
	struct op range = protects_huge_pages() ? widened(op) : *op;

	assert_error(uffd_protect(target.uffd, address_of(range.page), length_of(&range),
				  op->kind == WP), 0);
	set(model.marked, &range, op->kind == WP);
}

static void answer_minor(const struct op *unit, uint64_t flags)
{
	char *start = address_of(unit->page);

	assert_fault(target.uffd, start, UFFD_PAGEFAULT_FLAG_MINOR | flags);
	assert_continue(target.uffd, start, length_of(unit), 0, length_of(unit));
	set(model.mapped, unit, true);
	set(model.marked, unit, false);
}

static void answer_protected(const struct op *unit)
{
	struct op lifted = { .kind = UNWP, .page = unit->page, .count = unit->count };
	char *start = address_of(unit->page);

	assert_fault(target.uffd, wp_address(start),
		     UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE);
	do_protect(&lifted);
}

static void do_access(const struct op *op)
{
	enum touch_kind kind = op->kind == WRITE ? TOUCH_WRITE : TOUCH_READ;
	uint64_t write = kind == TOUCH_WRITE ? UFFD_PAGEFAULT_FLAG_WRITE : 0;
	struct op unit = { .page = op->page, .count = 1 };
	struct touch touch;
	uint64_t seen;

	if (!model.cached[op->page / huge_pages()])
		return; /* the kernel allocates a page, without a message */
	touch_start(&touch, address_of(op->page) + 0x100, kind);
	if (!model.mapped[op->page])
		answer_minor(&unit, write);
	else if (write && model.marked[op->page])
		answer_protected(&unit);
	seen = touch_end(&touch);
	assert_that(seen == 0, "byte 0x100 of page %zu reads as %#llx, expected 0", op->page,
		    (unsigned long long)seen);
	if (write)
		write_value(target.primary, op->page);
	check_value("the primary mapping", target.primary, op->page);
	check_value("the alias", target.alias, op->page);
}

static void do_alias(const struct op *op)
{
	for (size_t page = op->page; page < op->page + op->count; page++) {
		if (!is_checked(page))
			continue;
		model.cached[page / huge_pages()] = true;
		write_value(target.alias, page);
	}
}

/*
 * Where a collapse leaves alone what is not a page table: one is made first, by a
 * continue of a page that is not mapped, and the whole huge page is collapsed.
 */
static void collapse_table(const struct op *op)
{
	struct op huge = huge_of(op->page), one = { .kind = CONT, .count = 1 };

	for (one.page = huge.page; one.page < huge.page + huge.count; one.page++)
		if (!model.mapped[one.page])
			break;
	if (one.page == huge.page + huge.count || !model.cached[op->page / huge_pages()])
		return;
	do_continue(&one);
	collapse(address_of(huge.page), huge_size());
	set(model.mapped, &huge, true);
	set(model.marked, &huge, false);
}

static void do_collapse(const struct op *op)
{
	if (!offers(PROMISE_COLLAPSE_INSIDE) || !offers(PROMISE_COLLAPSE_UNTOUCHED) ||
	    !offers(PROMISE_COLLAPSE_CLEARS_WP)) {
		collapse_table(op);
		return;
	}
	collapse(address_of(op->page), length_of(op));
	for (size_t page = op->page; page < op->page + op->count; page++) {
		/* Where the file has no huge page nothing is mapped, but marks go as well. */
		model.mapped[page] = model.cached[page / huge_pages()];
		model.marked[page] = false;
	}
}

static void do_vmread(const struct op *op)
{
	static uint64_t buffer[16][BASE_PAGE / 8];
	size_t count = 0;
	struct iovec local, remote;
	ssize_t done;

	while (count < op->count && count < COUNT_OF(buffer) && model.mapped[op->page + count])
		count++;
	local = (struct iovec){ buffer, count * BASE_PAGE };
	remote = (struct iovec){ address_of(op->page), count * BASE_PAGE };
	done = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	assert_that(done == (ssize_t)(count * BASE_PAGE),
		    "process_vm_readv of %zu mapped pages from page %zu: %zd bytes, %s", count,
		    op->page, done, error_name(done < 0 ? errno : 0));
	for (size_t i = 0; i < count; i++)
		check_copied_value("process_vm_readv", (char *)buffer[i], op->page + i);
}

/* The child has no userfaultfd: the kernel maps what it accesses. */
static void check_child(void)
{
	for (size_t page = 0; page < target.pages; page++)
		if (is_checked(page) && model.cached[page / huge_pages()])
			check_value("the child", target.primary, page);
}

static void do_fork(const struct op *op)
{
	(void)op;
	child_end(child_start(check_child));
}

static void do_readonly(const struct op *op)
{
	size_t length = target.pages * BASE_PAGE;

	(void)op;
	assert_that(mprotect(target.primary, length, PROT_READ) == 0,
		    "mprotect to PROT_READ: %s", error_name(errno));
	check_regions();
	assert_that(mprotect(target.primary, length, PROT_READ | PROT_WRITE) == 0,
		    "mprotect to PROT_READ | PROT_WRITE: %s", error_name(errno));
}

/* Whether mremap keeps marks depends on the kernel's version, so they are removed before. */
static void do_remap(const struct op *op)
{
	struct op all = { .kind = UNWP, .page = 0, .count = target.pages };
	size_t length = length_of(&all);
	char *to = map_shared(target.file, length, UNRESERVED);

	(void)op;
	do_protect(&all);
	to = mremap(target.primary, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	assert_that(to != MAP_FAILED, "mremap: %s", error_name(errno));
	target.primary = to;
	register_primary();
}

static void do_side(const struct op *op)
{
	size_t length = target.pages * BASE_PAGE, last = op->page + op->count - 1;
	char *side = map_shared(target.file, length, UNRESERVED);

	split(side, length);
	uffd_register(target.uffd, side, length, UFFDIO_REGISTER_MODE_MINOR);
	if (model.cached[op->page / huge_pages()] && model.cached[last / huge_pages()] &&
	    op->count <= huge_pages()) {
		assert_continue(target.uffd, side + op->page * BASE_PAGE, length_of(op), 0,
				length_of(op));
		for (size_t page = op->page; page <= last; page++)
			if (is_checked(page))
				check_value("the third mapping", side, page);
	}
	unmap(side, length);
}

static void do_reregister(const struct op *op)
{
	(void)op;
	assert_error(uffd_unregister(target.uffd, target.primary, target.pages * BASE_PAGE), 0);
	memset(model.marked, false, target.pages);
	register_primary();
}

static void do_dontneed(const struct op *op)
{
	struct op huge = huge_of(op->page);

	assert_error(advise(address_of(huge.page), huge_size(), MADV_DONTNEED), 0);
	set(model.mapped, &huge, false);
}

static void forget(const struct op *huge)
{
	set(model.mapped, huge, false);
	memset(model.value + huge->page, 0, huge->count * sizeof(model.value[0]));
	model.cached[huge->page / huge_pages()] = false;
}

static void do_punch(const struct op *op)
{
	struct op huge = huge_of(op->page);

	punch(target.file, huge.page / huge_pages(), 1);
	forget(&huge);
}

static void do_truncate(const struct op *op)
{
	off_t length = (off_t)(target.pages * BASE_PAGE);

	(void)op;
	assert_that(ftruncate(target.file, 0) == 0 && ftruncate(target.file, length) == 0,
		    "ftruncate to nothing and back: %s", error_name(errno));
	for (size_t page = 0; page < target.pages; page += huge_pages()) {
		struct op huge = huge_of(page);

		forget(&huge);
		set(model.marked, &huge, false);
	}
}

/* Each takes a page and a count of pages; some use the first page or its huge page only. */
const struct kind_info base_kinds[BASE_KINDS] = {
	[CONT] = { "cont", 30, "ac", do_continue },	/* UFFDIO_CONTINUE of the pages */
	[CONT_WP] = { "contwp", 6, "ac", do_continue },	/* the same, write-protected */
	[WP] = { "wp", 14, "ac", do_protect },		/* write-protect the pages */
	[UNWP] = { "unwp", 8, "ac", do_protect },	/* remove the protection */
	[READ] = { "read", 8, "ac", do_access },	/* read the first, answer its fault */
	[WRITE] = { "write", 12, "ac", do_access },	/* write the first, answer its fault */
	[ALIAS] = { "alias", 10, "ac", do_alias },	/* write the pages through the alias */
	[COLLAPSE] = { "collapse", 6, "ac", do_collapse },	/* MADV_COLLAPSE of the pages */
	[VMREAD] = { "vmread", 4, "ac", do_vmread },	/* process_vm_readv of mapped pages */
	[FORK] = { "fork", 2, "ac", do_fork },		/* a child checks the contents */
	[READONLY] = { "readonly", 2, "ac", do_readonly },	/* mprotect, and back */
	[REMAP] = { "remap", 2, "ac", do_remap },	/* mremap to another address */
	[SIDE] = { "side", 4, "ac", do_side },		/* continue in a third mapping */
	[REREGISTER] = { "reregister", 1, "ac", do_reregister },	/* unregister, register */
	[DONTNEED] = { "dontneed", 3, "ac", do_dontneed },	/* of the huge page */
	[PUNCH] = { "punch", 2, "ac", do_punch },	/* the huge page out of the file */
	[TRUNCATE] = { "truncate", 1, "ac", do_truncate },	/* to nothing, and back */
};
