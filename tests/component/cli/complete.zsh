# SPDX-License-Identifier: GPL-2.0-only
# What a zsh offers for a line as it is typed, after a tab: its matches, a line each.
autoload -Uz compinit
compinit -D -u
source "$COMPLETION"

offer() {
	compadd() {
		local -a found
		builtin compadd -O found "$@"
		print -rl -- $found
	}
	print OFFERED:
	_main_complete
	print :OFFERED
	unfunction compadd
	compstate[insert]=
}
zle -C offer complete-word offer
bindkey '^I' offer
PS1='ready> '
