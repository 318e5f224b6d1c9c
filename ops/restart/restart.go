package restart

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cloudflare/tableflip"
	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/internal/logs"
)

// Config says how a program is replaced. The zero value is of use: Upgrade starts the
// next version, and no signals are taken.
type Config struct {
	// Signals start the next version, such as syscall.SIGHUP. They are taken from New on: one
	// that comes before Ready waits until then, one after Close does nothing. Nil: none are taken.
	Signals []os.Signal

	// ReadyTimeout is how long the next version has until it is ready; then it is
	// killed, and this one goes on. 0 is one minute.
	ReadyTimeout time.Duration

	// Ready, if not nil, is called by Restart.Ready before anybody is told that this
	// process is ready: to wait for what it needs, such as a broker. Nothing is accepted
	// before it returns. An error is that of Restart.Ready and of Run. ctx is theirs.
	Ready func(ctx context.Context) error

	// PIDFile, if not "", is a file that has the process ID of the version that is
	// ready. Close removes it.
	PIDFile string

	// Names are addresses, as in engine.Config.Addr without the scheme (host:port, or a path), by
	// the FileDescriptorName of the systemd socket that stands for them. Sockets
	// of other names are found by their addresses.
	Names map[string]string

	// ReusePort makes TCP sockets with SO_REUSEPORT, so that several processes, which
	// somebody else starts, may listen on the same port. All of them must set it. It is not for udp://,
	// where a peer would change from one process to another; socket files cannot be shared so.
	ReusePort bool

	// Drain is how an old version ends its connections; the zero value: all at once, when
	// their answers have gone out. Unready is of little use here: nobody need notice. Within DrainTimeout
	// it must be done, or what is left is cut; 0 is one minute beyond Drain.Unready and Drain.Over.
	Drain        engine.Drain
	DrainTimeout time.Duration

	// Logger gets what becomes of new versions. Nil: warnings and errors go to stderr.
	Logger *zap.Logger
}

// The defaults of Config.
const (
	readyTimeout = time.Minute
	drainTimeout = time.Minute
)

// Restart has the sockets of a process and its part in a handover. Its methods may be
// called from any goroutine.
type Restart struct {
	cfg     Config
	log     *zap.Logger
	flip    *tableflip.Upgrader
	signals chan os.Signal

	tty        bool          // there was a terminal at the start
	parentGone chan struct{} // closed when the process that handed over to this one has ended
	handedOver chan struct{} // closed when another process has taken over
	upgrading  sync.Mutex    // held while a new version is under way

	mu      sync.Mutex // guards what follows
	asked   map[string]int
	systemd []*activated
	ready   bool
	closed  bool
}

// New takes the sockets that this process was given. A process may call it once. It
// changes the environment: what systemd says of its sockets (LISTEN_FDS and the like) is not
// for the processes that this one starts.
func New(cfg Config) (*Restart, error) {
	if cfg.ReadyTimeout < 0 || cfg.DrainTimeout < 0 {
		return nil, fmt.Errorf("restart: Config: ReadyTimeout is %v, DrainTimeout %v: neither may be negative", cfg.ReadyTimeout, cfg.DrainTimeout)
	}
	if cfg.ReadyTimeout == 0 {
		cfg.ReadyTimeout = readyTimeout
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = cfg.Drain.Unready + cfg.Drain.Over + drainTimeout
	}
	r := &Restart{
		cfg: cfg, log: logs.Bounded(cfg.Logger), asked: map[string]int{}, tty: hasTerminal(),
		parentGone: make(chan struct{}), handedOver: make(chan struct{}), signals: make(chan os.Signal, 1),
	}
	if len(cfg.Signals) > 0 {
		signal.Notify(r.signals, cfg.Signals...) //nolint:forbidigo // the program has asked for it, and names the signals
	}
	var err error
	if r.systemd, err = activatedSockets(cfg.Names); err == nil {
		r.flip, err = tableflip.New(tableflip.Options{UpgradeTimeout: cfg.ReadyTimeout, PIDFile: cfg.PIDFile})
	}
	if err != nil {
		signal.Stop(r.signals)
		return nil, fmt.Errorf("restart: %w", err)
	}
	if !r.flip.HasParent() {
		close(r.parentGone)
		return r, nil
	}
	go func() {
		_ = r.flip.WaitForParent(context.Background()) // whatever it did, it has ended
		close(r.parentGone)
		r.log.Info("the old version has ended")
	}()
	return r, nil
}

// Ready waits for Config.Ready, and then tells the process that started this one,
// and systemd, that this one takes over. From then on it must accept: who connects
// waits. A program that calls Run need not call it. After an error the program must
// end: the old version, if there is one, goes on.
func (r *Restart) Ready(ctx context.Context) error {
	if names := r.notAskedFor(); len(names) > 0 {
		return fmt.Errorf("restart: systemd has passed sockets that this program does not listen on: %s: their clients would wait for ever; take them out of the .socket unit, or name their addresses", strings.Join(names, ", "))
	}
	if r.cfg.Ready != nil {
		if err := r.cfg.Ready(ctx); err != nil {
			return fmt.Errorf("restart: Config.Ready: %w", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("restart: Ready was called after Close")
	}
	tellPID(r.flip)
	if err := r.flip.Ready(); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	r.ready = true
	if !r.flip.HasParent() { // else the parent tells systemd, which listens to the main process alone
		r.notify("READY=1")
	}
	return nil
}

// HandedOver returns a channel that is closed when another process has taken over. From
// then on this one must not accept, and should end its connections and then itself.
func (r *Restart) HandedOver() <-chan struct{} { return r.handedOver }

// Run calls Ready, and then runs e in place of e.Run, until ctx ends, somebody calls Shutdown, or
// another process has taken over: then it drains e, within Config.DrainTimeout. It
// returns what e.Run returns, or the error of Ready; then e is shut down. Run closes r.
func (r *Restart) Run(ctx context.Context, e *engine.Engine) error {
	defer r.Close()
	if err := r.Ready(ctx); err != nil {
		return errors.Join(err, e.Shutdown(context.WithoutCancel(ctx)))
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go r.takeSignals(ctx, stop)
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		r.Close()
	case <-r.handedOver:
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.DrainTimeout)
		defer cancel()
		_ = e.Drain(drain, r.cfg.Drain) // Run returns its error
	}
	return <-ended
}

// takeSignals starts new versions when signals come, until ctx ends; stop ends it.
func (r *Restart) takeSignals(ctx context.Context, stop context.CancelFunc) {
	for {
		select {
		case s := <-r.signals:
			if r.tty && !hasTerminal() {
				r.log.Info("the terminal was closed; stopping", zap.Stringer("signal", s))
				stop()
				return
			}
			go func() { _ = r.Upgrade() }() // it logs what happened; a further signal is answered meanwhile
		case <-ctx.Done():
			return
		}
	}
}

// hasTerminal reports whether the process has a controlling terminal.
func hasTerminal() bool {
	f, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// Close ends the part of this process in handovers: no new version is started any more,
// one that is under way is killed, systemd is told that the program stops, and socket
// files that this process made are removed; those that have connected stay. After a
// handover it leaves all of that to the other process, and so it does in a
// process that never was ready. A second call does nothing.
func (r *Restart) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	if r.flip.HasParent() && !r.ready { // the parent goes on with these sockets
		return
	}
	r.flip.Stop()
	<-r.flip.Exit()
	if r.isHandedOver() {
		return
	}
	r.notify("STOPPING=1")
	if b, err := os.ReadFile(r.cfg.PIDFile); err == nil && string(b) == strconv.Itoa(os.Getpid()) {
		_ = os.Remove(r.cfg.PIDFile)
	}
}

func (r *Restart) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

func (r *Restart) isHandedOver() bool {
	select {
	case <-r.handedOver:
		return true
	default:
		return false
	}
}
