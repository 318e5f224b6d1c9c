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

func run() (err error) {
	var cfg engine.Config
	limitFlags(&cfg)
	var urls []string
	flag.Func("listen", "URL to listen on, such as wss://127.0.0.1:8443, text://:7000 or udp://:7001; with NAME= before it, the systemd socket of that FileDescriptorName stands for it; may be given several times (default ws://127.0.0.1:8091)", func(s string) error {
		urls = append(urls, s)
		return nil
	})
	var secure engine.Config // what the listeners with TLS have
	flag.StringVar(&secure.CertFile, "cert", "", "file with the certificate for TLS, in PEM; read again when it changes")
	flag.StringVar(&secure.KeyFile, "key", "", "file with its key")
	selfSigned := flag.Bool("self-signed", false, "make a certificate for TLS that nobody trusts")
	mode := flag.String("mode", "echo", "echo: answer each message with itself; broadcast: send it to every connection; address: answer with the client's address")
	flag.Func("trusted-proxies", "addresses or prefixes of proxies that say who the client is, with commas between", func(s string) error {
		cfg.TrustedProxies = strings.Split(s, ",")
		return nil
	})
	deflate := flag.Bool("deflate", true, "compress messages for clients that offer it (RFC 7692)")
	replace := restart.Config{Signals: []os.Signal{syscall.SIGHUP}}
	flag.StringVar(&replace.PIDFile, "pid-file", "", "file for the process ID of the version that serves")
	flag.DurationVar(&replace.ReadyTimeout, "ready-timeout", time.Minute, "time a new version has, after SIGHUP, until it is ready")
	flag.BoolVar(&replace.ReusePort, "reuse-port", false, "let several processes listen on the same ports (SO_REUSEPORT)")
	flag.DurationVar(&cfg.Drain.Unready, "unready-for", 0, "time after SIGTERM during which everything goes on but /readyz, for balancers to notice")
	flag.DurationVar(&cfg.Drain.Over, "drain", 0, "time over which the connections are closed after SIGTERM, or after a new version has taken over")
	var ops operator
	ops.flags()
	flag.Parse()
	if *deflate {
		cfg.Deflate = engine.DeflateTakeover
	}
	cfg.Logger = zap.Must(zap.NewDevelopment(zap.IncreaseLevel(zap.WarnLevel), zap.AddStacktrace(zap.FatalLevel)))
	replace.Logger = zap.Must(zap.NewDevelopment(zap.IncreaseLevel(zap.InfoLevel), zap.AddStacktrace(zap.FatalLevel)))

	var e *engine.Engine
	answer := func(c *engine.Conn, m engine.Message) {
		_ = c.Send(m) // fails only if c is closing: nobody is left to answer
	}
	switch *mode {
	case "echo":
	case "address":
		answer = func(c *engine.Conn, _ engine.Message) { _ = c.SendText(c.ClientAddr().String()) }
	case "broadcast":
		answer = func(_ *engine.Conn, m engine.Message) {
			if err := e.Broadcast(m); err != nil {
				cfg.Logger.Warn("broadcast", zap.Error(err))
			}
		}
	default:
		return fmt.Errorf("-mode is %q: it must be echo, broadcast or address", *mode)
	}
	if *selfSigned {
		cert, err := engine.SelfSigned()
		if err != nil {
			return err
		}
		secure.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	if len(urls) == 0 {
		urls = []string{"ws://127.0.0.1:8091"}
	}
	if (*selfSigned || secure.CertFile != "") && !slices.ContainsFunc(urls, usesTLS) {
		return errors.New("-cert and -self-signed are for TLS, which no -listen speaks: write wss://")
	}
	cfg.Timings = ops.addr != ""
	replace.Drain.Over = cfg.Drain.Over
	urls, replace.Names = named(urls)
	r, err := restart.New(replace)
	if err != nil {
		return err
	}
	defer r.Close()
	cfg.Sockets = r
	if e, err = engine.New(cfg, engine.Handler{
		OnMessage: answer,
		OnPacket:  func(p engine.Packet, data []byte) { _ = p.Reply(data) }, // a packet may be lost, here too
	}); err != nil {
		return err
	}
	if err = listen(e, urls, secure); err == nil {
		err = ops.serve(e, r)
	}
	if err != nil {
		return errors.Join(err, e.Shutdown(context.Background()))
	}
	defer ops.close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, l := range e.Listeners() {
		fmt.Printf("%s on %s\n", *mode, strings.TrimPrefix(l.String(), "ws://"))
	}
	if ops.url != "" {
		fmt.Printf("admin on %s\n", ops.url)
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
