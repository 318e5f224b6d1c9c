package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// nowhere is the hardware address of nobody: the bridge sends what is for it to all, and all discard it.
const nowhere = "02:00:00:00:00:99"

// oneWay has everything lost that goes from a host to others, and nothing that comes from them: it sends to an address that nobody has. A
// route that drops would not do: the sender is told.
func oneWay(ctx context.Context, from *host, to ...*host) error {
	for _, h := range to {
		if err := sh(ctx, fmt.Sprintf("ip -n %s neigh replace %s lladdr %s nud permanent dev peers", from.name, h.peers, nowhere)); err != nil {
			return err
		}
	}
	return nil
}

// bothWays ends that.
func bothWays(ctx context.Context, from *host, to ...*host) error {
	for _, h := range to {
		if err := sh(ctx, fmt.Sprintf("ip -n %s neigh del %s dev peers", from.name, h.peers)); err != nil {
			return err
		}
	}
	return nil
}

// others are the hosts but one.
func (l *lab) others(but *host) (all []*host) {
	for _, h := range l.hosts {
		if h != but {
			all = append(all, h)
		}
	}
	return all
}

// checkOneWay makes sure that oneWay loses one direction, and only that.
func (l *lab) checkOneWay(ctx context.Context) error {
	a, b := l.hosts[0], l.hosts[1]
	at := map[*host]*net.UDPConn{}
	for _, h := range []*host{a, b} {
		s, err := h.packets()
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }()
		at[h] = s
	}
	pass := func(from, to *host, text string) error {
		_, err := at[from].WriteTo([]byte(text), at[to].LocalAddr())
		return err
	}
	next := func(h *host, want string) error {
		buffer := make([]byte, 16)
		_ = at[h].SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := at[h].Read(buffer)
		if err == nil && string(buffer[:n]) != want {
			err = fmt.Errorf("got %q", buffer[:n])
		}
		if err != nil {
			return fmt.Errorf("one-way loss does not work here: waiting for %q at %s: %w", want, h.name, err)
		}
		return nil
	}
	steps := []func() error{
		func() error { return pass(a, b, "before") }, func() error { return next(b, "before") },
		func() error { return oneWay(ctx, a, b) },
		func() error { return pass(a, b, "lost") },
		func() error { return pass(b, a, "back") }, func() error { return next(a, "back") },
		func() error { return bothWays(ctx, a, b) },
		func() error { return pass(a, b, "after") }, func() error { return next(b, "after") }, // the one before was lost
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// packets returns a UDP socket in the host's namespace, which a socket never leaves.
func (h *host) packets() (*net.UDPConn, error) {
	type made struct {
		*net.UDPConn
		error
	}
	result := make(chan made)
	go func() { // its thread is not used again: it ends with the goroutine, since it is not unlocked
		runtime.LockOSThread()
		result <- func() made {
			f, err := os.Open("/run/netns/" + h.name)
			if err != nil {
				return made{nil, err}
			}
			defer func() { _ = f.Close() }()
			if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
				return made{nil, fmt.Errorf("setns: %w", err)}
			}
			c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(h.peers)})
			return made{c, err}
		}()
	}()
	m := <-result
	return m.UDPConn, m.error
}
