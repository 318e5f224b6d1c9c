package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"github.com/sockmill/sockmill/engine/internal/limit"
	"github.com/sockmill/sockmill/engine/internal/loop"
)

// listen binds the address of the Config and picks the protocol by its scheme.
func (e *Engine) listen() error {
	if e.set.Addr == "" {
		e.acceptor.listener = e.set.Listener
		return nil
	}
	u, err := url.Parse(e.set.Addr)
	if err != nil {
		return fmt.Errorf("engine: Config.Addr %q is no URL: write it like ws://127.0.0.1:8090", e.set.Addr)
	}
	var address string
	switch u.Scheme {
	case "ws", "tcp":
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || u.Path != "" && u.Path != "/" || u.User != nil || u.RawQuery != "" {
			return fmt.Errorf("engine: Config.Addr %q must be %s://host:port, with a port from 0 to 65535 and without a path (OnUpgrade sees the path of each request)", e.set.Addr, u.Scheme)
		}
		address = net.JoinHostPort(u.Hostname(), strconv.FormatUint(port, 10))
	case "ws+unix", "unix":
		return e.listenUnix(u)
	case "wss":
		return fmt.Errorf("engine: Config.Addr %q: wss is not served; end TLS in a proxy before the engine and listen on ws", e.set.Addr)
	default:
		return fmt.Errorf("engine: Config.Addr %q must begin with ws://, ws+unix://, tcp:// or unix://", e.set.Addr)
	}
	e.acceptor.listener, err = loop.Listen("tcp", address)
	switch {
	case err == nil:
		e.acceptor.inherited = true
		return nil
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("engine: Config.Addr %s is taken: stop what listens there or choose another port (0 for a free one): %w", e.set.Addr, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("engine: Config.Addr %s: this process may not listen there (ports below 1024 need a privilege): %w", e.set.Addr, err)
	default:
		return fmt.Errorf("engine: Config.Addr %s: %w", e.set.Addr, err)
	}
}

// listenUnix makes the socket file that Addr names.
func (e *Engine) listenUnix(u *url.URL) error {
	if u.Host != "" || u.Path == "" {
		return fmt.Errorf("engine: Config.Addr %q must be %s:///path", e.set.Addr, u.Scheme)
	}
	var mode uint64
	if given, found := strings.CutPrefix(u.RawQuery, "mode="); found {
		mode, _ = strconv.ParseUint(given, 8, 32)
	}
	if u.RawQuery != "" && (mode == 0 || mode > 0o777) {
		return fmt.Errorf("engine: Config.Addr %q: the only query is ?mode=, the mode of the socket file, from 0001 to 0777 in octal", e.set.Addr)
	}
	var err error
	e.acceptor.listener, err = loop.ListenUnix(u.Path, fs.FileMode(mode))
	advice := ""
	switch {
	case err == nil:
		return nil
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
	return fmt.Errorf("engine: Config.Addr %s: %w%s", e.set.Addr, err, advice)
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
