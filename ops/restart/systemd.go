package restart

import (
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// activated is a socket that systemd has passed: a listener or one for packets.
type activated struct {
	name    string // FileDescriptorName
	stands  string // the address that Config.Names has for it, or ""
	listens net.Listener
	packets net.PacketConn
}

// activatedSockets takes those of this process out of the environment.
func activatedSockets(names map[string]string) (all []*activated, err error) {
	for _, f := range activation.Files(true) {
		a := &activated{name: f.Name(), stands: names[f.Name()]}
		if a.listens, err = net.FileListener(f); err != nil {
			a.packets, err = net.FilePacketConn(f)
		}
		_ = f.Close() // both have duplicates
		if err != nil {
			return nil, fmt.Errorf("the socket %s of systemd is none that a program can listen on (Accept= must be no): %w", a.name, err)
		}
		all = append(all, a)
	}
	return all, nil
}

func (a *activated) addr() net.Addr {
	if a.listens != nil {
		return a.listens.Addr()
	}
	return a.packets.LocalAddr()
}

// isFor reports whether the socket is what a program calls address.
func (a *activated) isFor(network, address string) bool {
	switch own := a.addr(); {
	case own.Network() != network:
		return false
	case a.stands != "":
		return a.stands == address
	case network == "unix":
		return own.String() == address
	default:
		return sameAddress(own.String(), address)
	}
}

// sameAddress reports whether a socket bound to own serves address, both host:port.
func sameAddress(own, address string) bool {
	have, err := net.ResolveTCPAddr("tcp", own) // UDP addresses are written alike
	if err != nil {
		return false
	}
	want, err := net.ResolveTCPAddr("tcp", address)
	if err != nil || have.Port != want.Port {
		return false
	}
	everywhere := func(ip net.IP) bool { return ip == nil || ip.IsUnspecified() }
	return have.IP.Equal(want.IP) || everywhere(have.IP) && everywhere(want.IP)
}

// takeActivated returns the first socket of systemd for that address, once. r.mu is held.
func (r *Restart) takeActivated(network, address string) *activated {
	at := slices.IndexFunc(r.systemd, func(a *activated) bool { return a.isFor(network, address) })
	if at < 0 {
		return nil
	}
	a := r.systemd[at]
	r.systemd = slices.Delete(r.systemd, at, at+1)
	return a
}

// notAskedFor are the sockets of systemd that nobody has taken.
func (r *Restart) notAskedFor() (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.systemd {
		names = append(names, fmt.Sprintf("%s (%s %s)", a.name, a.addr().Network(), a.addr()))
	}
	return names
}

// notify tells systemd, if it listens (sd_notify(3)).
func (r *Restart) notify(state string) {
	if state == daemon.SdNotifyReloading {
		var now unix.Timespec
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) == nil { // Type=notify-reload must know which reload it is
			state += fmt.Sprintf("\nMONOTONIC_USEC=%d", time.Duration(now.Nano()).Microseconds())
		}
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		r.log.Warn("systemd was not told", zap.String("state", state), zap.String("socket", os.Getenv("NOTIFY_SOCKET")), zap.Error(err))
	}
}
