//go:build poll_opt

package loop

const _ = "sockmill cannot be built with the tag poll_opt, which gives gnet's poller another interface: leave the tag out" + 0
