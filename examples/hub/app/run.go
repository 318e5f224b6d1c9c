// Package app is the program of examples/hub, in one process, and of examples/cluster, in several: the server, its flags, its page,
// and its end.
package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/centrifugal"
)

// Main is the main function of a program of that name: it runs with the arguments of the process until SIGINT or SIGTERM. cluster is nil
// in a program that is one process.
func Main(name string, cluster Cluster) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	switch err := Run(signals, name, cluster, os.Args[1:], os.Stdout); {
	case errors.Is(err, errFlags):
		os.Exit(2)
	case err != nil:
		_, _ = fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// errFlags: what is wrong with the flags was printed.
var errFlags = errors.New("the flags are wrong")

// Bounds of a connection and of the shutdown.
const (
	frameBytesMax = 64 << 10
	replyBytesMax = 4 << 20           // of a recovery
	sendBytesMax  = 2 * replyBytesMax // it has to fit beside what comes next
	closeTimeout  = 3 * time.Second
	leaveTimeout  = 10 * time.Second // for the cluster
)

// Run serves until the first signal and prints the address to open to out. A second one does not wait for load balancers and for -drain.
func Run(signals <-chan os.Signal, name string, cluster Cluster, args []string, out io.Writer) error {
	p := &program{name: name, cluster: cluster, out: out, hopeless: make(chan error, 1)}
	f := p.flags(name)
	if cluster != nil {
		cluster.Flags(f)
	}
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return errFlags
	}
	if err := fromEnvironment(f); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	if cluster != nil {
		if err := cluster.Check(); err != nil {
			return err
		}
		p.urls = cluster.URLs()
	}
	return p.run(signals)
}

// serving is what a program has when it has started.
type serving struct {
	server  *centrifugal.Server
	api     http.Handler // nil: there is none
	metrics http.Handler
	page    http.Handler // for operators
}

// program is one run.
type program struct {
	options
	name    string
	cluster Cluster
	urls    []string
	out     io.Writer
	log     *zap.Logger
	engine  *engine.Engine
	node    *Node                   // nil: there are no others
	serving atomic.Pointer[serving] // nil until it has started
	ending  atomic.Bool

	nodes        atomic.Pointer[nodes] // nil until the others have been asked
	watching     sync.WaitGroup
	stopWatching context.CancelFunc
	hopeless     chan error // why the process has to be started again
}

func (p *program) run(signals <-chan os.Signal) (err error) {
	if p.log, err = newLogger(p.verbose); err != nil {
		return err
	}
	if p.engine, err = engine.New(engine.Config{Logger: p.log, DrainTimeout: closeTimeout, Timings: p.admin != ""}, engine.Handler{}); err != nil {
		return err
	}
	l, err := p.bind()
	if err != nil {
		return err
	}
	adminAt, dismiss, err := p.administer()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer dismiss()
	serving, end := context.WithCancel(context.Background())
	defer end()
	done := make(chan error, 1)
	go func() { done <- p.engine.Run(serving) }() // /readyz has to answer while the node starts
	started := make(chan struct{})
	starting, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	var failed error // of start
	go func() {
		defer close(started)
		failed = p.start(starting)
	}()
	select {
	case <-started:
		if failed != nil {
			end()
			return errors.Join(failed, <-done)
		}
	case err = <-done: // it could not go on
		giveUp()
		<-started
		return errors.Join(err, p.leave())
	case <-signals:
		giveUp()
		<-started
		end()
		return errors.Join(<-done, p.leave())
	}
	_, _ = fmt.Fprintf(p.out, "%s: open http://%s\n", p.name, browsable(l.Addr()))
	if adminAt != nil {
		_, _ = fmt.Fprintf(p.out, "%s: admin on http://%s/\n", p.name, browsable(adminAt))
	}
	select {
	case err = <-done: // it could not go on
		return errors.Join(err, p.leave())
	case err = <-p.hopeless:
		p.log.Error("this node cannot go on", zap.Error(err))
	case <-signals:
	}
	err = errors.Join(err, p.shutDown(signals))
	end()
	return errors.Join(err, <-done, p.leave())
}

// bind takes the port.
func (p *program) bind() (*engine.Listener, error) {
	l, err := p.engine.Listen(engine.Config{
		Addr:                   p.listen,
		HTTP:                   p.routes(),
		CheckOrigin:            p.checkOrigin,
		MessageBytesMax:        frameBytesMax,
		SendBytesMax:           sendBytesMax,
		TopicsPerConnectionMax: 2*p.maxChannels + 1, // a channel has one of messages and one of joins and leaves; a user has one
		SlowCode:               centrifugal.DisconnectSlow.Code,
	}, &engine.Handler{OnUpgrade: p.onUpgrade})
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is taken by another program; choose another port with -listen ws://127.0.0.1:PORT", p.listen)
	}
	return l, err
}

// start joins the cluster, if there is one, and makes the server.
func (p *program) start(ctx context.Context) (err error) {
	if p.secret == "" {
		p.log.Warn("no -secret: everybody is let in as the name that they give")
	}
	if p.demoTokens {
		p.log.Warn("-demo-tokens: everybody gets a token for any name")
	}
	if p.cluster != nil {
		say := func(text string) { _, _ = fmt.Fprintf(p.out, "%s: %s\n", p.name, text) }
		p.node, err = p.cluster.Start(ctx, Settings{History: p.history, Lifetime: p.historyFor, Say: say, Logger: p.log})
		if err != nil {
			return err
		}
	}
	s, err := p.newServer()
	if err != nil {
		return errors.Join(err, p.leave())
	}
	now := &serving{server: s}
	if p.apiKey != "" {
		now.api = s.API(centrifugal.APIConfig{Keys: []string{p.apiKey}})
	}
	if now.metrics, err = p.newMetrics(now); err != nil {
		return errors.Join(err, p.leave())
	}
	if now.page, err = p.newPage(now); err != nil {
		return errors.Join(err, p.leave())
	}
	p.serving.Store(now)
	if p.node != nil {
		watching, stop := context.WithCancel(context.Background())
		p.stopWatching = stop
		p.watching.Go(func() { p.node.watch(watching, &p.nodes, p.hopeless, p.log) })
	}
	return nil
}

// shutDown ends all connections: the clients come back, and find another node if there is one.
func (p *program) shutDown(signals <-chan os.Signal) error {
	p.ending.Store(true)
	hurried, hurry := context.WithCancel(context.Background())
	defer hurry()
	go func() {
		select {
		case <-signals:
			hurry()
		case <-hurried.Done():
		}
	}()
	select {
	case <-hurried.Done():
	case <-time.After(p.unreadyFor):
	}
	s := p.serving.Load().server
	draining, cancel := context.WithTimeout(hurried, p.drain+closeTimeout)
	defer cancel()
	_ = s.Drain(draining, p.drain) // who is left then is closed at once
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return s.Close(ctx)
}

// leave leaves the cluster.
func (p *program) leave() error {
	if p.node == nil {
		return nil
	}
	if p.stopWatching != nil {
		p.stopWatching()
		p.watching.Wait()
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	return p.node.Close(ctx)
}

func newLogger(verbose bool) (*zap.Logger, error) {
	config := zap.NewDevelopmentConfig()
	config.DisableStacktrace = true
	if !verbose {
		config.Level.SetLevel(zap.WarnLevel)
	}
	return config.Build()
}

// browsable turns the wildcard address into one that a browser can open.
func browsable(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok && t.IP.IsUnspecified() {
		return fmt.Sprintf("localhost:%d", t.Port)
	}
	return a.String()
}
