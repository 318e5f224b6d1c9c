package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/limit"
	"github.com/sockmill/sockmill/engine/internal/loop"
)

// transport is what the scheme of an address says.
type transport struct {
	codec    func(*settings) codec.Codec // nil: WebSocket
	httpOnly bool
	tls      bool
	unix     bool
	packets  bool // OnPacket, no connections
}

// schemes are those that every engine knows. Each may have "+tls" behind it, and
// "+unix" behind that.
var schemes = map[string]transport{
	"ws":    {},
	"wss":   {tls: true},
	"http":  {httpOnly: true},
	"https": {httpOnly: true, tls: true},
	"tcp":   {codec: rawCodec},
	"tls":   {codec: rawCodec, tls: true},
	"unix":  {codec: rawCodec, unix: true},
	"text":  {codec: func(s *settings) codec.Codec { return codec.NewLines(s.MessageBytesMax) }},
	"frame": {codec: func(s *settings) codec.Codec { return codec.NewFrames(s.MessageBytesMax) }},
	"udp":   {packets: true},
}

func rawCodec(*settings) codec.Codec { return new(codec.Raw) }

// schemeName is what a scheme of the program's own may be called.
var schemeName = regexp.MustCompile(`^[a-z][a-z0-9.-]*$`)

// transportOf finds out what a scheme means.
func (c *Config) transportOf(scheme string) (t transport, known bool) {
	scheme, unix := strings.CutSuffix(scheme, "+unix")
	name, tls := strings.CutSuffix(scheme, "+tls")
	t, known = schemes[name]
	if own := c.Schemes[name]; own != nil {
		t, known = transport{codec: func(*settings) codec.Codec { return own() }}, true
	}
	if unix && t.unix || tls && t.tls || t.packets && (unix || tls) {
		return t, false
	}
	t.unix, t.tls = t.unix || unix, t.tls || tls
	return t, known
}

// schemesKnown lists them for an error.
func (c *Config) schemesKnown() string {
	names := append(slices.Collect(maps.Keys(schemes)), slices.Collect(maps.Keys(c.Schemes))...)
	slices.Sort(names)
	return strings.Join(names, ", ") + "; behind one that is not TLS +tls, and +unix last, if that is meant"
}

// transport is what Addr says; of a Listener it is WebSocket.
func (c *Config) transport() (transport, *url.URL, error) {
	if c.Addr == "" {
		return transport{}, nil, nil
	}
	u, err := url.Parse(c.Addr)
	if err != nil {
		return transport{}, nil, fmt.Errorf("engine: Config.Addr %q is no URL: write it like %s", c.Addr, c.betterAddr("ws://127.0.0.1:8090"))
	}
	t, known := c.transportOf(u.Scheme)
	switch {
	case !known:
		better := c.betterAddr("")
		if better != "" {
			better = "write " + better + " if that is meant, else "
		}
		return t, nil, fmt.Errorf("engine: Config.Addr %q has an unknown scheme: %sit must be %s", c.Addr, better, c.schemesKnown())
	case u.Host == "" && !t.unix && !strings.Contains(c.Addr, "://"):
		return t, nil, fmt.Errorf("engine: Config.Addr %q has no // behind its scheme: write it like %s", c.Addr, c.betterAddr("ws://127.0.0.1:8090"))
	}
	return t, u, nil
}

// betterAddr returns what may be meant by Addr, or else an example.
func (c *Config) betterAddr(example string) string {
	return cmp.Or(suggest(c.Addr, c.TLS != nil || c.CertFile != "", func(scheme string) bool {
		_, known := c.transportOf(scheme)
		return known
	}), example)
}

// settleScheme checks the scheme of Addr.
func (c *Config) settleScheme() error {
	for name, factory := range c.Schemes {
		if _, taken := schemes[name]; taken || !schemeName.MatchString(name) || factory == nil {
			return fmt.Errorf("engine: Config.Schemes[%q]: a scheme needs a function, and a name of small letters, digits, - and dots that is none of the engine's", name)
		}
	}
	t, _, err := c.transport()
	if err == nil && t.httpOnly && c.HTTP == nil {
		err = fmt.Errorf("engine: Config.HTTP is nil: a listener on %s serves nothing else; for WebSockets write ws:// or wss://", c.Addr)
	}
	if err == nil {
		err = c.checkTLS(t)
	}
	if kind := fmt.Sprintf("%T", c.Listener); err == nil && (kind == "*tls.listener" || kind == "*engine.tlsListener") {
		err = errors.New("engine: Config.Listener ends TLS by itself, so that no loop can hold its connections: give the listener below it, and Config.TLS")
	}
	return err
}

// bind binds the address that the listener's settings name.
func (l *Listener) bind() error {
	cfg := (*Config)(l.ep.settings)
	t, u, err := cfg.transport()
	if err != nil {
		return err
	}
	if u == nil {
		l.net = cfg.Listener
		return nil
	}
	if l.scheme = u.Scheme; t.packets {
		return l.bindPackets(cfg.Addr, u)
	}
	sockets := l.ep.e.sockets()
	if t.unix {
		l.net, err = listenUnix(sockets, cfg.Addr, u)
		return err
	}
	if l.net, err = listenTCP(sockets, cfg.Addr, u); err != nil {
		return err
	}
	err = l.ep.limitKernel(l.net)
	l.inherited = err == nil
	if err != nil && l.ep.e.set.Sockets == nil {
		return errors.Join(err, l.net.Close())
	}
	return nil // a socket that others made may be one of MPTCP, which takes the options of connections only
}

// listenTCP binds the host and port of an address.
func listenTCP(sockets Sockets, addr string, u *url.URL) (net.Listener, error) {
	address, err := hostPort(addr, u)
	if err != nil {
		return nil, err
	}
	l, err := sockets.Listen("tcp", address, func() (net.Listener, error) { return loop.Listen("tcp", address) })
	if err != nil {
		return nil, listenError(addr, err)
	}
	if tcp, ok := l.(*net.TCPListener); ok { // it is not from loop.Listen
		return loop.Accepting(tcp)
	}
	return l, nil
}

// hostPort is what an address is bound to.
func hostPort(addr string, u *url.URL) (string, error) {
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || u.Path != "" && u.Path != "/" || u.User != nil || u.RawQuery != "" {
		return "", fmt.Errorf("engine: Config.Addr %q must be %s://host:port, with a port from 0 to 65535 and without a path (OnUpgrade sees the path of each request)", addr, u.Scheme)
	}
	return net.JoinHostPort(u.Hostname(), strconv.FormatUint(port, 10)), nil
}

// listenError says why an address could not be bound.
func listenError(addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("engine: Config.Addr %s is taken: stop what listens there or choose another port (0 for a free one): %w", addr, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("engine: Config.Addr %s: this process may not listen there (ports below 1024 need a privilege): %w", addr, err)
	default:
		return fmt.Errorf("engine: Config.Addr %s: %w", addr, err)
	}
}

// listenUnix makes the socket file that an address names.
func listenUnix(sockets Sockets, addr string, u *url.URL) (net.Listener, error) {
	if u.Host != "" || u.Path == "" {
		return nil, fmt.Errorf("engine: Config.Addr %q must be %s:///path", addr, u.Scheme)
	}
	var mode uint64
	if given, found := strings.CutPrefix(u.RawQuery, "mode="); found {
		mode, _ = strconv.ParseUint(given, 8, 32)
	}
	if u.RawQuery != "" && (mode == 0 || mode > 0o777) {
		return nil, fmt.Errorf("engine: Config.Addr %q: the only query is ?mode=, the mode of the socket file, from 0001 to 0777 in octal", addr)
	}
	l, err := sockets.Listen("unix", u.Path, func() (net.Listener, error) { return loop.ListenUnix(u.Path, fs.FileMode(mode)) })
	advice := ""
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, loop.ErrServed):
		advice = ": stop that server, or choose another path"
	case errors.Is(err, loop.ErrNotSocket):
		advice = ": remove it, or choose another path"
	case errors.Is(err, fs.ErrNotExist):
		advice = ": make its directory first"
	case errors.Is(err, fs.ErrPermission):
		advice = ": this process may not write into its directory, or not use the file that is there"
	case len(u.Path) >= socketPathBytes:
		advice = fmt.Sprintf(": the path may have at most %d bytes on most systems", socketPathBytes-1)
	}
	return nil, fmt.Errorf("engine: Config.Addr %s: %w%s", addr, err, advice)
}

// socketPathBytes is what the systems take of the path of a socket file, the
// smaller of 104 (macOS) and 108 (Linux).
const socketPathBytes = 104

// limitKernel keeps the queue of a connection in our hands rather than the
// kernel's, or a Policy would come too late, and has the kernel find dead peers
// where no pings do.
func (ep *endpoint) limitKernel(s any) error {
	if n := ep.NotSentBytesMax; n < limit.Unbounded {
		if err := loop.SetNotSent(s, n); err != nil {
			return fmt.Errorf("engine: Config.NotSentBytesMax: setting TCP_NOTSENT_LOWAT: %w", err)
		}
	}
	if d := ep.KeepAliveInterval; ep.raw && !limit.Endless(d) {
		giveUp := 2 * d // as long as a silent peer has
		if ep.WriteStallTimeout > giveUp {
			giveUp = 0 // a peer that reads nothing has more time than that
		}
		if err := loop.SetKeepAlive(s, d, giveUp); err != nil {
			return fmt.Errorf("engine: Config.KeepAliveInterval: setting SO_KEEPALIVE: %w", err)
		}
	}
	return nil
}
