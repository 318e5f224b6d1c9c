package embedded

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/time/rate"

	"github.com/sockmill/sockmill/internal/logs"
)

// Of the server's lines, at most so many are logged at once, and then in a second. It can complain about each connection.
const (
	logPerSecond = 5
	logBurst     = 50
)

// serverLog is the logger of the server. Its notices are for those who look for a fault, so they go to zap's debug level; what it
// traces is not logged.
type serverLog struct {
	zap     *zap.Logger
	limits  [2]*rate.Limiter // of notices, and of warnings and errors
	dropped [2]atomic.Int64

	mu        sync.Mutex
	err       error     // of the first fatal line
	duplicate time.Time // when another server of our name connected to this one the last time
}

func newServerLog(z *zap.Logger) *serverLog {
	l := &serverLog{zap: z}
	for i := range l.limits {
		l.limits[i] = rate.NewLimiter(logPerSecond, logBurst)
	}
	return l
}

// fatal is what the server could not live with.
func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// hasDuplicate reports whether another server of our name tries to connect.
func (l *serverLog) hasDuplicate() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.duplicate.IsZero() && time.Since(l.duplicate) < duplicatePatience
}

func (l *serverLog) line(level zapcore.Level, format string, v []any) {
	entry := l.zap.Check(level, "")
	if entry == nil {
		return
	}
	class := 0
	if level > zapcore.InfoLevel {
		class = 1
	}
	if !l.limits[class].Allow() {
		l.dropped[class].Add(1)
		return
	}
	entry.Message = "nats-server: " + strings.TrimSpace(fmt.Sprintf(format, v...))
	if n := l.dropped[class].Swap(0); n > 0 {
		entry.Write(zap.Int64(logs.LeftOut, n))
		return
	}
	entry.Write()
}

// Noticef implements server.Logger, as the other methods do.
func (l *serverLog) Noticef(format string, v ...any) { l.line(zapcore.DebugLevel, format, v) }

// Warnf implements server.Logger.
func (l *serverLog) Warnf(format string, v ...any) { l.line(zapcore.WarnLevel, format, v) }

// Errorf implements server.Logger.
func (l *serverLog) Errorf(format string, v ...any) {
	if strings.HasSuffix(format, "Remote server has a duplicate name: %q") {
		l.mu.Lock()
		l.duplicate = time.Now()
		l.mu.Unlock()
	}
	l.line(zapcore.ErrorLevel, format, v)
}

// Fatalf implements server.Logger. The server does not work after it; the process goes on.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	if l.err == nil {
		l.err = fmt.Errorf(format, v...)
	}
	l.mu.Unlock()
	l.line(zapcore.ErrorLevel, format, v)
}

// Debugf implements server.Logger.
func (l *serverLog) Debugf(string, ...any) {}

// Tracef implements server.Logger.
func (l *serverLog) Tracef(string, ...any) {}
