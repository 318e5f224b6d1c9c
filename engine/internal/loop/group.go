// Package loop holds everything of the engine that touches gnet or a
// descriptor: the event loops, enrolling sockets in them, the control
// connection that wakes a loop, raw writing, the writability watcher, pausing.
// It knows nothing of protocols. Where gnet's behaviour shaped the code, the
// comment says so.
package loop

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"github.com/sockmill/sockmill/engine/internal/gid"
)

// ReadBytesMax is the size of a loop's read buffer: what one Readable call can
// bring at most.
const ReadBytesMax = 64 << 10

// LoopsMax is how many loops gnet can number.
const LoopsMax = 256

// Driver is the owner of a loop. It is called on the loop's goroutine.
type Driver interface {
	// Woken follows a Wake. ready are the watched sockets that became writable
	// or whose peer hung up; the slice is valid during the call.
	Woken(ready []*Socket)
}

// Loop is one event loop: one goroutine, one epoll or kqueue descriptor, one
// read buffer.
type Loop struct {
	driver  Driver
	sys     System
	client  *gnet.Client // of this loop alone
	el      gnet.EventLoop
	poller  int            // the descriptor of gnet's poller
	gid     atomic.Uintptr // 0 before the loop's goroutine runs and once it ends: a later one may get the same
	open    int            // connections, the control connection too
	elWord  unsafe.Pointer // el's value
	opening *Socket        // whose descriptor is being registered
	reading *Socket        // whose Opened or Readable runs
	watcher *watcher

	load     atomic.Int64 // connections, those on their way included
	arriving atomic.Int64 // connections on their way

	wake     io.Writer // the outer end of the control connection
	outer    net.Conn  // which is this, but in a simulation
	woken    atomic.Bool
	ready    readyList
	arrivals arrivals
	vecs     []unix.Iovec // scratch of WriteV
}

// On reports whether the caller is the loop's goroutine. On processors that
// gid does not know it is always false.
func (l *Loop) On() bool {
	id := l.gid.Load()
	return id != 0 && id == gid.Current()
}

// Driver is who was given to Start for this loop.
func (l *Loop) Driver() Driver { return l.driver }

// Wake makes the loop call Woken soon: once for any number of calls before it
// runs. Any goroutine may call it.
func (l *Loop) Wake() {
	if l.woken.CompareAndSwap(false, true) {
		_, _ = l.wake.Write(wakeByte) // fails only once the loop has ended
	}
}

var wakeByte = []byte{0} // here, or each Wake would allocate it

// Group is a set of running loops.
type Group struct {
	loops   []*Loop
	watcher *watcher
}

// Logger is where gnet reports what is wrong. zap's SugaredLogger is one.
type Logger interface {
	Errorf(format string, args ...any)
}

// Start runs n loops; driver is asked for the owner of each.
func Start(n int, log Logger, driver func(*Loop) Driver) (_ *Group, err error) {
	g := new(Group)
	defer func() {
		if err != nil {
			g.Stop()
		}
	}()
	if g.watcher, err = newWatcher(); err != nil {
		return g, err
	}
	for range n {
		l := &Loop{watcher: g.watcher}
		l.sys = kernel{l}
		g.loops = append(g.loops, l)
		if err = l.start(log); err != nil {
			return g, err
		}
		l.driver = driver(l)
	}
	return g, nil
}

// start runs the loop in a gnet client of its own, so that it is ours to say
// which loop a connection goes to, and gives it its control connection, through
// which alone it is woken.
func (l *Loop) start(log Logger) error {
	client, err := gnet.NewClient(&handler{loop: l},
		gnet.WithNumEventLoop(1),
		gnet.WithReadBufferCap(ReadBytesMax),
		gnet.WithTCPNoDelay(gnet.TCPDelay), // Go's listener has set TCP_NODELAY: spare the call
		gnet.WithLogger(quiet{log}))
	if err != nil {
		return fmt.Errorf("creating an event loop: %w", err)
	}
	if err = client.Start(); err != nil {
		return fmt.Errorf("starting an event loop: %w", err)
	}
	l.client = client
	inner, outer, err := socketPair()
	if err != nil {
		return fmt.Errorf("creating a control connection: %w", err)
	}
	l.wake, l.outer = outer, outer
	c, err := client.EnrollContext(inner, l)
	if err != nil {
		return fmt.Errorf("enrolling a control connection: %w", err)
	}
	l.poller, err = pollerFD(c.EventLoop())
	return err
}

func socketPair() (inner, outer net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if inner, err = FileConn(fds[0]); err != nil {
		_ = unix.Close(fds[1])
		return nil, nil, err
	}
	if outer, err = FileConn(fds[1]); err != nil {
		_ = inner.Close()
	}
	return inner, outer, err
}

// FileConn makes a net.Conn of a descriptor and owns it from then on, also
// when it fails.
func FileConn(fd int) (net.Conn, error) {
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close() // FileConn has its own duplicate
	return net.FileConn(f)
}

// arrivingMax bounds the connections that wait for one loop to take them, so
// that a loop which is held up does not hold up those that feed all loops.
const arrivingMax = 2

// Enroll hands a TCP or unix connection to the loop with the fewest
// connections and returns after owner.Opened ran there. The net.Conn is closed
// in any case; the loop has its own duplicate of the descriptor. It must not be
// called on a loop, nor after Stop.
func (g *Group) Enroll(c net.Conn, s *Socket, owner Owner) error {
	return g.pick().Enroll(c, s, owner)
}

// Enroll is Group.Enroll for this loop.
func (l *Loop) Enroll(c net.Conn, s *Socket, owner Owner) error {
	s.owner = owner
	l.load.Add(1)
	l.arriving.Add(1)
	defer l.arriving.Add(-1)
	fd, err := duplicate(c)
	_ = c.Close()
	if err == nil {
		err = l.arrive(s, fd)
	}
	if err != nil {
		l.load.Add(-1)
	}
	return err
}

// pick returns the loop with the fewest connections, those on their way
// included, among the loops that take what is on its way.
func (g *Group) pick() (best *Loop) {
	for _, l := range g.loops {
		if l.arriving.Load() < arrivingMax && (best == nil || l.load.Load() < best.load.Load()) {
			best = l
		}
	}
	if best == nil { // all are held up
		best = g.loops[rand.IntN(len(g.loops))]
	}
	return best
}

// Stop ends the loops: every socket still there is closed, its owner told.
// No Enroll may be under way.
func (g *Group) Stop() {
	var stopped sync.WaitGroup
	for _, l := range g.loops {
		if l.client != nil {
			stopped.Go(func() { _ = l.client.Stop() })
		}
	}
	stopped.Wait()
	if g.watcher != nil {
		g.watcher.close()
	}
	for _, l := range g.loops {
		if l.outer != nil {
			_ = l.outer.Close()
		}
	}
}

// handler routes gnet's events: the context of a connection is its *Socket,
// that of a control connection its *Loop.
type handler struct {
	gnet.BuiltinEventEngine
	loop *Loop
}

func (h *handler) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	h.loop.open++
	switch x := c.Context().(type) {
	case *Loop:
		x.el = c.EventLoop()
		x.gid.Store(gid.Current())
		x.elWord = word(x.el)
	case nil:
		s := h.loop.opening
		c.SetContext(s)
		return nil, s.opened(h.loop, c)
	}
	return nil, gnet.None
}

func (*handler) OnTraffic(c gnet.Conn) gnet.Action {
	b, _ := c.Next(-1) // all of it: what stays would be copied into a ring
	switch x := c.Context().(type) {
	case *Socket:
		return x.readable(b)
	case *Loop:
		x.woken.Swap(false) // pairs with Wake: what was posted before it is seen
		x.adopt()
		x.driver.Woken(x.ready.take())
	}
	return gnet.None
}

func (h *handler) OnClose(c gnet.Conn, err error) gnet.Action {
	if s, ok := c.Context().(*Socket); ok {
		s.closed(err)
	}
	if h.loop.open--; h.loop.open == 0 { // nothing follows: Stop closes the control connection among the others
		h.loop.gid.Store(0)
	}
	return gnet.None
}

// quiet passes on what gnet finds wrong. It drops the rest: among it a warning
// of every event for a socket that was closed earlier in the same batch, which
// is no irregularity here.
type quiet struct{ log Logger }

func (quiet) Debugf(string, ...any)               {}
func (quiet) Infof(string, ...any)                {}
func (quiet) Warnf(string, ...any)                {}
func (q quiet) Errorf(format string, args ...any) { q.log.Errorf(format, args...) }
func (q quiet) Fatalf(format string, args ...any) { q.log.Errorf(format, args...) }
