package restart

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cloudflare/tableflip"
	"go.uber.org/zap"
)

// Why Upgrade did not start a new version.
var (
	ErrUpgrading  = errors.New("restart: a new version is being started already")
	ErrHandedOver = errors.New("restart: another process has taken over")
	ErrClosed     = errors.New("restart: this process stops")
	ErrOldVersion = errors.New("restart: the version before this one has not ended yet: it drains")
	ErrFirst      = errors.New("restart: this process has the ID 1: the container would end with it; have its supervisor start the new version")
)

// Upgrade starts the next version, and waits until it is ready. When it returns nil,
// HandedOver is closed. An error means that no other process has taken over by this call; it has been
// logged. A program whose signals are in
// Config.Signals need not call it.
func (r *Restart) Upgrade() error {
	err := r.upgrade()
	switch {
	case err == nil:
	case errors.Is(err, ErrUpgrading), errors.Is(err, ErrHandedOver), errors.Is(err, ErrOldVersion), errors.Is(err, ErrClosed):
		r.log.Warn("no new version was started", zap.Error(err))
	default:
		r.log.Error("the new version did not take over; this one goes on", zap.Error(err))
	}
	return err
}

func (r *Restart) upgrade() error {
	err := r.start()
	switch {
	case errors.Is(err, ErrUpgrading), errors.Is(err, ErrHandedOver), errors.Is(err, ErrClosed):
	case err != nil:
		r.notify("READY=1\nSTATUS=" + strings.ReplaceAll(err.Error(), "\n", " "))
	}
	return err
}

// start starts the next version, and returns when that is ready and everybody has been
// told.
func (r *Restart) start() error {
	if !r.upgrading.TryLock() {
		return ErrUpgrading
	}
	defer r.upgrading.Unlock()
	switch {
	case r.isHandedOver():
		return ErrHandedOver
	case r.isClosed():
		return ErrClosed
	}
	r.notify("RELOADING=1")
	if os.Getpid() == 1 {
		return ErrFirst
	}
	select {
	case <-r.parentGone:
	default:
		return ErrOldVersion
	}
	said, err := r.pidPipe()
	if err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	defer said.Close()
	r.log.Info("starting a new version")
	if err := r.flip.Upgrade(); err != nil {
		if r.isClosed() {
			return ErrClosed
		}
		return fmt.Errorf("restart: %w", err)
	}
	<-r.flip.Exit() // now only the new process has the other end
	line, _ := bufio.NewReader(said).ReadString('\n')
	pid, _ := strconv.Atoi(strings.TrimSpace(line))
	if pid > 0 {
		r.notify("MAINPID=" + strconv.Itoa(pid) + "\nREADY=1")
	}
	r.log.Info("a new version has taken over; this one drains", zap.Int("pid", pid))
	close(r.handedOver) // last: with it this process may end
	return nil
}

// pidPipeName is what the new process says its ID on: the library keeps it for itself,
// but systemd must be told by this process which one comes after it.
const pidPipeName = "sockmill-pid"

// pidPipe makes a pipe for the next version's ID, and returns the end to read from.
func (r *Restart) pidPipe() (*os.File, error) {
	from, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	err = r.flip.AddFile(pidPipeName, to)
	_ = to.Close() // the library has a duplicate
	if err != nil {
		_ = from.Close()
		return nil, err
	}
	return from, nil
}

// tellPID says this process' ID to the one that started it, if it asks.
func tellPID(flip *tableflip.Upgrader) {
	if f, err := flip.File(pidPipeName); err == nil && f != nil {
		_, _ = fmt.Fprintln(f, os.Getpid())
		_ = f.Close()
	}
}
