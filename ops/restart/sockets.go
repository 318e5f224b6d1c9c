package restart

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/cloudflare/tableflip"
	"golang.org/x/sys/unix"

	"github.com/sockmill/sockmill/engine"
)

var _ engine.Sockets = (*Restart)(nil)

// Listen implements engine.Sockets: it returns the listening socket of an address from
// the process before, from systemd, or from bind, and keeps a duplicate for
// the next version. bind may be nil: net.Listen, for a server of net/http. After an
// error of a server the listener may be closed as any other.
func (r *Restart) Listen(network, address string, bind func() (net.Listener, error)) (net.Listener, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := r.key(network, address)
	for _, kind := range kinds(network) {
		if l, err := r.flip.Listener(kind, key); l != nil || err != nil {
			return l, err
		}
	}
	if a := r.takeActivated(network, address); a != nil {
		return r.keep(kept(network), key, a.listens)
	}
	switch {
	case r.cfg.ReusePort && network == "tcp":
		bind = func() (net.Listener, error) { return reusePort.Listen(context.Background(), network, address) }
	case bind == nil:
		bind = func() (net.Listener, error) { return net.Listen(network, address) }
	}
	l, err := bind()
	if err != nil {
		return nil, err
	}
	return r.keep(network, key, l)
}

// The library removes the file of a "unix" socket when the program ends, or when the
// next version does not listen there any more. That of systemd must stay.
const unixOfSystemd = "unix of systemd"

// kept is what the library is told that a socket of systemd is.
func kept(network string) string {
	if network == "unix" {
		return unixOfSystemd
	}
	return network
}

// kinds are what the process before may have called a socket.
func kinds(network string) []string {
	if network == "unix" {
		return []string{network, unixOfSystemd}
	}
	return []string{network}
}

// key names a socket for the next version: by what this one asked for, since port 0
// says no more, and counted, since several may be asked for alike. r.mu is held.
func (r *Restart) key(network, address string) string {
	r.asked[network+address]++
	if n := r.asked[network+address]; n > 1 {
		return address + " #" + strconv.Itoa(n)
	}
	return address
}

// keep has the library pass a duplicate on.
func (r *Restart) keep(kind, key string, l net.Listener) (net.Listener, error) {
	own, ok := l.(tableflip.Listener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("restart: %T has no socket that could be handed over", l), l.Close())
	}
	if err := r.flip.AddListener(kind, key, own); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// ListenPacket implements engine.Sockets.
func (r *Restart) ListenPacket(address string, bind func() ([]net.PacketConn, error)) (list []net.PacketConn, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := r.key("udp", address)
	nth := func(i int) string { return key + " socket " + strconv.Itoa(i) }
	for {
		c, err := r.flip.PacketConn("udp", nth(len(list)))
		if err != nil {
			return nil, errors.Join(err, closeAll(list))
		}
		if c == nil {
			break
		}
		list = append(list, c)
	}
	if len(list) > 0 {
		return list, nil
	}
	if a := r.takeActivated("udp", address); a != nil {
		list = []net.PacketConn{a.packets}
	} else if r.cfg.ReusePort {
		return nil, errors.New("restart: Config.ReusePort is not for UDP: a peer would change from one process to another")
	} else if list, err = bind(); err != nil {
		return nil, err
	}
	for i, c := range list {
		own, ok := c.(tableflip.PacketConn)
		if !ok {
			return nil, errors.Join(fmt.Errorf("restart: %T has no socket that could be handed over", c), closeAll(list))
		}
		if err := r.flip.AddPacketConn("udp", nth(i), own); err != nil {
			return nil, errors.Join(err, closeAll(list))
		}
	}
	return list, nil
}

func closeAll(list []net.PacketConn) (err error) {
	for _, c := range list {
		err = errors.Join(err, c.Close())
	}
	return err
}

// reusePort makes sockets as the engine does, but for SO_REUSEPORT.
var reusePort = net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) (err error) {
	return errors.Join(raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}), err)
}}

func init() { reusePort.SetMultipathTCP(false) } // its sockets do not inherit options from their listener
