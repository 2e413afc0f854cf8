/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The firmware, and all the software, of the guest that test_migration.py migrates. It never
 * ends: each word of the memory from BEGIN to END gets its own address, and then 1 is added to
 * the first word of each page, page after page, again and again. So a page that is lost, stale,
 * or another's is still seen after any number of passes.
 */
	.code16
	.globl	start
start:
	cli
	inb	$0x92, %al		/* address line 20 */
	orb	$2, %al
	outb	%al, $0x92
	lgdtl	%cs:gdt_pointer - start
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmpl	$8, $protected

	.code32
protected:
	movw	$16, %ax
	movw	%ax, %ds
	movl	$BEGIN, %edi
fill:
	movl	%edi, (%edi)
	addl	$4, %edi
	cmpl	$END, %edi
	jb	fill
pass:
	movl	$BEGIN, %edi
count:
	incl	(%edi)
	addl	$4096, %edi
	cmpl	$END, %edi
	jb	count
	jmp	pass

	/* Flat segments, of code and of data, which count as accessed: this memory is read-only. */
	.balign	8
gdt:
	.quad	0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt

	/* The last 64 KiB below 4 GiB; an x86 processor starts 16 bytes before the end. */
	.org	0xfff0
	.code16
	jmp	start
	.org	0x10000
