package engine

import "net"

// Sockets is where an Engine gets the sockets of its addresses from, if they may be
// there already: from the process whose place this one takes, or from systemd.
// Package ops/restart implements it.
//
// The methods are called by New and Engine.Listen, on their goroutine, once for each
// address. bind is what the engine does without Sockets. What is
// returned belongs to the engine, which closes it. Closing must not harm the
// others who have the socket: a *net.UnixListener must keep its file (SetUnlinkOnClose)
// if another process goes on serving it.
type Sockets interface {
	// Listen returns a *net.TCPListener for network "tcp", a *net.UnixListener for
	// "unix", or what bind returned. address is host:port, or the path of a
	// socket file, as in Config.Addr.
	Listen(network, address string, bind func() (net.Listener, error)) (net.Listener, error)

	// ListenPacket returns one or more *net.UDPConn, or what bind returned. If
	// there are several, the kernel must spread the peers over them (SO_REUSEPORT
	// on Linux). Each is read by one loop.
	ListenPacket(address string, bind func() ([]net.PacketConn, error)) ([]net.PacketConn, error)
}

// sockets are those of the Config of New.
func (e *Engine) sockets() Sockets {
	if e.set.Sockets != nil {
		return e.set.Sockets
	}
	return ownSockets{}
}

// ownSockets are all made by this process.
type ownSockets struct{}

func (ownSockets) Listen(_, _ string, bind func() (net.Listener, error)) (net.Listener, error) {
	return bind()
}

func (ownSockets) ListenPacket(_ string, bind func() ([]net.PacketConn, error)) ([]net.PacketConn, error) {
	return bind()
}
