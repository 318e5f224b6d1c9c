package engine

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"syscall"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/loop"
)

// listen binds the address of the Config and picks the protocol by its scheme.
func (e *Engine) listen() error {
	if e.cfg.Addr == "" {
		e.listener = e.cfg.Listener
		return nil
	}
	u, err := url.Parse(e.cfg.Addr)
	if err != nil {
		return fmt.Errorf("engine: Config.Addr %q is no URL: write it like ws://127.0.0.1:8090", e.cfg.Addr)
	}
	var network, address string
	switch u.Scheme {
	case "ws", "tcp":
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || u.Path != "" && u.Path != "/" || u.User != nil || u.RawQuery != "" {
			return fmt.Errorf("engine: Config.Addr %q must be %s://host:port, with a port from 0 to 65535 and without a path (OnUpgrade sees the path of each request)", e.cfg.Addr, u.Scheme)
		}
		network, address = "tcp", net.JoinHostPort(u.Hostname(), strconv.FormatUint(port, 10))
	case "ws+unix", "unix":
		network, address = "unix", u.Path
		if u.Host != "" || address == "" {
			return fmt.Errorf("engine: Config.Addr %q must be %s:///path", e.cfg.Addr, u.Scheme)
		}
	case "wss":
		return fmt.Errorf("engine: Config.Addr %q: wss is not served; end TLS in a proxy before the engine and listen on ws", e.cfg.Addr)
	default:
		return fmt.Errorf("engine: Config.Addr %q must begin with ws://, ws+unix://, tcp:// or unix://", e.cfg.Addr)
	}
	if (u.Scheme == "tcp" || u.Scheme == "unix") && e.cfg.Codec == nil {
		e.cfg.Codec = func() codec.Codec { return new(codec.Raw) }
	}
	e.listener, err = loop.Listen(network, address)
	switch {
	case err == nil:
		e.inherited = true
		return e.limitKernel(e.listener)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("engine: Config.Addr %s is taken: stop what listens there or choose another port (0 for a free one): %w", e.cfg.Addr, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("engine: Config.Addr %s: this process may not listen there (ports below 1024 need a privilege): %w", e.cfg.Addr, err)
	default:
		return fmt.Errorf("engine: Config.Addr %s: %w", e.cfg.Addr, err)
	}
}

// limitKernel keeps the queue of a connection in our hands rather than the
// kernel's, or a Policy would come too late.
func (e *Engine) limitKernel(s any) error {
	if e.cfg.NotSentBytesMax >= most {
		return nil
	}
	if err := loop.SetNotSent(s, e.cfg.NotSentBytesMax); err != nil {
		return fmt.Errorf("engine: Config.NotSentBytesMax: setting TCP_NOTSENT_LOWAT: %w", err)
	}
	return nil
}
