package embedded

import (
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"
)

// serverLog is the logger of the server: its lines go to zap.
type serverLog struct {
	zap *zap.Logger

	mu  sync.Mutex
	err error // of the first fatal line
}

func newServerLog(z *zap.Logger) *serverLog { return &serverLog{zap: z} }

// fatal is what the server could not live with.
func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Noticef implements server.Logger, as the other methods do.
func (l *serverLog) Noticef(format string, v ...any) { l.zap.Debug(fmt.Sprintf(format, v...)) }

// Warnf implements server.Logger.
func (l *serverLog) Warnf(format string, v ...any) { l.zap.Warn(fmt.Sprintf(format, v...)) }

// Errorf implements server.Logger.
func (l *serverLog) Errorf(format string, v ...any) { l.zap.Warn(fmt.Sprintf(format, v...)) }

// Fatalf implements server.Logger. The server ends after it, the process does not.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = errors.New(fmt.Sprintf(format, v...))
	}
}

// Debugf implements server.Logger.
func (l *serverLog) Debugf(string, ...any) {}

// Tracef implements server.Logger.
func (l *serverLog) Tracef(string, ...any) {}
