package loop

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"
)

// PacketOwner is told, on the loop's goroutine, that packets may wait in its
// socket. It is told again as long as some wait.
type PacketOwner interface{ Arrived() }

// PacketSocket is a UDP socket that a loop reads. Its methods may be called from
// any goroutine, but for Receive.
type PacketSocket struct {
	fd    int
	six   bool // of IPv6, and perhaps of IPv4 too
	addr  net.Addr
	loop  *Loop // nil before Read
	owner PacketOwner

	mu     sync.RWMutex // Close has it alone: the descriptor is used by nobody else then
	closed bool
}

// packetSockets are those that a loop reads. Other goroutines add and remove them,
// so that a loop which is held up makes nobody wait.
type packetSockets struct {
	mu    sync.Mutex
	list  []*PacketSocket
	ended bool // with the loop
}

// ListenPackets binds a UDP address, and makes sockets of what BindPackets returns.
func ListenPackets(address string, sockets int) ([]*PacketSocket, error) {
	bound, err := BindPackets(address, sockets)
	if err != nil {
		return nil, err
	}
	return PacketSockets(bound)
}

// BindPackets binds a UDP address, with so many sockets if the kernel spreads
// packets over them by their peers (Linux), or else with one. An address that
// anybody else has is taken, also if that one would share it.
func BindPackets(address string, sockets int) (all []net.PacketConn, err error) {
	if !spreadsPackets {
		sockets = 1
	}
	for range sockets {
		var c net.PacketConn
		if c, err = bindPackets(address, len(all) > 0); err == nil {
			all = append(all, c)
			if address = c.LocalAddr().String(); len(all) == 1 && sockets > 1 { // it was bound without, so that it did not share
				err = shareLater(c)
			}
		}
		if err != nil {
			closeAll(all)
			return nil, err
		}
	}
	return all, nil
}

func bindPackets(address string, shares bool) (net.PacketConn, error) {
	var lc net.ListenConfig
	if shares {
		lc.Control = func(_, _ string, raw syscall.RawConn) (err error) {
			return errors.Join(raw.Control(func(fd uintptr) { err = sharePort(int(fd)) }), err)
		}
	}
	return lc.ListenPacket(context.Background(), "udp", address)
}

// PacketSockets makes sockets for the loops of UDP sockets that are bound, which it
// closes.
func PacketSockets(bound []net.PacketConn) ([]*PacketSocket, error) {
	var all []*PacketSocket
	defer closeAll(bound)
	for _, c := range bound {
		s, err := packetSocket(c)
		if err != nil {
			for _, s := range all {
				s.Close()
			}
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func packetSocket(c net.PacketConn) (*PacketSocket, error) {
	fd, err := duplicate(c)
	if err != nil {
		return nil, err
	}
	s := &PacketSocket{fd: fd, addr: c.LocalAddr()}
	own, err := unix.Getsockname(fd)
	if err != nil {
		s.Close()
		return nil, err
	}
	_, s.six = own.(*unix.SockaddrInet6)
	return s, nil
}

func closeAll(list []net.PacketConn) {
	for _, c := range list {
		_ = c.Close()
	}
}

func shareLater(c net.PacketConn) error {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	return errors.Join(raw.Control(func(fd uintptr) { err = sharePort(int(fd)) }), err)
}

func sharePort(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }

// Addr is the address that is bound.
func (s *PacketSocket) Addr() net.Addr { return s.addr }

// Read has a loop read the socket from now on. It fails after Close, and if the
// loop has ended.
func (s *PacketSocket) Read(l *Loop, owner PacketOwner) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	p := &l.packets
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return errEnded
	}
	if err := l.poller.AddRead(&netpoll.PollAttachment{FD: s.fd}, false); err != nil {
		return err
	}
	s.loop, s.owner = l, owner
	p.list = append(p.list, s)
	return nil
}

// Receive takes the next packet, if there is one, into the loop's buffer, which
// has room for the longest. It is for the loop's goroutine.
func (s *PacketSocket) Receive() (data []byte, from netip.AddrPort, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, from, false
	}
	n, from, errno := recvFrom(s.fd, s.loop.buf)
	if errno != 0 { // the poller tells again, if there is anything
		return nil, from, false
	}
	return s.loop.buf[:n], from, true
}

// Send sends one packet. It never blocks: EAGAIN means that the kernel has no room.
// It fails with net.ErrClosed after Close.
func (s *PacketSocket) Send(b []byte, to netip.AddrPort) error {
	addr := to.Addr()
	if !addr.IsValid() {
		return unix.EDESTADDRREQ
	}
	if !s.six && !addr.Unmap().Is4() {
		return unix.EAFNOSUPPORT
	}
	scope, err := scopeOf(addr.Zone())
	if err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return net.ErrClosed
	}
	if errno := sendTo(s.fd, b, s.six, to, scope); errno != 0 {
		return errno
	}
	return nil
}

// scopeOf is the number of the interface that a zone names.
func scopeOf(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	i, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, err
	}
	return uint32(i.Index), nil
}

// addrOf is the address of a peer: an IPv4 one, if it is one written in IPv6. Only
// a link-local one has a scope, and then a zone that is allocated.
func addrOf(ip [16]byte, scope uint32) netip.Addr {
	addr := netip.AddrFrom16(ip).Unmap()
	if scope != 0 {
		addr = addr.WithZone(strconv.FormatUint(uint64(scope), 10))
	}
	return addr
}

// Close closes the descriptor at once. What the socket holds is lost. The owner may
// be in the midst of Arrived; then it receives no more.
func (s *PacketSocket) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	if s.loop != nil {
		s.loop.packets.remove(s)
	}
	_ = unix.Close(s.fd)
}

func (p *packetSockets) remove(s *PacketSocket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended { // and the poller with it
		return
	}
	p.list = slices.DeleteFunc(p.list, func(x *PacketSocket) bool { return x == s })
	_ = s.loop.poller.Delete(s.fd)
}

// arrived follows an event of a descriptor that is no Socket's.
func (p *packetSockets) arrived(fd int) {
	p.mu.Lock()
	var owner PacketOwner
	for _, s := range p.list {
		if s.fd == fd {
			owner = s.owner
		}
	}
	p.mu.Unlock()
	if owner != nil {
		owner.Arrived()
	}
}

// end closes all sockets, when the loop has ended.
func (p *packetSockets) end() {
	p.mu.Lock()
	list := p.list
	p.list, p.ended = nil, true
	p.mu.Unlock()
	for _, s := range list {
		s.Close()
	}
}
