// Command echo answers every message with itself. With -mode broadcast it sends
// each message to every connection, with -mode address it answers with the
// client's address. -listen may be given several times, in several protocols.
// SIGHUP starts the program anew, which takes over: see package ops/restart.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/ops/restart"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	engine     engine.Config
	urls       []string
	secure     engine.Config // what the listeners with TLS have
	selfSigned bool
	mode       string
	restart    restart.Config
	operator   operator
}

func parse() *options {
	o := new(options)
	cfg := &o.engine
	limitFlags(cfg)
	flag.Func("listen", "URL to listen on, such as wss://127.0.0.1:8443, text://:7000 or udp://:7001; with NAME= before it, the systemd socket of that FileDescriptorName stands for it; may be given several times (default ws://127.0.0.1:8091)", func(s string) error {
		o.urls = append(o.urls, s)
		return nil
	})
	flag.StringVar(&o.secure.CertFile, "cert", "", "file with the certificate for TLS, in PEM; read again when it changes")
	flag.StringVar(&o.secure.KeyFile, "key", "", "file with its key")
	flag.BoolVar(&o.selfSigned, "self-signed", false, "make a certificate for TLS that nobody trusts")
	flag.StringVar(&o.mode, "mode", "echo", "echo: answer each message with itself; broadcast: send it to every connection; address: answer with the client's address")
	flag.Func("trusted-proxies", "addresses or prefixes of proxies that say who the client is, with commas between", func(s string) error {
		cfg.TrustedProxies = strings.Split(s, ",")
		return nil
	})
	deflate := flag.Bool("deflate", true, "compress messages for clients that offer it (RFC 7692)")
	flag.StringVar(&o.restart.PIDFile, "pid-file", "", "file for the process ID of the version that serves")
	flag.DurationVar(&o.restart.ReadyTimeout, "ready-timeout", time.Minute, "time a new version has, after SIGHUP, until it is ready")
	flag.BoolVar(&o.restart.ReusePort, "reuse-port", false, "let several processes listen on the same ports (SO_REUSEPORT)")
	flag.DurationVar(&cfg.Drain.Unready, "unready-for", 0, "time after SIGTERM during which everything goes on but /readyz, for balancers to notice")
	flag.DurationVar(&cfg.Drain.Over, "drain", 0, "time over which the connections are closed after SIGTERM, or after a new version has taken over")
	o.operator.flags()
	flag.Parse()
	if *deflate {
		cfg.Deflate = engine.DeflateTakeover
	}
	if len(o.urls) == 0 {
		o.urls = []string{"ws://127.0.0.1:8091"}
	}
	o.urls, o.restart.Names = named(o.urls)
	cfg.Logger = zap.Must(zap.NewDevelopment(zap.IncreaseLevel(zap.InfoLevel), zap.AddStacktrace(zap.FatalLevel)))
	cfg.Timings = o.operator.addr != ""
	o.restart.Logger = cfg.Logger
	o.restart.Signals = []os.Signal{syscall.SIGHUP}
	o.restart.Drain.Over = cfg.Drain.Over
	return o
}

func run() (err error) {
	o := parse()
	var e *engine.Engine
	answer := func(c *engine.Conn, m engine.Message) {
		_ = c.Send(m) // fails only if c is closing: nobody is left to answer
	}
	switch o.mode {
	case "echo":
	case "address":
		answer = func(c *engine.Conn, _ engine.Message) { _ = c.SendText(c.ClientAddr().String()) }
	case "broadcast":
		answer = func(_ *engine.Conn, m engine.Message) {
			if err := e.Broadcast(m); err != nil {
				o.engine.Logger.Warn("broadcast", zap.Error(err))
			}
		}
	default:
		return fmt.Errorf("-mode is %q: it must be echo, broadcast or address", o.mode)
	}
	if o.selfSigned {
		cert, err := engine.SelfSigned()
		if err != nil {
			return err
		}
		o.secure.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	if (o.selfSigned || o.secure.CertFile != "") && !slices.ContainsFunc(o.urls, usesTLS) {
		return errors.New("-cert and -self-signed are for TLS, which no -listen speaks: write wss://")
	}
	r, err := restart.New(o.restart)
	if err != nil {
		return err
	}
	defer r.Close()
	o.engine.Sockets = r
	if e, err = engine.New(o.engine, engine.Handler{
		OnMessage: answer,
		OnPacket:  func(p engine.Packet, data []byte) { _ = p.Reply(data) }, // a packet may be lost, here too
	}); err != nil {
		return err
	}
	if err = listen(e, o.urls, o.secure); err == nil {
		err = o.operator.serve(e, r)
	}
	if err != nil {
		return errors.Join(err, e.Shutdown(context.Background()))
	}
	defer o.operator.close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, l := range e.Listeners() {
		fmt.Printf("%s on %s\n", o.mode, strings.TrimPrefix(l.String(), "ws://"))
	}
	if o.operator.url != "" {
		fmt.Printf("admin on %s\n", o.operator.url)
	}
	fmt.Printf("up to %d connections\n", e.Stats().Most)
	return r.Run(ctx, e)
}

// named takes the names off the URLs that have one, and returns the address that each
// stands for.
func named(urls []string) (plain []string, names map[string]string) {
	names = map[string]string{}
	for _, s := range urls {
		name, rest, found := strings.Cut(s, "=")
		if !found || strings.Contains(name, "://") {
			plain = append(plain, s)
			continue
		}
		plain = append(plain, rest)
		if u, err := url.Parse(rest); err == nil { // or the engine says what is wrong with it
			names[name] = u.Host + u.Path
		}
	}
	return plain, names
}

// listen listens on each of urls; secure is what those with TLS have.
func listen(e *engine.Engine, urls []string, secure engine.Config) error {
	for _, addr := range urls {
		l := engine.Config{Addr: addr}
		if usesTLS(addr) {
			l.TLS, l.CertFile, l.KeyFile = secure.TLS, secure.CertFile, secure.KeyFile
		}
		if _, err := e.Listen(l, nil); err != nil {
			return err
		}
	}
	return nil
}

func usesTLS(addr string) bool {
	scheme, _, _ := strings.Cut(addr, "://")
	return scheme == "wss" || scheme == "tls" || scheme == "https" || strings.Contains(scheme, "+tls")
}
