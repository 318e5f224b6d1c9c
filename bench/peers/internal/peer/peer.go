// Package peer is what the peers written in Go have in common: flags, the
// listener, the line that says where they serve, the end, and who gets a
// broadcast.
package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path"
	"runtime/debug"
	"syscall"
)

// What all peers are set to, like examples/echo; sizes in bytes.
const (
	MessageBytesMax       = 16 << 20
	DeflateThresholdBytes = 256
	DeflateLevel          = 3
	DeflateWindowBits     = 12
)

// The modes: what a message is answered with.
const (
	Echo      = "echo"      // itself
	Broadcast = "broadcast" // itself, to every connection
	Topics    = "topics"    // see Command
)

// Options are what the command line says.
type Options struct {
	Mode    string
	Deflate bool
	Alone   bool // no context takeover

	cert, key string // PEM files, for TLS
}

// Main reads the command line and has serve serve l until SIGINT or SIGTERM ends
// the program. What serve returns ends it with status 1. Module is the path
// of the library, for -version.
func Main(module string, serve func(o Options, l net.Listener) error) {
	var o Options
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	flag.StringVar(&o.Mode, "mode", Echo, "echo, broadcast or topics")
	flag.BoolVar(&o.Deflate, "deflate", false, "compress messages for clients that offer it")
	flag.BoolVar(&o.Alone, "no-takeover", false, "compress each message by itself")
	flag.StringVar(&o.cert, "cert", "", "PEM file of the certificate; then TLS is spoken, which needs -key, too")
	flag.StringVar(&o.key, "key", "", "PEM file of its key")
	version := flag.Bool("version", false, "print the library and its version")
	flag.Parse()
	if *version {
		fmt.Println(path.Base(os.Args[0]), module, Version(module))
		return
	}
	if err := run(o, *listen, serve); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(o Options, listen string, serve func(Options, net.Listener) error) error {
	switch o.Mode {
	case Echo, Broadcast, Topics:
	default:
		return fmt.Errorf("-mode is %q: it must be echo, broadcast or topics", o.Mode)
	}
	// As sockmill listens: neither keepalive probes, which take four system calls
	// for each connection, nor MPTCP.
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", listen)
	if err != nil {
		return err
	}
	if o.cert != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return err
		}
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}})
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt, syscall.SIGTERM)
	failed := make(chan error, 1)
	go func() { failed <- serve(o, l) }()
	fmt.Printf("%s on %s\n", o.Mode, l.Addr())
	select {
	case err := <-failed:
		return err
	case <-end:
		return nil
	}
}

// Version is that of the module in this program.
func Version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	for _, d := range info.Deps {
		if d.Path == module {
			return d.Version
		}
	}
	return "(unknown)"
}

// Revision is the commit that this program was built from.
func Revision() string {
	info, _ := debug.ReadBuildInfo()
	var b bytes.Buffer
	b.WriteString("v0.0.0")
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.WriteString("-" + s.Value[:12])
		case s.Key == "vcs.modified" && s.Value == "true":
			b.WriteString("+changed")
		}
	}
	return b.String()
}
