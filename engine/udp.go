package engine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"runtime/debug"
	"sync/atomic"
	"syscall"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/internal/poison"
)

// Packet says where a UDP packet came from. It is a small value that may be kept,
// and its methods may be called from any goroutine: an answer may be sent at once or
// later. The engine keeps nothing of a peer.
//
// The address of a sender can be forged (RFC 8085 §4.1): a server on the Internet
// should not answer with more bytes than it was sent before the peer has sent back
// something that only its address could receive.
type Packet struct {
	socket *packetSocket
	from   netip.AddrPort
}

// RemoteAddr is the peer. An IPv4 address is never one written in IPv6. A
// link-local one has the number of its interface as its zone.
func (p Packet) RemoteAddr() netip.AddrPort { return p.from }

// Listener is where the packet arrived; nil of a zero Packet.
func (p Packet) Listener() *Listener {
	if p.socket == nil {
		return nil
	}
	return p.socket.l
}

// Loop is the one on which OnPacket is called; nil of a zero Packet. While a listener
// is open, all packets from the same address and port to the same address of this
// machine come to the same loop: what is kept of a peer needs no lock. On Linux
// the kernel spreads the peers over all loops; on macOS one loop has them all.
func (p Packet) Loop() *Loop {
	if p.socket == nil {
		return nil
	}
	return &p.socket.w.api
}

// Reply sends a packet back to the peer, from the address of the listener. Errors are
// those of Listener.WriteTo.
func (p Packet) Reply(data []byte) error {
	if p.socket == nil {
		return errors.New("engine: Packet.Reply: this Packet is not from OnPacket")
	}
	return p.socket.send(data, p.from)
}

// WriteTo sends one UDP packet to any address, from that of the listener, which must
// be of udp://. Any goroutine may call it, before Run too. It never blocks, and
// keeps no reference to data, which may be empty. A nil error means that the kernel
// has taken the packet; it may be lost all the same.
//
// It fails with ErrBackpressure if the kernel has no room: the packet is dropped.
// It fails with ErrClosed after the end of the listener. A packet that is too long
// for UDP (65,507 bytes over IPv4, 65,527 over IPv6), or for the way to the peer, is
// EMSGSIZE.
//
// A listener on every address of a machine sends from the one that the machine's
// routes choose. If it has several, listen on each.
func (l *Listener) WriteTo(data []byte, to netip.AddrPort) error {
	p, ok := l.net.(packetListener)
	if !ok {
		return fmt.Errorf("engine: Listener.WriteTo: the listener %s is not of udp://", l)
	}
	return p[0].send(data, to)
}

// packetListener has the sockets of a listener on udp://, each for a loop of its own.
type packetListener []*packetSocket

// packetSocket is one of them. A Packet refers to it.
type packetSocket struct {
	l    *Listener
	w    *worker
	sock *loop.PacketSocket

	received, tooLong counter
	sent              atomic.Uint64
}

// bindPackets binds the address of a listener on udp://.
func (l *Listener) bindPackets(addr string, u *url.URL) error {
	if l.ep.handler.OnPacket == nil {
		return fmt.Errorf("engine: Handler.OnPacket is nil: a listener on %s calls nothing else", addr)
	}
	address, err := hostPort(addr, u)
	if err != nil {
		return err
	}
	e := l.ep.e
	bound, err := e.sockets().ListenPacket(address, func() ([]net.PacketConn, error) { return loop.BindPackets(address, len(e.loops)) })
	if err != nil {
		return listenError(addr, err)
	}
	sockets, err := loop.PacketSockets(bound)
	if err != nil {
		return listenError(addr, err)
	}
	var all packetListener
	for i, sock := range sockets {
		w := e.loops[i%len(e.loops)] // another process may have made more of them
		if len(sockets) == 1 {
			w = e.choose()
		}
		all = append(all, &packetSocket{l: l, w: w, sock: sock})
	}
	l.net = all
	return nil
}

// start has the loops read.
func (p packetListener) start() {
	for _, s := range p {
		if err := s.sock.Read(s.w.loop, s); err != nil {
			s.l.ep.e.log.Error("a loop cannot read packets", zap.Stringer("listener", s.l), zap.Int("loop", s.w.api.index), zap.Error(err))
			s.sock.Close() // the others get its peers
		}
	}
}

// Accept, Close and Addr make it the net.Listener of its Listener.
func (p packetListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }

// Close closes the sockets: nothing is received from now on.
func (p packetListener) Close() error {
	for _, s := range p {
		s.sock.Close()
	}
	return nil
}

// leave has each loop close its socket, so that a call of OnPacket that is under way can still
// answer. A packet that nobody has read may be another process' then.
func (p packetListener) leave() {
	for _, s := range p {
		if s.w.post(post{kind: ownPost, do: s.sock.Close}) != nil { // the loop has ended
			s.sock.Close()
		}
	}
}

// Addr is the address that is bound.
func (p packetListener) Addr() net.Addr { return p[0].sock.Addr() }

// addTo adds the numbers of the sockets.
func (p packetListener) addTo(s *ListenerStats) {
	for _, x := range p {
		s.Packets += x.received.n.Load()
		s.PacketsTooLong += x.tooLong.n.Load()
		s.PacketsSent += x.sent.Load()
	}
}

// Arrived implements loop.PacketOwner: it takes packets until none waits, or until
// it is enough for one turn.
func (s *packetSocket) Arrived() {
	w := s.w
	w.beginTurn()
	for {
		data, from, ok := s.sock.Receive()
		if !ok {
			break
		}
		w.laneOf(s.l.ep).current.BytesIn += uint64(len(data))
		if len(data) > s.l.ep.PacketBytesMax {
			s.tooLong.add(1)
		} else {
			s.received.add(1)
			w.laneOf(s.l.ep).current.MessagesIn++
			s.call(Packet{s, from}, data)
		}
		if w.enough() {
			break
		}
	}
	w.called()
	w.endTurn()
}

// call calls OnPacket.
func (s *packetSocket) call(p Packet, data []byte) {
	defer func() {
		if v := recover(); v != nil {
			s.l.ep.e.log.Error("OnPacket panicked; its listener goes on", zap.Any("panic", v),
				zap.Stringer("remote", p.from), zap.Stringer("listener", s.l), zap.ByteString("stack", debug.Stack()))
		}
	}()
	s.w.callingAt(onPacket, 0)
	s.l.ep.handler.OnPacket(p, data)
	s.w.returned()
	poison.Fill(data)
}

// send sends one packet. Any goroutine may call it.
func (s *packetSocket) send(data []byte, to netip.AddrPort) error {
	err := s.sock.Send(data, to)
	if err == nil {
		s.sent.Add(1)
		return nil
	}
	return sendError(err, len(data), to)
}

// sendError is what the sender of a packet is told.
func sendError(err error, length int, to netip.AddrPort) error {
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOBUFS):
		return ErrBackpressure
	case errors.Is(err, net.ErrClosed):
		return ErrClosed
	case errors.Is(err, syscall.EMSGSIZE):
		return fmt.Errorf("engine: a packet of %d bytes to %s is too long: UDP carries 65,507 bytes over IPv4 and 65,527 over IPv6, and some ways less (1,200 pass almost everywhere): %w", length, to, err)
	default:
		return fmt.Errorf("engine: sending a packet to %s: %w", to, err)
	}
}
