// Command gateway is a reverse proxy for WebSockets: each client is joined to a
// connection of its own to one of several servers, the healthy one with the fewest.
//
//	go run ./examples/gateway -listen ws://127.0.0.1:8092 -upstream ws://127.0.0.1:8091 [-upstream …]
//
// With -listen wss://127.0.0.1:8443 and the files of -cert and -key the clients speak TLS,
// and the servers do not need to.
//
// The server gets the path, query, subprotocols, cookies and Authorization of the
// client, and its address in X-Forwarded-For. It gets no Origin, since Host is its own
// here: the gateway checks that. A server that cannot be reached is tried again
// after a delay that doubles. If none is healthy the client gets 503, and 502 if
// those that seemed so cannot be reached.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

func main() {
	var cfg engine.Config
	flag.StringVar(&cfg.Addr, "listen", "ws://127.0.0.1:8092", "where to listen: ws://host:port, wss://host:port or ws+unix:///path")
	flag.StringVar(&cfg.CertFile, "cert", "", "file with the certificate for wss://, in PEM; read again when it changes")
	flag.StringVar(&cfg.KeyFile, "key", "", "file with its key")
	var upstreams []string
	flag.Func("upstream", "a server, such as ws://127.0.0.1:8091; may be given several times", func(s string) error {
		upstreams = append(upstreams, s)
		return nil
	})
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, cfg, upstreams, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends and prints the address to out.
func run(ctx context.Context, cfg engine.Config, upstreams []string, out io.Writer) error {
	if len(upstreams) == 0 {
		return fmt.Errorf("name at least one server with -upstream ws://host:port")
	}
	cfg.Logger = zap.Must(zap.NewDevelopment(zap.IncreaseLevel(zap.WarnLevel), zap.AddStacktrace(zap.FatalLevel)))
	g := &gateway{log: cfg.Logger, pool: newPool(upstreams)}
	g.toServer = &engine.Handler{OnOpen: serverOpened, OnClose: g.serverClosed}
	var err error
	if g.e, err = engine.New(cfg, engine.Handler{OnUpgrade: g.onUpgrade, OnOpen: clientOpened}); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(out, "gateway:", g.e.Listeners()[0])
	return g.e.Run(ctx)
}

type gateway struct {
	e        *engine.Engine
	log      *zap.Logger
	pool     *pool
	toServer *engine.Handler
}

// link is a client and the connection to a server that was made for it: the State
// of both.
type link struct {
	up     *upstream
	server *engine.Conn
	opened chan error // what became of Dial
	client atomic.Pointer[engine.Conn]
	stop   func() bool // the client is open: no need to close server with its handshake
}

// onUpgrade decides the handshake off the loop: it reaches a server first.
func (g *gateway) onUpgrade(u *engine.Upgrade) error {
	return u.Go(func(ctx context.Context) error {
		var tried []*upstream
		for {
			up := g.pool.take(time.Now(), tried)
			switch {
			case up == nil && tried == nil:
				return engine.Refuse(503, "no server is available, try again later", protocol.Field{Name: "Retry-After", Value: "1"})
			case up == nil:
				return engine.Refuse(502, "the servers cannot be reached, try again later")
			}
			l, err := g.dial(ctx, u, up)
			switch {
			case err == nil:
				if g.pool.reached(up) {
					g.log.Warn("a server is back", zap.String("upstream", up.url))
				}
				l.stop = context.AfterFunc(ctx, func() { _ = l.server.Close(protocol.CloseGoingAway, "the client has gone") })
				u.State, u.Subprotocol = l, l.server.Subprotocol()
				return nil
			case ctx.Err() != nil || !unreachable(err): // the client has gone, or gets the server's own status
				g.pool.give(up)
				return err
			}
			g.log.Warn("a server fails", zap.Error(err), zap.Duration("again_after", g.pool.failed(up, time.Now())))
			tried = append(tried, up)
		}
	})
}

// dialTimeout leaves time to try another server within Config.HandshakeTimeout.
const dialTimeout = 3 * time.Second

// dial opens a connection to a server and waits for it.
func (g *gateway) dial(ctx context.Context, u *engine.Upgrade, up *upstream) (*link, error) {
	l := &link{up: up, opened: make(chan error, 1)}
	header := []protocol.Field{{Name: "X-Forwarded-For", Value: u.ClientAddr.String()}, {Name: "X-Forwarded-Host", Value: u.Request.Host}}
	for _, f := range u.Request.Fields {
		if slices.ContainsFunc([]string{"Cookie", "Authorization", "User-Agent"}, func(name string) bool { return strings.EqualFold(name, f.Name) }) {
			header = append(header, f)
		}
	}
	err := g.e.Dial(ctx, engine.Dial{
		URL: up.url + u.Request.Target, Handler: g.toServer, State: l, Header: header, Timeout: dialTimeout,
		Subprotocols: slices.Collect(u.Request.Fields.Tokens("Sec-WebSocket-Protocol")),
		OnFailure:    func(e *engine.DialError) { l.opened <- e }, // also when ctx ends
	})
	if err == nil {
		err = <-l.opened
	}
	return l, err
}

func serverOpened(c *engine.Conn) {
	l := c.State().(*link)
	l.server = c
	_ = c.PauseReading() // until the client is there
	l.opened <- nil
}

func clientOpened(c *engine.Conn) {
	l := c.State().(*link)
	l.stop()
	l.client.Store(c)
	if engine.Pipe(c, l.server) != nil || l.server.ResumeReading() != nil {
		_ = c.Close(protocol.CloseServiceRestart, restart)
	}
}

const restart = "the server has gone, connect again"

// serverClosed has the client of a server that has gone come back, to another one.
// Any other code goes to the client as it is: see engine.Pipe.
func (g *gateway) serverClosed(c *engine.Conn, e *engine.CloseError) {
	l := c.State().(*link)
	g.pool.give(l.up)
	if client := l.client.Load(); client != nil && (e.Code == protocol.CloseAbnormal || e.Remote && e.Code == protocol.CloseGoingAway) {
		_ = client.Close(protocol.CloseServiceRestart, restart)
	}
}
